"""A chain's life through the engine, on fakes: what is called, in which order, and what is waited for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict, Unavailable
from catenary.tags import TagPair
from tests.unit.mgmt_fakes import Site

PAIR = TagPair(2, 3)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def test_a_chain_is_steered_before_its_pair_is_added(site: Site) -> None:
    order: list[str] = []
    site.controller.fault = lambda call, after: order.append(call) if after else None
    site.master.fault = site.controller.fault
    operation = site.add("n1")
    assert site.states() == {"chain-1": "requested"}
    site.step()
    assert site.states() == {"chain-1": "active"}
    assert order == ["steer", "change"]
    assert site.manager.operation(operation.id).state == "succeeded"
    assert site.master.states == {PAIR: PairState.ACTIVE}
    assert site.slave.states == {PAIR: PairState.ACTIVE}


def test_switch_rules_go_last_and_only_when_both_balancers_are_done(site: Site) -> None:
    site.add("n1")
    site.add("n2")
    site.settle()
    site.master.sessions[PAIR], site.slave.sessions[PAIR] = 5, 1
    operation = site.manager.remove("chain-1", force=False)
    site.step()
    assert site.states()["chain-1"] == "cooling"
    assert site.manager.chain("chain-1").reason == "5 sessions at l1, 1 session at l2"
    assert "chain-1" in site.controller.steered
    del site.master.sessions[PAIR]
    for _ in range(3):
        site.step()
    assert site.states()["chain-1"] == "cooling", "the slave still has a session"
    del site.slave.sessions[PAIR]
    site.settle()
    assert site.states()["chain-1"] == "removed"
    assert site.manager.operation(operation.id).state == "succeeded"
    assert list(site.controller.steered) == ["chain-2"]
    assert list(site.master.states) == [TagPair(4, 5)]
    assert [chain.name for chain in site.manager.chains()] == ["chain-2"]
    assert site.manager.chain("chain-1").state == "removed"


@pytest.mark.parametrize("part", ["controller", "master", "slave"])
def test_an_add_waits_for_a_part_that_is_down_and_says_so(site: Site, part: str) -> None:
    fake = getattr(site, part)
    fake.down = True
    operation = site.add("n1")
    site.step()
    chain = site.manager.chain("chain-1")
    assert chain.state == ("requested" if part == "controller" else "steered")
    assert chain.reason is not None
    assert fake.name in chain.reason
    assert "can't be reached" in chain.reason
    assert site.manager.operation(operation.id).state == "running"
    fake.down = False
    site.settle()
    assert site.states() == {"chain-1": "active"}
    assert site.manager.chain("chain-1").reason is None
    assert site.manager.operation(operation.id).state == "succeeded"


@pytest.mark.parametrize("part", ["controller", "master", "slave"])
def test_a_removal_waits_for_a_part_that_is_down(site: Site, part: str) -> None:
    site.add("n1")
    site.add("n2")
    site.settle()
    fake = getattr(site, part)
    fake.down = True
    site.manager.remove("chain-1", force=False)
    for _ in range(5):
        site.step()
    assert site.states()["chain-1"] != "removed"
    assert fake.name in str(site.manager.chain("chain-1").reason)
    fake.down = False
    site.settle()
    assert site.states()["chain-1"] == "removed"


def test_a_part_that_is_down_is_left_alone_for_a_while(site: Site) -> None:
    site.controller.down = True
    site.add("n1")
    site.step()
    before = len(site.controller.calls)
    site.engine.settle()
    assert len(site.controller.calls) == before, "called again without a pause"


def test_a_refusal_by_the_controller_fails_the_chain_with_its_reason(site: Site) -> None:
    site.controller.down = True
    operation = site.add("lonely")
    site.controller.down = False
    site.settle()
    chain = site.manager.chain("chain-1")
    assert (chain.state, "no path" in str(chain.reason)) == ("failed", True)
    ended = site.manager.operation(operation.id)
    assert (ended.state, ended.reason) == ("failed", chain.reason)
    site.add("n1", name="chain-1")
    site.settle()
    assert site.manager.chain("chain-1").state == "active", "a failed chain's name, tags and NFs are free"


def test_a_refusal_by_the_master_undoes_the_steering(site: Site) -> None:
    site.master.states[TagPair(3, 9)] = PairState.ACTIVE
    site.master.weights[TagPair(3, 9)] = 100
    site.add("n1", tags=wire.Tags(forward=2, reverse=3))
    site.settle()
    chain = site.manager.chain("chain-1")
    assert (chain.state, "in use by (3, 9)" in str(chain.reason)) == ("failed", True)
    assert site.controller.steered == {}


def test_a_failed_chain_can_be_removed(site: Site) -> None:
    site.controller.down = True
    site.add("lonely")
    site.controller.down = False
    site.settle()
    site.manager.remove("chain-1", force=False)
    site.settle()
    assert site.manager.chains() == []


def test_a_removal_before_the_chain_is_active_undoes_it(site: Site) -> None:
    site.master.down = True
    adding = site.add("n1")
    site.step()
    assert site.states() == {"chain-1": "steered"}
    site.manager.remove("chain-1", force=False)
    ended = site.manager.operation(adding.id)
    assert (ended.state, "removed before it was active" in str(ended.reason)) == ("failed", True)
    site.master.down = False
    site.settle()
    assert site.states() == {"chain-1": "removed"}
    assert site.controller.steered == {}
    assert site.master.states == {}


def test_an_add_whose_answer_was_lost_is_undone_with_a_cool_down(site: Site) -> None:
    def lose_answer(call: str, after: bool) -> None:
        if call == "change" and after:
            raise Unavailable("l1: read timed out")

    site.master.fault = lose_answer
    site.add("n1")
    site.step()
    assert site.states() == {"chain-1": "steered"}
    assert site.master.states == {PAIR: PairState.ACTIVE}, "it happened all the same"
    site.master.fault = lambda call, after: None
    site.manager.remove("chain-1", force=False)
    site.step()
    assert site.states() == {"chain-1": "cooling"}
    site.settle()
    assert site.states() == {"chain-1": "removed"}
    assert site.master.states == {}


def test_a_master_that_restarted_empty_gets_all_pairs_back_in_one_change(site: Site) -> None:
    for nf in ("n1", "n2", "n3"):
        site.add(nf, weight=7)
    site.settle()
    before = dict(site.master.states)
    site.master.restart_empty()
    epoch = site.master.epoch
    site.settle()
    assert site.master.states == before
    assert set(site.master.weights.values()) == {7}
    assert site.master.epoch == epoch + 1


def test_a_controller_that_restarted_empty_gets_cooling_chains_back_too(site: Site) -> None:
    site.add("n1")
    site.add("n2")
    site.settle()
    site.master.sessions[PAIR] = 1
    site.manager.remove("chain-1", force=False)
    site.step()
    site.controller.restart_empty()
    site.step()
    assert set(site.controller.steered) == {"chain-1", "chain-2"}


def test_everything_restarted_empty_while_a_chain_was_cooling(site: Site) -> None:
    site.add("n1")
    site.add("n2")
    site.settle()
    site.master.sessions[PAIR] = 1
    site.manager.remove("chain-1", force=False)
    site.step()
    site.controller.restart_empty()
    site.master.restart_empty()
    site.settle()
    assert site.states() == {"chain-1": "removed", "chain-2": "active"}
    assert list(site.master.states) == [TagPair(4, 5)]
    assert list(site.controller.steered) == ["chain-2"]


def test_several_chains_that_wait_are_added_in_one_epoch(site: Site) -> None:
    site.add("n1")
    site.add("n2")
    site.step()
    assert site.states() == {"chain-1": "active", "chain-2": "active"}
    assert site.master.epoch == 1


def test_one_bad_chain_does_not_hold_up_the_others(site: Site) -> None:
    site.master.states[TagPair(3, 9)] = PairState.ACTIVE
    site.master.weights[TagPair(3, 9)] = 100
    site.add("n1", tags=wire.Tags(forward=2, reverse=3))
    site.add("n2")
    site.settle()
    assert site.states() == {"chain-1": "failed", "chain-2": "active"}


def test_weights_given_to_a_rebalance_survive_a_master(site: Site) -> None:
    site.add("n1")
    site.settle()
    site.manager.rebalance(wire.Rebalance(weights=[wire.PairAdd(forward=2, reverse=3, weight=0)]))
    site.master.restart_empty()
    site.settle()
    assert site.master.weights == {PAIR: 0}
    assert site.manager.chain("chain-1").weight == 0


def cooling(site: Site) -> None:
    """chain-1 cools down beside chain-2; one session holds it."""
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()
    for balancer in (site.master, site.slave):
        balancer.sessions = dict.fromkeys(balancer.states, 1)
    site.manager.remove("chain-1", force=False)
    for _ in range(3):
        site.step()
    assert site.manager.chain("chain-1").state == "cooling"


def test_a_cancelled_removal_leaves_everything_as_it_was(site: Site) -> None:
    cooling(site)
    operation = site.manager.cancel("chain-1")
    site.settle()
    assert site.manager.chain("chain-1").state == "active"
    assert site.master.states[TagPair(2, 3)] is PairState.ACTIVE
    assert site.manager.operation(operation.id).state == "succeeded"
    assert [item.state for item in site.manager.operations()] == [
        "succeeded",
        "succeeded",
        "failed",
        "succeeded",
    ]


def test_a_cancel_that_comes_too_late_fails_and_the_chain_goes_on_leaving(site: Site) -> None:
    cooling(site)
    site.master.states[TagPair(2, 3)] = PairState.CLOSED
    operation = site.manager.cancel("chain-1")
    for _ in range(3):
        site.step()
    ended = site.manager.operation(operation.id)
    assert (ended.state, ended.reason) == ("failed", "tag pair (2, 3) is closed: cancel is refused")
    for balancer in (site.master, site.slave):
        balancer.sessions.clear()
    site.settle(20)
    assert site.manager.chain("chain-1").state == "removed"


def test_a_cancel_waits_for_the_master(site: Site) -> None:
    cooling(site)
    site.master.down = True
    operation = site.manager.cancel("chain-1")
    for _ in range(3):
        site.step()
    assert site.manager.operation(operation.id).state == "running"
    site.master.down = False
    site.restart()
    site.settle()
    assert site.manager.operation(operation.id).state == "succeeded"


def test_a_cordon_that_the_master_refuses_is_not_written_down(site: Site) -> None:
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()
    site.master.down = True
    with pytest.raises(Unavailable):
        site.manager.cordon("chain-1", force=False)
    assert not site.manager.chain("chain-1").cordoned
    site.master.down = False
    assert site.manager.cordon("chain-1", force=False).cordoned


def test_a_master_that_restarted_empty_gets_a_cordoned_chain_back_cordoned(site: Site) -> None:
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()
    site.manager.cordon("chain-1", force=False)
    site.master.restart_empty()
    site.settle()
    assert site.master.weights[TagPair(2, 3)] == 0


def test_a_removal_that_was_not_passed_on_yet_can_be_cancelled(site: Site) -> None:
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()
    site.manager.remove("chain-1", force=False)
    operation = site.manager.cancel("chain-1")
    site.settle()
    assert site.manager.operation(operation.id).state == "succeeded"
    assert site.manager.chain("chain-1").state == "active"


def test_a_cordon_whose_answer_was_lost_can_be_undone(site: Site) -> None:
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()

    def lose_answer(call: str, done: bool) -> None:
        if (call, done) == ("rebalance", True):
            raise Unavailable("the answer is lost")

    site.master.fault = lose_answer
    with pytest.raises(Unavailable):
        site.manager.cordon("chain-1", force=False)
    site.master.fault = lambda call, done: None
    assert site.master.weights[PAIR] == 0
    site.manager.uncordon("chain-1")
    assert site.master.weights[PAIR] == 100


def test_a_cordoned_chain_does_not_stand_in_for_the_last_one(site: Site) -> None:
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()
    site.manager.cordon("chain-2", force=False)
    with pytest.raises(Conflict, match="last active one"):
        site.manager.remove("chain-1", force=False)
    site.manager.remove("chain-2", force=False)


def test_a_request_amid_a_step_of_several_chains_holds_up_only_its_own() -> None:
    site = Site()
    for nf in ("n1", "n2", "n3"):
        site.add(nf)

    def remove(call: str, after: bool) -> None:
        if call == "change" and after and site.states()["chain-2"] == "steered":
            site.manager.remove("chain-2", force=True)

    site.master.fault = remove
    site.step()
    assert site.states()["chain-1"] == site.states()["chain-3"] == "active"
    site.settle()
    assert site.states() == {"chain-1": "active", "chain-2": "removed", "chain-3": "active"}
    assert site.master.states.keys() == {TagPair(2, 3), TagPair(6, 7)}
    site.close()
