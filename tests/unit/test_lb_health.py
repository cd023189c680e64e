"""When a chain is down, and when it is up again."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from catenary.chain import Condition, PairState
from catenary.errors import InvalidValue
from catenary.health import HealthCheck
from catenary.tags import TagPair
from lb_adapter import balancer, health, probing
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.dataplane.base import Probed
from lb_adapter.health import Health, Probing

CHECK = HealthCheck(interval=0.5, timeout=0.2, rise=2, fall=3)
QUIET = 4.0
ENDS = {"client": IPv4Address("10.9.0.1"), "server": IPv4Address("10.9.0.2")}


def after(fates: str, start: Health = Health(), now: float = 0.0, step: float = 0.5) -> Health:
    """The chain after probes that came back (`+`) or were lost (`-`), one a step."""
    for fate in fates:
        now += step
        start = (
            health.came_back(start, CHECK, 0.001, now, QUIET)
            if fate == "+"
            else health.was_lost(start, CHECK, now)
        )
    return start


@pytest.mark.parametrize(
    ("fates", "verdict"),
    [
        ("", "unknown"),
        ("+", "up"),
        ("+--", "up"),
        ("+--+--+--", "up"),
        ("+---", "down"),
        ("--", "unknown"),
        ("---", "unproven"),
        ("-------+", "up"),
        ("+---+", "down"),
        ("+---" + "+" * 7, "down"),
        ("+---" + "+" * 9, "up"),
        ("+---" + "+-" * 20, "down"),
    ],
)
def test_verdicts(fates: str, verdict: str) -> None:
    """Of one down `rise` are not enough before what was in it is gone."""
    assert after(fates).verdict == verdict


def test_what_must_speak_against_a_verdict_and_the_last_answer_are_known() -> None:
    fell = after("+---")
    assert (fell.latency, fell.answered) == (None, 0.001)
    again = after("+" * 9 + "---+", fell, now=2.0)
    wanted = {"unknown": 3, "up": 3, "unproven": 1, "down": 2}
    for fates, verdict in (("", "unknown"), ("+", "up"), ("---", "unproven"), ("+---", "down")):
        assert health.turns_after(after(fates), CHECK, 2.0) == wanted[verdict]
    assert (again.verdict, again.row, health.turns_after(again, CHECK, 9.0)) == ("down", 1, 4), "it flaps"


def test_what_flaps_must_prove_more_each_time() -> None:
    chain, now, proofs = after("+"), 0.5, []
    for _ in range(4):
        chain, now = after("---", chain, now), now + 1.5
        assert chain.verdict == "down"
        proofs.append(health.needed(chain, CHECK, now))
        while chain.verdict == "down":
            chain, now = after("+", chain, now), now + 0.5
    assert proofs == [2, 4, 8, 16]
    assert health.needed(after("---", chain, now + 100), CHECK, now + 101.5) == 2, "all is forgotten"


@given(
    st.floats(0.1, 60),
    st.floats(0.001, 60),
    st.integers(1, 20),
    st.floats(0, 1),
)
def test_a_verdict_takes_fall_intervals_at_most(
    interval: float, timeout: float, fall: int, dies: float
) -> None:
    """And 0.1 s: a chain that dies at any moment after a probe came back."""
    try:
        check = HealthCheck(interval=interval, timeout=timeout, fall=fall)
    except InvalidValue:
        return
    death, now, number = dies * interval, 0.0, 0
    chain = Probing(Health("up"))
    while chain.health.verdict == "up":
        now = max(now, chain.due)
        if chain.number is not None:
            seen = Probed(chain.number, chain.sent_ns) if chain.sent_ns / 1e9 <= death else None
            chain = health.judged(chain, check, seen, now, QUIET)
        elif chain.health.verdict == "up":
            number += 1
            chain = health.sent(chain, check, number, round(now * 1e9))
    assert now - death <= fall * interval + 0.1 + 1e-6


def test_when_it_came_counts_and_not_when_it_is_looked_at() -> None:
    chain = health.sent(Probing(Health("up")), CHECK, 7, 1_000_000_000)
    in_time, late, old = Probed(7, 1_190_000_000), Probed(7, 1_210_000_000), Probed(6, 1_010_000_000)
    held_up = health.judged(chain, CHECK, in_time, 90.0, QUIET)
    assert held_up.health.latency == pytest.approx(0.19)
    for seen in (late, old, None):
        assert health.judged(chain, CHECK, seen, 1.3, QUIET).health.lost == 1


def table(*down: TagPair, on_dead: str = "keep") -> ChainTable:
    check = replace(CHECK, on_dead=on_dead)
    pairs = tuple(Pair(tags, n, 1, 100, 100, PairState.ACTIVE, 0.0) for n, tags in enumerate((ONE, TWO)))
    return balancer.judged(ChainTable(5, pairs, {0: 1, 1: 1}, check=check), down, 9.0)


ONE, TWO, BYPASS = TagPair(2, 3), TagPair(4, 5), TagPair(6, 7)


def test_what_is_down_takes_no_session() -> None:
    one = table(ONE)
    assert (one.epoch, list(one.placement()), one.designated) == (6, [1], 1)
    assert one.pairs[0].condition is Condition.DOWN
    assert balancer.judged(one, [ONE], 10.0) == one, "once"
    again = balancer.judged(one, [], 11.0)
    assert (list(again.placement()), again.epoch) == ([0, 1], 7)


@pytest.mark.parametrize("on_dead", ["rebalance", "reset"])
def test_what_shall_be_ended_is_shut_if_there_is_another_chain(on_dead: str) -> None:
    assert table(ONE, on_dead=on_dead).pairs[0].condition is Condition.SHUT
    both = table(ONE, TWO, on_dead=on_dead)
    assert {pair.condition for pair in both.pairs} == {Condition.DOWN}, "they stay: there is nowhere to go"
    assert not both.placement()
    one = table(ONE, on_dead=on_dead)
    assert balancer.judged(one, [ONE, TWO], 10.0).pairs[0].condition is Condition.SHUT
    assert balancer.checked_by(one, None).pairs[0].condition is not Condition.SHUT


def opening(*down: TagPair, on_dead: str = "keep") -> ChainTable:
    """The same with a bypass, where the segment fails open."""
    one = table(on_dead=on_dead)
    assert one.check is not None
    bypass = Pair(BYPASS, 2, 1, 0, 0, PairState.ACTIVE, 0.0, bypass=True)
    check = replace(one.check, when_none="fail-open")
    return balancer.judged(replace(one, pairs=(*one.pairs, bypass), check=check), down, 9.0)


def test_what_fails_open_passes_by_only_while_no_chain_is_left() -> None:
    one, none = opening(ONE), opening(ONE, TWO)
    assert (list(one.placement()), one.open) == ([1], False)
    assert (list(none.placement()), none.designated, none.open) == ([2], 2, True)
    assert balancer.judged(none, [ONE, TWO], 10.0) == none, "once"
    again = balancer.judged(none, [ONE], 11.0)
    assert (list(again.placement()), again.designated, again.open) == ([1], 1, False)


def test_a_chain_that_is_added_takes_sessions_at_once_where_the_segment_is_open() -> None:
    added = balancer.change(opening(ONE, TWO), add=[(TagPair(8, 9), 100)], ask_id=10, now=10.0, transit=0.1)
    assert list(added.placement()) == [3]


def test_cordoned_chains_are_no_way_out() -> None:
    one = replace(
        opening(),
        pairs=tuple(replace(p, weight=0, placed=0) if p.tags == TWO else p for p in opening().pairs),
    )
    assert not balancer.judged(one, [], 9.0).open
    assert list(balancer.judged(one, [ONE], 9.0).placement()) == [2]


@pytest.mark.parametrize("on_dead", ["rebalance", "reset"])
def test_where_it_fails_open_the_last_chain_is_shut_too(on_dead: str) -> None:
    conditions = [pair.condition for pair in opening(ONE, TWO, on_dead=on_dead).pairs]
    assert conditions == [Condition.SHUT, Condition.SHUT, Condition.UP]


def test_without_a_check_nothing_is_open() -> None:
    assert not balancer.checked_by(opening(ONE, TWO), None).open


@pytest.mark.parametrize("kind", ["raw", "icmp", "udp", "tcp"])
def test_probes_are_what_scapy_would_make(kind: str) -> None:
    check = HealthCheck(kind, **({} if kind == "raw" else ENDS))  # type: ignore[arg-type]
    raw = probing.frame(check, ONE, 0x1234)
    frame = Ether(raw)
    assert (len(raw), frame[Dot1Q].vlan, raw[46:48]) == (58, 2, raw[46:48] if kind == "tcp" else b"\x12\x34")
    if kind == "raw":
        assert frame[Dot1Q].type == 0x88B5
        return
    again = frame.copy()
    layer = {"icmp": ICMP, "udp": UDP, "tcp": TCP}[kind]
    del again[IP].chksum, again[layer].chksum
    assert bytes(again) == raw
    assert (frame[IP].src, frame[IP].dst) == ("10.9.0.1", "10.9.0.2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"interval": 0.001}, "interval of 0.001 s is out of bounds: use 0.02..60 s"),
        ({"interval": 0.1, "timeout": 0.2}, "timeout of 0.2 s does not go with an interval of 0.1 s"),
        ({"interval": 1.0, "timeout": 0.9}, "use 0.7 s at most, or a greater fall"),
        ({"fall": 0}, "fall of 0 is out of bounds: use 1..20 probes"),
        ({"rise": 21}, "rise of 21 is out of bounds: use 1..20 probes"),
        ({"port": 0}, "port 0 is out of range: use 1..65535"),
        ({"kind": "udp"}, "udp probes need addresses that nobody else uses: give client and server"),
        (ENDS, "raw probes have no addresses: leave client and server out"),
        ({"kind": "icmp", "client": ENDS["client"], "server": ENDS["client"]}, "are both 10.9.0.1"),
    ],
)
def test_bad_checks_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message.replace(".", r"\.")):
        HealthCheck(**given)  # type: ignore[arg-type]
