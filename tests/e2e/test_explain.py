"""What is explained of sessions, live, ended, translated and yet to come, against what the taps saw."""

from __future__ import annotations

from contextlib import ExitStack

from catenary import pcap
from experiments.management import compared
from lb_adapter.core.oracle import parse
from tests.isolation import isolated
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.translated import rewriting_testbed

SESSIONS = 24
"""So many of each kind; `make bench-mgmt` takes more."""


@isolated
def test_live_ended_and_coming_sessions_go_where_it_is_said() -> None:
    with (
        Testbed(blueprint=compared.WIDER, timeouts=compared.TIMES, nf_rate_mbit=None) as testbed,
        ExitStack() as stack,
    ):
        found, open_still = compared.plain(testbed, SESSIONS, stack)
        assert {kind: item.differences for kind, item in found.items()} == {
            "live": [],
            "ended": [],
            "new": [],
        }
        assert {len(item.told) for item in found.values()} == {SESSIONS}
        assert {tuple(told.nfs) for told in found["new"].told} == set(compared.CHAINS.values())
        assert {told.master for told in found["new"].told} == {None}
        live = found["live"].told[0]
        assert live.because[0].startswith("l1 placed it at its first packet"), live.because

        one = open_still[0]
        chain = live.chain or ""
        capture = testbed.management.capture(chain, session=one.text, seconds=PATIENCE_S, packets=2)
        records = pcap.whole_records(capture)
        next(records)
        for talk in open_still:
            talk.say()
        frames = [record[16:] for record in records]
        assert {parse(frame[:12] + frame[16:]).key for frame in frames} == {one.keys[0]}


@isolated
def test_translated_sessions_are_told_by_both_of_their_keys() -> None:
    with rewriting_testbed(compared.TIMES) as testbed, ExitStack() as stack:
        found = compared.translated(testbed, SESSIONS // 2, stack)
        assert found.differences == []
        inner, outer = found.told[: SESSIONS // 2], found.told[SESSIONS // 2 :]
        assert [told.chain for told in inner] == [told.chain for told in outer]
        assert {"chain-1", "chain-2"} == {told.chain for told in inner}
        assert all("on the clients' side of the chain" in " ".join(told.because) for told in inner)
        assert all("on the servers' side of the chain" in " ".join(told.because) for told in outer)
