"""The pair's protocol: two pure machines, and a network that loses, doubles, delays and reorders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from catenary.chain import PairState
from catenary.errors import Conflict
from catenary.tags import TagPair
from lb_adapter import balancer, following, peering, talk
from lb_adapter.balancer import ChainTable
from lb_adapter.dataplane.base import TakeOver

PROTOCOL, ASK, D = 3, 4094, 2.0
TAGS = (TagPair(2, 3), TagPair(4, 5), TagPair(6, 7))


def added(table: ChainTable, tags: TagPair, now: float = 0.0) -> ChainTable:
    return balancer.change(table, add=[(tags, 100)], ask_id=ASK, now=now, transit=D)


ONE = added(ChainTable(), TAGS[0])
FOLLOWER = following.Follower("main", "s", ChainTable())


def leader(**fields: Any) -> peering.Leader:
    return replace(peering.Leader("m1", ChainTable(), D, 7452.0), **fields)


def hello(**fields: Any) -> following.Hello:
    return replace(following.Hello(PROTOCOL, "main", "m1", "s", ASK, ONE), **fields)


def said(state: peering.Leader, *messages: talk.Said, now: float = 10.0) -> peering.Leader:
    for message in messages:
        state, _ = peering.step(state, message, now)
    return state


def acts(state: peering.Leader, message: talk.Said, now: float = 10.0) -> tuple[talk.Act, ...]:
    return peering.step(state, message, now)[1]


def test_a_change_goes_to_the_slave_first() -> None:
    state = leader(table=ONE, slave="s", reason=None)
    two = added(ONE, TAGS[1])
    state, told = peering.step(state, talk.Propose(two), 0)
    assert told == (talk.Tell(two),)
    assert state.table == ONE
    state, adopt = peering.step(state, talk.Accepted("s", two.epoch), 0)
    assert adopt == (talk.Adopt(two),)
    assert state.table == ONE, "not before our own data plane has it"
    assert said(state, talk.Adopted()).table == two


def test_an_epoch_that_failed_is_never_another_chain_set() -> None:
    state = leader(table=ONE, slave="s", reason=None)
    two = added(ONE, TAGS[1])
    state = said(state, talk.Propose(two), talk.Failed("no answer"))
    assert not state.connected
    (greeting,) = acts(state, talk.Seen("s", ONE.epoch, "m1"))
    assert isinstance(greeting, talk.Greet)
    assert greeting.table == replace(ONE, epoch=two.epoch + 1)


def test_a_greeting_that_failed_is_repeated_as_it_was() -> None:
    state = leader(table=ONE)
    seen = talk.Seen("s", 0, None)
    state, first = peering.step(state, seen, 0)
    assert acts(said(state, talk.Failed("no answer")), seen) == first


def test_a_new_master_begins_above_its_slave() -> None:
    (greeting,) = acts(leader(table=ONE), talk.Seen("s", ONE.epoch, "m0"))
    assert greeting == talk.Greet("s", replace(ONE, epoch=ONE.epoch + 1))


def test_a_slave_from_the_future_is_not_greeted() -> None:
    state, todo = peering.step(leader(table=ONE), talk.Seen("s", 5000, None), 0)
    assert not todo
    assert state.reason is not None
    assert "epoch 5000, the present one is 1: it may be another pair's" in state.reason


def test_late_answers_change_nothing() -> None:
    state = leader(table=ONE, slave="s", reason=None)
    for late in (
        talk.Accepted("s", 7),
        talk.Adopted(),
        talk.Chains(ChainTable()),
        talk.Copied(None, 5),
        talk.Counted(0, {}, {}),
    ):
        assert peering.step(state, late, 0) == (state, ())


def cooling(state: PairState) -> ChainTable:
    pairs = (replace(ONE.pairs[0], state=state, since=0.0),)
    return replace(ONE, pairs=pairs)


def test_a_pair_is_drained_by_counts_of_its_own_epoch() -> None:
    state = leader(table=cooling(PairState.CLOSED), slave="s", reason=None)
    assert talk.Count() in acts(state, talk.Ticked({}), now=5)
    assert not acts(state, talk.Counted(0, {}, {}), now=5), "counts of another epoch"
    assert not acts(state, talk.Counted(1, {}, {0: 1}), now=5), "a lease is left"
    (told,) = acts(state, talk.Counted(1, {}, {}), now=5)
    assert isinstance(told, talk.Tell)
    assert told.table.pairs[0].state is PairState.DRAINED


def test_a_master_without_its_table_copies_it_twice() -> None:
    """Rule 8: the second time what was still under way when the first copy began."""
    state = leader(hold=100.0)
    seen = talk.Seen("s", 1, "m0")
    assert acts(state, seen, 100) == (talk.FetchChains(),)
    state = said(state, seen, talk.Chains(ONE), now=100)
    state, fetch = peering.step(state, talk.Adopted(), 100)
    assert fetch == (talk.FetchPins(None),)
    state, wait = peering.step(state, talk.Copied(None, 5000), 101)
    assert wait == ()
    assert acts(state, seen, 102) == (), "D is not over"
    assert acts(state, seen, 102.1) == (talk.FetchPins(4980),)
    for late in (talk.Copied(None, 5000), talk.Copied(17, 7000)):
        assert peering.step(state, late, 102.1) == (state, ()), "of a copy before"
    state, greet = peering.step(state, talk.Copied(4980, 7000), 102.1)
    assert greet == (talk.Greet("s", replace(ONE, epoch=2)),)
    state, adopt = peering.step(state, talk.Accepted("s", 2), 102.1)
    assert adopt == (talk.Adopt(replace(ONE, epoch=2)),)
    assert state.hold is not None
    state, go_on = peering.step(state, talk.Adopted(), 102.2)
    assert go_on == (talk.SetTakeOver(TakeOver.WATCH),)
    assert (state.hold, state.connected) == (None, True)
    assert talk.SetTakeOver(TakeOver.NONE) in acts(state, talk.Ticked({}), 102.2 + 7453)


def test_a_copy_that_took_long_is_followed_by_the_second_one_at_once() -> None:
    state = said(leader(hold=100.0), talk.Chains(ONE), talk.Adopted(), now=100)
    assert acts(state, talk.Copied(None, 5000), 103) == (talk.FetchPins(4980),)


def test_a_copy_that_failed_begins_anew() -> None:
    state = said(leader(hold=100.0), talk.Chains(ONE), talk.Adopted(), talk.Copied(None, 5), now=100)
    state = said(state, talk.Failed("the copy ends after 7 bytes, in the middle"))
    assert (state.hold, state.table) == (100.0, ONE)
    assert acts(state, talk.Seen("s", 1, "m0"), 200) == (talk.FetchPins(None),)


def test_a_slave_that_refuses_the_greeting_is_not_taken_over() -> None:
    """It may have gone over to another master meanwhile: the copy begins anew, by a higher epoch."""
    state = said(
        leader(hold=100.0, seen="s"),
        talk.Chains(ONE),
        talk.Adopted(),
        talk.Copied(None, 5000),
        now=103,
    )
    state, greet = peering.step(state, talk.Copied(4980, 8000), 103)
    assert greet == (talk.Greet("s", replace(ONE, epoch=2)),)
    state = said(state, talk.Failed("409"), now=103)
    assert (state.hold, state.copied_ms, state.table) == (100.0, None, replace(ONE, epoch=2))
    assert acts(state, talk.Seen("s", 3, "m0"), 104) == (talk.FetchChains(),), "not ours any more"
    assert acts(state, talk.Seen("s", 2, "m0"), 104) == (talk.FetchPins(None),)
    state = said(state, talk.Copied(None, 9000), now=104)
    (greet_again,) = acts(state, talk.Copied(8980, 9900), 104)
    assert greet_again == talk.Greet("s", replace(ONE, epoch=3))


def test_the_first_master_of_all_has_nothing_to_copy() -> None:
    state, todo = peering.step(leader(hold=100.0), talk.Seen("s", 0, None), 100)
    assert todo[0] == talk.SetTakeOver(TakeOver.NONE)
    assert state.hold is None


MET_SLAVE = talk.Seen("s", ONE.epoch, "m1")


def test_keys_are_exchanged_where_chains_rewrite_them() -> None:
    """Rule 2: all of them first, and then what was seen since."""
    assert acts(leader(table=ONE, slave="s", reason=None), MET_SLAVE) == (), "no chain rewrites"
    state = leader(table=ONE, slave="s", reason=None, rewrites=True)
    state, first = peering.step(state, MET_SLAVE, 10)
    assert first == (talk.Exchange(None, None, 10),)
    state = said(state, talk.Exchanged(5000, 7000, 10), now=10.01)
    assert acts(state, MET_SLAVE, 10.4) == ()
    assert acts(state, MET_SLAVE, 10.5) == (talk.Exchange(4980, 6980, 10.5),)


def test_a_long_exchange_is_followed_by_a_long_pause() -> None:
    state = leader(table=ONE, slave="s", reason=None, rewrites=True)
    state = said(said(state, MET_SLAVE, now=10), talk.Exchanged(5000, 7000, 10), now=13)
    assert acts(state, MET_SLAVE, 13) != (), "not after the first, of all keys"
    state = said(said(state, MET_SLAVE, now=20), talk.Exchanged(5000, 7000, 20), now=22)
    assert acts(state, MET_SLAVE, 39.9) == ()
    assert acts(state, MET_SLAVE, 40) != ()


def test_who_may_have_lost_its_keys_gets_all_of_them() -> None:
    state = leader(table=ONE, slave="s", reason=None, rewrites=True)
    state = said(said(state, MET_SLAVE), talk.Exchanged(5000, 7000, 10.0))
    empty = talk.Seen("s2", 0, None)
    for lost in (said(state, empty), said(state, talk.Failed("cut"), empty)):
        again = said(lost, talk.Accepted("s2", ONE.epoch), talk.Adopted())
        again = said(again, talk.Exchanged(5000, 7000, 9.0))
        assert again.exchanged is None, "it was for the one before"
        met = talk.Seen("s2", again.table.epoch, "m1")
        assert acts(again, met, 10.2) == (talk.Exchange(None, None, 10.2),)


FUTURE = replace(ONE, epoch=5000)
CLASH = replace(ONE, pairs=(*ONE.pairs, replace(ONE.pairs[0], slot=1, tags=TagPair(8, 3))))
MET = following.greeted(FOLLOWER, hello(), PROTOCOL)
AWAITING = following.awaiting(following.awaiting(MET, "m1", "n0", 4), "m1", "n1", 5)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            lambda: following.greeted(FOLLOWER, hello(protocol=9), PROTOCOL),
            f"protocol 9, this slave speaks {PROTOCOL}",
        ),
        (lambda: following.greeted(FOLLOWER, hello(segment="b"), PROTOCOL), "for segment 'b', this load"),
        (
            lambda: following.greeted(FOLLOWER, hello(slave="s0"), PROTOCOL),
            "for slave process s0, this is s:",
        ),
        (lambda: following.greeted(MET, hello(table=ChainTable()), PROTOCOL), "epoch 0 is older than"),
        (lambda: following.greeted(MET, hello(master="m2"), PROTOCOL), "epoch 1 is another master's"),
        (lambda: following.greeted(MET, hello(table=FUTURE), PROTOCOL), "5000 is from the future"),
        (
            lambda: following.greeted(FOLLOWER, hello(ask_id=3), PROTOCOL),
            "VLAN ID 3 of tag pair .* the ask ID",
        ),
        (
            lambda: following.greeted(FOLLOWER, hello(table=CLASH), PROTOCOL),
            "VLAN ID 3 of tag pair .* in use",
        ),
        (lambda: following.told(FOLLOWER, "main", "m1", ONE, ASK), "no handshake yet"),
        (lambda: following.told(MET, "main", "m2", ONE, ASK), "m1 greeted last, not m2"),
        (lambda: following.check_master(FOLLOWER, "m1"), "no handshake yet"),
        (lambda: following.check_master(MET, "m2"), "m1 greeted last, not m2"),
        (lambda: following.awaiting(FOLLOWER, "m1", "n", 0), "no handshake yet"),
        (lambda: following.ordered(AWAITING, "m2", "n1", 5), "m1 greeted last, not m2"),
        (lambda: following.ordered(MET, "m1", "n1", 5), "order n1 came twice, or is older than the last"),
        (lambda: following.ordered(AWAITING, "m1", "n0", 5), "order n0 came twice, or is older than"),
        (lambda: following.ordered(AWAITING, "m1", "n1", 8), "n1 came after 3.0 s, given up by its master"),
        (lambda: following.told(MET, "b", "m1", ONE, ASK), "for segment 'b'"),
        (lambda: following.told(MET, "main", "m1", ChainTable(), ASK), "epoch 0 is older"),
        (lambda: following.told(MET, "main", "m1", FUTURE, ASK), "from the future"),
    ],
)
def test_what_a_slave_refuses(refused: Callable[[], object], reason: str) -> None:
    with pytest.raises(Conflict, match=reason):
        refused()


def test_an_order_counts_once() -> None:
    assert following.ordered(AWAITING, "m1", "n1", 5 + peering.PATIENCE) == replace(MET, at=5)


def test_a_greeting_ends_the_wait_for_an_order() -> None:
    assert following.greeted(AWAITING, hello(), PROTOCOL).nonce is None


def test_the_same_message_again_is_taken_again() -> None:
    assert following.greeted(MET, hello(), PROTOCOL) == MET
    assert following.told(MET, "main", "m1", ONE, ASK) == MET
