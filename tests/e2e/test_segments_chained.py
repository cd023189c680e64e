"""Two pairs in a row: each segment scales by itself, and a session keeps to one chain in each of them.

At first both carry one service, and all traffic. Then each is a service of its own, with a classifier:

ports       7100 7101 web    7110 mail    7120 neither
first       a chain          past         past
second      past             a chain      past
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from typer.testing import CliRunner

from catenary.config import ChainConfig, ServiceConfig, ServiceEntry, TrafficConfig
from catenary.wire import ChainSet
from mgmt_system.cli import app
from tests.e2e.watching import SHORT, judged, keys_of, nfs_of
from tests.isolation import isolated
from topologies.chained import CHAINED
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import Talks, Transfers, WebServer
from topologies.watching import wait_quiet, watch

FIRST = {"a-1": ("a1",), "a-2": ("a2",)}
SECOND = {"b-1": ("b1",), "b-2": ("b2",)}
MASTERS = {"first": "l1", "second": "l3"}
SERVICES = {"web": ("first", "7100-7109"), "mail": ("second", "7110-7119")}
TALKS = 6


def chain_set(testbed: Testbed, segment: str) -> ChainSet:
    return testbed.balancers[MASTERS[segment]].pairs()


def add(testbed: Testbed, segment: str, name: str, nf: str) -> None:
    """Add a chain to one segment; the other's chain set stays as it is."""
    [other] = MASTERS.keys() - {segment}
    before = chain_set(testbed, other)
    assert testbed.add_chain([nf], name=name, segment=segment).segment == segment
    assert chain_set(testbed, other) == before


@isolated
def test_each_of_two_segments_and_each_of_two_services_scales_by_itself() -> None:
    with Testbed(blueprint=CHAINED, timeouts=SHORT) as testbed:
        segments_scale(testbed)
        services_scale(testbed)


def segments_scale(testbed: Testbed) -> None:
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


def two_services(network: ServiceConfig) -> ServiceConfig:
    """What there is by now, each segment with traffic of its own."""
    services = {
        name: ServiceEntry(segments=[segment], classifier=[TrafficConfig(protocol="tcp", ports=[ports])])
        for name, (segment, ports) in SERVICES.items()
    }
    chains = {"a-2": ChainConfig(segment="first", nfs=["a2"])}
    chains |= {name: ChainConfig(segment="second", nfs=[*nfs]) for name, nfs in SECOND.items()}
    return network.model_copy(update={"services": services, "chains": chains})


def printed(*words: str) -> dict[str, list[str]]:
    """What a command says, by the first word of each line."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return {words[0]: words[1:] for line in result.output.splitlines() if (words := line.split())}


def services(testbed: Testbed) -> dict[str, tuple[set[str], list[int] | None]]:
    """Chains of each service, and its new sessions by the entry of its classifier; None: not told yet."""
    return {
        service.name: ({chain.name for chain in service.chains}, service.segments[0].entered)
        for service in testbed.management.services()
    }


SEEN = {
    "web": ({"a-2", "a-3", "first-bypass"}, [5 * TALKS]),
    "mail": ({"b-1", "b-2", "second-bypass"}, [TALKS]),
}


def services_scale(testbed: Testbed) -> None:
    management, talk = testbed.management, partial(Talks, testbed.hosts["h1"], testbed.hosts["h2"])
    operation = management.apply(two_services(testbed.network))
    assert operation is not None
    assert management.wait(operation, PATIENCE_S).state == "succeeded"
    with (
        watch(testbed, "first", ("a1", "a2")) as one,
        watch(testbed, "second", ("b1", "b2")) as two,
        talk(name="web", port=7100, sessions=TALKS) as web,
        talk(name="mail", port=7110, sessions=TALKS) as mail,
        talk(name="rest", port=7120, sessions=TALKS) as rest,
    ):
        before = chain_set(testbed, "first").epoch
        add(testbed, "first", "a-3", "a1")  # whatever the other one has stays
        assert chain_set(testbed, "first").epoch == before + 1
        sets = [chain_set(testbed, segment) for segment in MASTERS]
        used = Counter(vid for known in sets for pair in known.pairs for vid in pair.pair().ids)
        used.update(segment.ask_id for segment in testbed.network.segments.values())
        assert set(used.values()) == {1}, used
        with talk(name="later", port=7101, sessions=4 * TALKS) as later:
            live = (web, mail, rest, later)
            assert [talks.wait_rounds(3).failures for talks in live] == [()] * 4
            listed = {"web": ["first", "3", str(5 * TALKS)], "mail": ["second", "3", str(TALKS)]}
            wait_until(lambda: printed("service", "list").items() >= listed.items(), f"no {listed}")
            wait_until(lambda: services(testbed) == SEEN, f"services are not {SEEN}")
            assert {"b-1", "b-2", "second-bypass"} <= printed("service", "show", "mail").keys()
            keys = [keys_of(talks) for talks in live]
        for talks in live:
            talks.end()
        wait_quiet(one, two)
        chains = {"a-2": ("a2",), "a-3": ("a1",), "past": ()}, {**SECOND, "past": ()}
        recordings, verdicts = zip(judged(one, chains[0]), judged(two, chains[1]), strict=True)
    for verdict in verdicts:
        assert verdict.failures == ()
        assert verdict.sessions == 7 * TALKS
    first, second = (nfs_of(recording) for recording in recordings)
    assert all((first[key], second[key]) == ({"a2"}, set()) for key in keys[0])
    assert all((first[key], len(second[key])) == (set(), 1) for key in keys[1])
    assert all((first[key], second[key]) == (set(), set()) for key in keys[2])
    assert {tuple(first[key]) for key in keys[3]} == {("a1",), ("a2",)}
