"""A network of one's own that can't be built is refused before anything is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from catenary.config import SegmentConfig
from catenary.errors import InvalidValue
from topologies.blueprint import Blueprint
from topologies.chained import CHAINED
from topologies.spare import SPARE
from topologies.testbed import FIG4
from topologies.topo import BlueprintTopo
from topologies.wide import wide

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"nfs": {"n1": "s9"}}, "'n1' is on 's9', which is no switch here"),
    ({"hosts": {"h1": ("s9", 1)}}, "'h1' is on 's9', which is no switch here"),
    ({"trunks": (("s1", "s9"),)}, "a trunk ends at 's9', which is no switch here"),
    ({"nfs": {"h1": "s3"}}, "two nodes are called 'h1'"),
    (
        {"nfs": {"watchman-1": "s3"}},
        "'watchman-1' is too long for the names of its interfaces: use 9 characters",
    ),
    ({"hosts": {"h1": ("s1", 251)}}, "host 'h1' has number 251: use one of its own, from 1 to 250"),
    ({"hosts": {"h1": ("s1", 0)}}, "host 'h1' has number 0: use one of its own, from 1 to 250"),
    (
        {
            "balancers": {"left": "s1", "l2": "s2"},
            "segments": {"main": SegmentConfig(master="left", slave="l2")},
        },
        "load balancer 'left': use l1 to l199",
    ),
    ({"balancers": {"l1": "s1"}}, "load balancer 'l2' is not both on a switch and in a segment"),
    (
        {"balancers": {"l1": "s1", "l2": "s2", "l3": "s2"}},
        "load balancer 'l3' is not both on a switch and in a segment",
    ),
]


@pytest.mark.parametrize("change, answer", WRONG)
def test_what_cannot_be_built_is_named(change: dict[str, Any], answer: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        BlueprintTopo(replace(FIG4, **change), "user")
    assert refused.value.detail == f"this network can't be built: {answer}"


def test_two_hosts_with_one_number_are_both_named() -> None:
    with pytest.raises(InvalidValue, match=r"host 'h1' has number 1: .*; host 'h2' has number 1: "):
        replace(FIG4, hosts={"h1": ("s1", 1), "h2": ("s1", 1)}).check()


@pytest.mark.parametrize("blueprint", [FIG4, CHAINED, SPARE, wide(300)])
def test_the_networks_that_there_are_can_be_built(blueprint: Blueprint) -> None:
    topo = BlueprintTopo(blueprint, "user")
    assert set(topo.switches()) == set(blueprint.switches)
    assert set(topo.hosts()) == {*blueprint.hosts, *blueprint.nfs, *blueprint.balancers}
