"""The witness on one segment of a network that has more than that segment."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from socket import IPPROTO_TCP

from catenary.session import End, SessionKey
from catenary.wire import TimeoutsModel
from topologies.testbed import Testbed
from topologies.traffic import Talks
from witness.checker import judge
from witness.places import places_of
from witness.recording import Recording
from witness.taps import Limits, Taps
from witness.verdict import Verdict

SHORT = TimeoutsModel(
    tcp_opening=2, tcp_established=10, tcp_closing=1, udp=2, other=2, neighbour=2, lease=1, transit=0.5
)


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


def judged(taps: Taps, chains: Mapping[str, Sequence[str]]) -> tuple[Recording, Verdict]:
    """All that was seen, and the verdict; nothing may be under way any more."""
    recording = taps.snapshot(chains)
    return recording, judge(recording, in_flight_s=0.0)


def nfs_of(recording: Recording) -> dict[SessionKey, set[str]]:
    """The NFs at which each key was seen."""
    found: dict[SessionKey, set[str]] = defaultdict(set)
    for session, place in {(int(key["session"]), int(key["place"])) for key in recording.records["key"]}:
        if recording.places[place].nf:
            found[recording.key(session)].add(recording.places[place].nf)
    return found


def keys_of(talks: Talks) -> set[SessionKey]:
    """The session keys of all its sessions."""
    state = talks.state()
    assert state is not None
    ends = zip(state.ends, talks.peers, strict=True)
    return {SessionKey.of(_end(*end), _end(*peer), IPPROTO_TCP) for end, peer in ends if end is not None}


def _end(address: str, port: int) -> End:
    return End(ip_address(address), port)
