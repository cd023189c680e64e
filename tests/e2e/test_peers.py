"""Rivals in the load balancers' place: the same changes break sessions of theirs, and none of Catenary's."""

from __future__ import annotations

from dataclasses import asdict, replace

from catenary.wire import TimeoutsModel
from experiments.evaluation.parameters import Scale, read
from experiments.evaluation.play import TIMEOUTS
from experiments.peers.alone import AlgorithmOne, HashModulo
from experiments.peers.balancing import CHAINS, Managed, Rival
from experiments.peers.measuring import watch
from experiments.peers.run import EVALUATION, Sizes
from experiments.peers.switches import Learn, Multipath
from tests.isolation import isolated
from topologies.nfs.firewall import Firewall
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import Transfers, WebServer

PHASE_S = 0.6


@isolated
def test_the_same_changes_break_sessions_of_a_rival_and_none_of_catenary() -> None:
    sizes = read(EVALUATION.folder / "parameters.toml", Sizes, Scale.QUICK)
    timeouts = TimeoutsModel(**asdict(TIMEOUTS))
    with Testbed(timeouts=timeouts, nf_rate_mbit=sizes.capacity_mbit) as testbed:
        with Managed(testbed) as chains:
            kept = watch(testbed, chains, sizes.offered(), detects=False, phase_s=PHASE_S, say=print)
        with HashModulo(testbed) as chains:
            offered = replace(sizes.offered(), timeout_s=2.0)  # what is broken need not be waited for
            broken = watch(testbed, chains, offered, detects=False, phase_s=PHASE_S, say=print)
        for rival in (AlgorithmOne, Multipath, Learn):
            with rival(testbed) as chains:
                assert_carries(testbed, chains)
    assert (kept.broken, kept.failed, kept.witness_dropped) == (0, 0, 0), kept.reasons
    assert min(kept.across) > 0, "nothing could break"
    assert broken.broken > 0, broken.reasons
    assert broken.failed > 0, "firewalls let a session pass of which they saw a part only"


def assert_carries(testbed: Testbed, chains: Rival) -> None:
    """All traffic, over the chains that it is told and no other."""
    with WebServer(testbed.hosts["h2"]) as web:
        for number, told in enumerate((CHAINS[1:2], CHAINS)):
            before = opened(testbed)
            chains.set_chains(told)
            name = f"{type(chains).__name__}-{number}"
            load = Transfers(testbed.hosts["h1"], [web.url("4k"), web.url("4k", 6)], name=name, sessions=20)
            with load:
                result = load.wait(PATIENCE_S)
            assert (result.requests, result.failures) == (20, 0)
            after = opened(testbed)
            assert {nf for nf in after if after[nf] > before[nf]} == {chain.nf for chain in told}


def opened(testbed: Testbed) -> dict[str, int]:
    """Sessions that each firewall has let begin."""
    return {name: nf.counters().opened for name, nf in testbed.nfs.items() if isinstance(nf, Firewall)}
