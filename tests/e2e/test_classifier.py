"""Web traffic goes through the chains, the rest past them; the classifier changes while sessions live.

port        7000 web   7001 rest   7002 opened by the server   7003, 7004 after 7003 took the place of 7000
crosses     a chain    none        none                        a chain, none
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from catenary.chain import ChainState
from catenary.config import ChainConfig, ServiceConfig, ServiceEntry, TrafficConfig
from tests.e2e.watching import SHORT, judged, keys_of, nfs_of
from tests.isolation import isolated
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import Talks
from topologies.watching import wait_quiet, watch

CHAINS = {"first": ("n1",), "second": ("n2",)}
TALKS = 6


def document(testbed: Testbed, port: str | None) -> ServiceConfig:
    """Two chains for the traffic to this port; None: for all."""
    (segment,) = testbed.network.segments
    classifier = [TrafficConfig(protocol="tcp", ports=[port])] if port else []
    chains = {name: ChainConfig(nfs=list(nfs)) for name, nfs in CHAINS.items()}
    services = {"web": ServiceEntry(segments=[segment], classifier=classifier)}
    return testbed.network.model_copy(update={"services": services, "chains": chains})


def apply(testbed: Testbed, port: str | None) -> str:
    operation = testbed.management.apply(document(testbed, port))
    assert operation is not None
    return operation.id


def wait_done(testbed: Testbed, operation: str) -> None:
    wait_until(lambda: testbed.management.operation(operation).state != "running", f"{operation} goes on")
    assert testbed.management.operation(operation).state == "succeeded"


def entered_and_passed(testbed: Testbed) -> tuple[list[int] | None, int | None]:
    """New sessions by the entry of the classifier, and of those that went past the chains."""
    service = testbed.management.service("web")
    passed = [chain.new_sessions for chain in service.chains if not chain.nfs and chain.state == "active"]
    return service.segments[0].entered, passed[0] if passed else None


@isolated
def test_web_traffic_enters_and_a_new_classifier_breaks_no_session() -> None:
    with Testbed(timeouts=SHORT) as testbed:
        h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
        talk: Callable[..., Talks] = partial(Talks, h1, h2, sessions=TALKS)
        (segment,) = testbed.network.segments
        wait_done(testbed, apply(testbed, "7000"))
        with (
            watch(testbed, segment, ("n1", "n2")) as taps,
            talk(name="web") as web,
            talk(name="rest", port=7001) as rest,
            Talks(h2, h1, sessions=TALKS, name="servers", port=7002) as servers,
        ):
            live = [web, rest, servers]
            assert entered_and_passed(testbed) == ([TALKS], 2 * TALKS)
            wait_done(testbed, apply(testbed, "7003"))
            assert entered_and_passed(testbed) == ([0], 2 * TALKS)
            testbed.restart("l1")  # its data plane goes on, and tells the next daemon the rules
            with talk(name="later", port=7003) as later, talk(name="other", port=7004) as other:
                live += [later, other]
                assert entered_and_passed(testbed) == ([TALKS], 3 * TALKS)
                assert [talks.wait_rounds(3).failures for talks in live] == [()] * 5
                ended = apply(testbed, None)
                bypass = f"{segment}-bypass"
                wait_until(
                    lambda: testbed.management.chain(bypass).state is ChainState.COOLING, "bypass cools down"
                )
                with talk(name="all", port=7005) as everything:
                    live.append(everything)
                    assert [talks.wait_rounds(3).failures for talks in live] == [()] * 6
                    keys = [keys_of(talks) for talks in live]
            for talks in live:
                talks.end()
            wait_done(testbed, ended)
            wait_quiet(taps)
            recording, verdict = judged(taps, {**CHAINS, "past": ()})
        assert verdict.failures == ()
        assert verdict.violations == ()
        assert verdict.sessions == 6 * TALKS
        where = nfs_of(recording)
        for enters, of in zip((True, False, False, True, False, True), keys, strict=True):
            assert {len(where[key]) for key in of} == {int(enters)}
