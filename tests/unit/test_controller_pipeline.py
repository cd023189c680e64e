"""The pipeline: what it refuses, what it resolves to, and the difference between two states of a switch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.errors import InvalidValue
from controller.pipeline import (
    CONTROLLER,
    IN_PORT,
    UNTAGGED,
    Action,
    Flow,
    FlowMatch,
    Goto,
    Match,
    Output,
    PopTag,
    Punt,
    PushTag,
    Rule,
    describe,
    difference,
    resolve,
)


def rule(table: int, match: Match, *actions: Action, priority: int = 10) -> Rule:
    return Rule("s1", table, priority, match, actions, 7)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: rule(3, Match()), "table 3 is not declared"),
        (lambda: rule(1, Match(eth_dst="00:00:00:00:00:01")), "'chains' does not match on 'eth_dst'"),
        (lambda: rule(2, Match(vlan=2)), "'edge' does not match on 'vlan'"),
        (lambda: rule(0, Match(in_port="a"), Output("b")), "'classify' does not allow"),
        (lambda: rule(1, Match(in_port="a"), Punt()), "'chains' does not allow"),
        (lambda: rule(1, Match(in_port="a"), Goto(0)), "does not lead to table 0"),
        (lambda: rule(2, Match(in_port="a"), PopTag()), "'edge' does not allow"),
        (lambda: rule(0, Match(in_port="a"), Goto(0)), "does not lead to table 0"),
        (lambda: rule(1, Match(), Output("b"), priority=0), "priority 0 is the miss"),
        (lambda: rule(1, Match(in_port="a"), priority=0), "priority 0 is the miss"),
    ],
)
def test_a_rule_that_no_table_declares_is_refused(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        make()


def test_ports_become_numbers_and_the_own_port_the_reserved_one() -> None:
    ports = {"a": 4, "b": 9}
    there = rule(1, Match(in_port="a", vlan=2), PopTag(), Output("b"))
    assert resolve(there, ports) == Flow(1, 10, 7, FlowMatch(4, 2), (("pop", 0), ("output", 9)))
    back = rule(1, Match(in_port="a", vlan=UNTAGGED), PushTag(2), Output("a"))
    assert resolve(back, ports) == Flow(1, 10, 7, FlowMatch(4, 0), (("push", 2), ("output", IN_PORT)))
    punt = resolve(rule(0, Match(in_port="a"), Punt()), ports)
    assert punt is not None
    assert punt.actions == (("output", CONTROLLER),)
    assert resolve(there, {"a": 4}) is None


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (Output("p"), "output:p"),
        (PushTag(2), "push_vlan:2"),
        (PopTag(), "pop_vlan"),
        (Goto(1), "goto_table:1"),
        (Punt(), "output:controller"),
    ],
)
def test_actions_are_described(action: Action, text: str) -> None:
    assert describe(action) == text


flows = st.builds(
    Flow,
    table=st.integers(0, 2),
    priority=st.integers(0, 2),
    cookie=st.integers(0, 2),
    match=st.builds(FlowMatch, in_port=st.integers(1, 3)),
    actions=st.lists(st.tuples(st.just("output"), st.integers(1, 2)), max_size=1).map(tuple),
    foreign=st.sampled_from(["", "", "", "ip"]),
)


def key(flow: Flow) -> tuple[object, ...]:
    return flow.table, flow.priority, flow.match, flow.foreign


@given(st.lists(flows, unique_by=key), st.lists(flows, unique_by=key))
def test_the_difference_makes_one_state_of_the_other(wanted: list[Flow], present: list[Flow]) -> None:
    desired = [flow for flow in wanted if not flow.foreign]
    add, delete = difference(desired, present)
    switch = {key(flow): flow for flow in present}
    switch.update({key(flow): flow for flow in add})
    for flow in delete:
        assert switch.pop(key(flow)) == flow
    assert set(switch.values()) == set(desired)
    assert not set(add) & set(present)
    assert not set(delete) & set(desired)
