"""Two pairs in a row: each segment scales by itself, and a session keeps to one chain in each of them."""

from __future__ import annotations

from functools import partial

from catenary.wire import ChainSet
from tests.e2e.watching import SHORT, judged, keys_of, nfs_of, wait_quiet, watch
from tests.isolation import isolated
from topologies.chained import CHAINED
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import Talks, Transfers, WebServer

FIRST = {"a-1": ("a1",), "a-2": ("a2",)}
SECOND = {"b-1": ("b1",), "b-2": ("b2",)}
MASTERS = {"first": "l1", "second": "l3"}


def chain_set(testbed: Testbed, segment: str) -> ChainSet:
    return testbed.balancers[MASTERS[segment]].pairs()


def add(testbed: Testbed, segment: str, name: str, nf: str) -> None:
    """Add a chain to one segment; the other's chain set stays as it is."""
    [other] = MASTERS.keys() - {segment}
    before = chain_set(testbed, other)
    assert testbed.add_chain([nf], name=name, segment=segment).segment == segment
    assert chain_set(testbed, other) == before


@isolated
def test_each_of_two_segments_scales_by_itself() -> None:
    with Testbed(blueprint=CHAINED, timeouts=SHORT) as testbed:
        h1, h2, h3 = (testbed.hosts[name] for name in ("h1", "h2", "h3"))
        add(testbed, "first", "a-1", "a1")
        add(testbed, "second", "b-1", "b1")
        talk = partial(Talks, sessions=10)
        with (
            watch(testbed, "first", ("a1", "a2")) as one,
            watch(testbed, "second", ("b1", "b2")) as two,
            WebServer(h2) as web,
            Transfers(h3, [web.url("4k"), web.url("4k", 6)], name="short", parallel=2, pause=0.05) as short,
            talk(h1, h2, name="from-client") as early,
            talk(h2, h1, name="from-server", port=7001) as opened_by_server,
        ):
            add(testbed, "first", "a-2", "a2")
            with talk(h1, h2, name="later", port=7002, sessions=24) as later:
                add(testbed, "second", "b-2", "b2")
                with talk(h2, h1, name="last", port=7003, sessions=40) as last:
                    everyone = (early, opened_by_server, later, last)
                    assert [talks.wait_rounds(3).failures for talks in everyone] == [()] * 4

                    before = chain_set(testbed, "second")
                    removal = testbed.management.remove_chain("a-1")
                    wait_until(lambda: testbed.management.chain("a-1").state == "cooling", "cooling")
                    assert [talks.wait_rounds(3).failures for talks in everyone] == [()] * 4
                    keys = [keys_of(talks) for talks in everyone]
            early.end()
            opened_by_server.end()
            assert testbed.management.wait(removal, PATIENCE_S).state == "succeeded"
            assert chain_set(testbed, "second") == before
            transferred = short.stop()
            wait_quiet(one, two)
            recordings, verdicts = zip(judged(one, FIRST), judged(two, SECOND), strict=True)
        assert transferred.failures == 0
        for verdict in verdicts:
            assert verdict.failures == ()
            assert verdict.sessions == transferred.sessions + sum(map(len, keys))
            assert min(verdict.shares().values()) > 0.1
        where = [nfs_of(recording) for recording in recordings]
        assert all(where[0][key] == {"a1"} and where[1][key] == {"b1"} for key in keys[0] | keys[1])
        assert all(where[1][key] == {"b1"} for key in keys[2])
        # What the first segment chose says nothing of what the second one chooses.
        pairs = {(*where[0][key], *where[1][key]) for key in keys[3]}
        assert len(pairs) > 2, pairs
