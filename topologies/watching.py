"""The witness's taps on one segment of a network that has more than that segment."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from topologies.testbed import Testbed
from witness.places import places_of
from witness.taps import Limits, Taps


def watch(testbed: Testbed, segment: str, nfs: Collection[str]) -> Taps:
    """Taps at a segment's NFs, such as `nfs`, and at its far ends: fixed NFs, or else its pair."""
    config = testbed.network.segments[segment]
    places = places_of(testbed.network, segment, nfs)
    inside = [place for place in places if place.nf]
    ends = [place for place in places if not place.nf]
    for number, name in ((0, config.before[:1]), (1, config.after[-1:])):
        for nf in name:
            port = testbed.network.nfs[nf].egress if number else testbed.network.nfs[nf].ingress
            ends[number] = replace(ends[number], name=f"{nf}.outer", interface=port)
    return Taps([*ends, *inside], Limits.of(config.timeouts.timeouts()))


def wait_quiet(*taps: Taps) -> None:
    """Until nothing has passed any tap for 0.3 s, or 5 s have gone by."""
    deadline, before = time.monotonic() + 5, None
    while before != (now := [some.totals() for some in taps]) and time.monotonic() < deadline:
        before = now
        time.sleep(0.3)
