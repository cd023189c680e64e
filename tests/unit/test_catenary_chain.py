"""Chains and NFs: nouns that can't be made wrong."""

from __future__ import annotations

import pytest

from catenary.chain import Chain, NetworkFunction, TagMode, check_name, check_weight
from catenary.errors import InvalidValue
from catenary.tags import TagPair

PAIR = TagPair(2, 3)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a" * 41, "a/b", "a b", "ä"])
def test_a_name_that_does_not_fit_a_url_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        check_name(name, "chain")
    assert repr(name) in refusal.value.detail


@pytest.mark.parametrize("name", ["a", "n1", "chain-1", "a" * 40])
def test_a_plain_name_passes(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("weight", [-1, 1001])
def test_a_weight_out_of_range_is_refused(weight: int) -> None:
    with pytest.raises(InvalidValue, match=f"weight {weight} is out of range"):
        check_weight(weight)


def test_one_port_needs_the_tag_to_tell_directions_apart() -> None:
    with pytest.raises(InvalidValue, match=r"'n1' has one port .* tags: kept"):
        NetworkFunction("n1", "s3", "s3-eth1", "s3-eth1")
    assert NetworkFunction("n1", "s3", "s3-eth1", "s3-eth1", TagMode.KEPT).tags is TagMode.KEPT


def test_a_chain_has_each_nf_once() -> None:
    with pytest.raises(InvalidValue) as refusal:
        Chain("c", ("n1", "n2", "n1"), PAIR)
    assert refusal.value.detail == "chain 'c' names NF 'n1' twice"


def test_a_chain_without_nfs_is_a_bypass() -> None:
    assert Chain("c", (), PAIR).bypass
    assert not Chain("c", ("n1",), PAIR).bypass


def test_a_chain_is_a_value() -> None:
    assert Chain("c", ("n1",), PAIR) == Chain("c", ("n1",), TagPair(2, 3), 100)
