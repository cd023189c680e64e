"""A removal with a deadline: what is left is ended when it is due, whoever crashes, and counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from catenary.chain import ChainState, PairState
from catenary.errors import Conflict, InvalidValue, NotFound
from catenary.tags import TagPair
from mgmt_system.reconcile import Action, Do, Seen, decide, outlook
from mgmt_system.records import ChainRecord, Goal
from tests.unit.mgmt_fakes import Site, network_text
from tests.unit.test_mgmt_crash_points import Death, survive

PAIR = TagPair(2, 3)


@pytest.fixture
def site() -> Iterator[Site]:
    """Two chains; the first has four sessions that never end by themselves."""
    site = Site()
    begin(site)
    yield site
    site.close()


def begin(site: Site) -> None:
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()
    site.master.sessions[PAIR] = site.slave.sessions[PAIR] = 4


def record(site: Site) -> ChainRecord:
    return next(item.record for item in site.ledger.chains() if item.record.name == "chain-1")


@pytest.mark.parametrize(("then", "counts"), [("reset", (4, 0)), ("rebalance", (0, 4))])
def test_what_is_left_is_ended_when_it_is_due(site: Site, then: str, counts: tuple[int, int]) -> None:
    operation = site.manager.remove("chain-1", force=False, deadline=5.0, then=then)  # type: ignore[arg-type]
    for _ in range(3):
        site.step()
    what = "reset" if then == "reset" else "moved"
    assert site.manager.chain("chain-1").reason == f"4 sessions at l1, 4 sessions at l2; {what} in 3 s"
    assert "end_sessions" not in site.master.calls
    site.settle()
    chain, ended = site.manager.chain("chain-1"), site.manager.operation(operation.id)
    assert (chain.state, chain.reset, chain.moved) == ("removed", *counts)
    assert (ended.state, ended.reset, ended.moved) == ("succeeded", *counts)


def test_without_a_deadline_nothing_is_ended(site: Site) -> None:
    site.manager.remove("chain-1", force=False)
    for _ in range(20):
        site.step()
    assert "end_sessions" not in site.master.calls
    assert site.states()["chain-1"] == "cooling"


def test_a_deadline_survives_a_restart(site: Site) -> None:
    site.manager.remove("chain-1", force=False, deadline=60.0, then="reset")
    site.step()
    site.restart()
    site.step()
    assert "end_sessions" not in site.master.calls
    site.now += 60
    site.restart()
    site.settle()
    assert (site.states()["chain-1"], record(site).reset) == ("removed", 4)


def keep_asking(site: Site) -> None:
    """Packets of a session go by at the slave, whatever was ended."""
    hold = site.slave.activity
    site.slave.activity = lambda pair: hold(pair).model_copy(update={"active": True, "sessions": 1})  # type: ignore[method-assign]


def test_the_counts_are_seen_while_the_last_packets_go_by(site: Site) -> None:
    operation = site.manager.remove("chain-1", force=False, deadline=0.0, then="reset")
    keep_asking(site)
    site.step()
    assert site.manager.chain("chain-1").reason == "1 session at l2; 4 reset, 0 moved"
    running = site.manager.operation(operation.id)
    assert (running.state, running.reset) == ("running", 4)


def test_a_removal_under_way_takes_a_deadline(site: Site) -> None:
    first = site.manager.remove("chain-1", force=False)
    site.step()
    with pytest.raises(Conflict, match="already being removed"):
        site.manager.remove("chain-1", force=False)
    second = site.manager.remove("chain-1", force=False, deadline=0.0, then="rebalance")
    assert second.id == first.id
    site.settle()
    assert site.manager.operation(first.id).moved == 4
    assert len(site.manager.operations()) == 3


def test_a_cancelled_removal_has_no_deadline(site: Site) -> None:
    site.manager.remove("chain-1", force=False, deadline=30.0, then="reset")
    site.step()
    site.manager.cancel("chain-1")
    site.settle()
    assert (record(site).state, record(site).deadline, record(site).then) == ("active", None, None)
    site.now += 60
    site.settle()
    assert site.master.sessions[PAIR] == 4


def test_a_master_that_restarted_empty_has_nothing_to_end(site: Site) -> None:
    site.manager.remove("chain-1", force=False, deadline=0.0, then="reset")
    site.master.restart_empty()
    site.settle()
    assert (site.states()["chain-1"], record(site).reset) == ("removed", 0)


def test_a_master_that_is_down_is_waited_for(site: Site) -> None:
    site.manager.remove("chain-1", force=False, deadline=2.0, then="reset")
    site.step()
    site.master.down = True
    for _ in range(5):
        site.step()
    assert site.manager.chain("chain-1").reason == "l1 can't be reached: connection refused"
    site.master.down = False
    site.settle()
    assert record(site).reset == 4


def test_no_session_goes_on_in_another_chain_where_chains_rewrite() -> None:
    site = Site(network=network_text().replace("master: l1", "rewrites: true, master: l1"))
    begin(site)
    with pytest.raises(Conflict, match=r"whose chains rewrite: no other one can go on .* use --then reset"):
        site.manager.remove("chain-1", force=False, deadline=5.0, then="rebalance")
    assert record(site).goal is Goal.PRESENT
    site.manager.remove("chain-1", force=False, deadline=5.0, then="reset")
    site.close()


def test_both_or_none_must_be_said(site: Site) -> None:
    for options in ({"deadline": 5.0}, {"then": "reset"}):
        with pytest.raises(InvalidValue, match="say both"):
            site.manager.remove("chain-1", force=False, **options)  # type: ignore[arg-type]
    assert site.states()["chain-1"] == "active"


def remove(site: Site) -> None:
    with suppress(Conflict, NotFound):  # accepted, or even done, before the crash
        site.manager.remove("chain-1", force=False, deadline=2.0, then="reset")
    site.settle()
    assert site.states()["chain-1"] == "removed"


def live(at: int) -> tuple[Site, list[str]]:
    site, death = Site(), Death(at)
    begin(site)
    site.restart(death)
    survive(site, lambda: remove(site))
    return site, death.passed


PASSED = live(0)[1]


@pytest.mark.parametrize("at", range(1, len(PASSED) + 1), ids=lambda at: f"{at}-{PASSED[at - 1]}")
def test_killed_anywhere_it_ends_them_once_and_counts_them_all(at: int) -> None:
    site, _ = live(at)
    assert record(site).reset == 4
    removal = site.manager.operations()[-1]
    assert (removal.state, removal.reset, removal.moved) == ("succeeded", 4, 0)
    assert site.master.states == {TagPair(4, 5): PairState.ACTIVE}
    site.close()


def test_a_deadline_that_has_come_is_not_put_off(site: Site) -> None:
    keep_asking(site)
    site.manager.remove("chain-1", force=False, deadline=0.0, then="reset")
    site.step()
    site.manager.remove("chain-1", force=False, deadline=600.0, then="rebalance")
    assert (record(site).deadline, record(site).then) == (site.now, "reset")


def test_sessions_are_ended_when_all_else_is_done(site: Site) -> None:
    site.manager.remove("chain-1", force=False, deadline=2.0, then="reset")
    cooling = record(site).become(ChainState.COOLING, site.now)
    due = cooling.deadline or 0.0
    assert due == site.now + 2
    assert decide(cooling, Seen(True, PairState.COOLING), due - 1) == Do(Action.POLL)
    assert decide(cooling, Seen(True, PairState.COOLING), due) == Do(Action.END)
    assert decide(cooling, Seen(True, PairState.CLOSED), due) == Do(Action.END)
    assert decide(cooling, Seen(False, PairState.COOLING), due) == Do(Action.STEER)
    assert decide(cooling, Seen(True, PairState.ACTIVE), due) == Do(Action.REMOVE_PAIR)
    assert outlook(replace(cooling, deadline=None), due) == ""
