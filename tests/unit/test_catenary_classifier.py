"""From what operators write to the rules of load balancers, there and back."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.classifier import Rule
from catenary.config import TrafficConfig
from catenary.errors import CatenaryError, InvalidValue
from catenary.wire import TrafficRule
from lb_adapter import abi
from lb_adapter.dataplane import rules

PREFIXES = st.none() | st.sampled_from(
    [
        ip_network(text)
        for text in ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.7/32", "::/0", "fd00::/16", "fd00::1/128")
    ]
)


@st.composite
def made(draw: st.DrawFn) -> Rule | None:
    """A rule, or None where the parts don't go together."""
    protocol = draw(st.sampled_from((None, 1, 6, 17, 58, 132)))
    ports = draw(st.sampled_from((None, (80, 80), (8000, 8099), (1, 65535))))
    vlan = draw(st.sampled_from((None, 1, 4094)))
    try:
        return Rule(draw(st.integers(0, 63)), draw(PREFIXES), draw(PREFIXES), protocol, ports, vlan)
    except CatenaryError:
        return None


@given(st.lists(made(), max_size=64))
def test_rules_come_back_from_the_data_plane_and_from_the_wire(drawn: list[Rule | None]) -> None:
    wanted = tuple(rule for rule in drawn if rule)
    raw = bytearray(abi.ffi.sizeof("struct place_table"))
    item = abi.ffi.from_buffer("struct place_table *", raw)
    rules.write(item, wanted, 7)
    assert (rules.read(item), item.bypass) == (wanted, 7)
    for rule in wanted:
        assert TrafficRule.model_validate_json(TrafficRule.of(rule).model_dump_json()).rule() == rule


def test_each_combination_that_can_be_is_a_rule() -> None:
    web = TrafficConfig(
        client=["10.0.0.0/8", "fd00::/16"], server=["10.1.0.0/16"], protocol="tcp", ports=["80", "8000-8099"]
    )
    ten, one = ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")
    assert web.rules(3) == [Rule(3, ten, one, 6, (80, 80)), Rule(3, ten, one, 6, (8000, 8099))]
    assert [rule.protocol for rule in TrafficConfig(protocol="icmp").rules(0)] == [1, 58]
    assert [rule.protocol for rule in TrafficConfig(protocol="icmp", server=["fd00::/64"]).rules(0)] == [58]
    assert TrafficConfig(vlan=5).rules(0) == [Rule(0, vlan=5)]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"entry": 64}, "entry 64 of a classifier is out of range: use 0..63"),
        ({"protocol": 0}, "IP protocol 0 is out of range: use 1..255"),
        ({"vlan": 4095}, "VLAN ID 4095 is out of range"),
        ({"ports": (80, 80)}, "only TCP, UDP and SCTP have ports"),
        ({"ports": (80, 80), "protocol": 1}, "only TCP, UDP and SCTP have ports"),
        ({"ports": (81, 80), "protocol": 6}, "ports 81-80 are no range"),
        ({"ports": (0, 80), "protocol": 6}, "ports 0-80 are no range"),
        ({"client": ip_network("10.0.0.0/8"), "server": ip_network("fd00::/16")}, "never meet"),
    ],
)
def test_what_no_rule_can_be(fields: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        Rule(**{"entry": 0, **fields})  # type: ignore[arg-type]
