"""The file that operators write: what it says, and what is refused."""

from __future__ import annotations

import re

import pytest

from catenary.config import ServiceConfig
from catenary.errors import InvalidValue

NETWORK = """
switches: {s1: 1, s2: 2, s3: 3}
hosts:
  h1: {switch: s1, port: s1-eth1, mac: "00:00:00:00:00:01"}
nfs:
  n1: {switch: s3, ingress: s3-eth1, egress: s3-eth2}
balancers:
  l1: {switch: s1, outer: s1-outer, inner: s1-inner, url: "https://10.255.0.11:8082"}
  l2: {switch: s2, outer: s2-outer, inner: s2-inner, url: "https://10.255.0.12:8082"}
segments:
  main: {master: l1, slave: l2}
"""


def test_the_network_file_is_read() -> None:
    config = ServiceConfig.load(NETWORK)
    assert config.segments["main"].ask_id == 4094
    assert config.nfs["n1"].nf("n1").egress == "s3-eth2"


@pytest.mark.parametrize(
    "old,new,text",
    [
        ("switch: s3", "switch: s9", "NF 'n1' hangs on unknown switch 's9'"),
        ("slave: l2", "slave: l9", "segment 'main' names unknown load balancer 'l9'"),
        ("egress: s3-eth2", "egress: s3-eth1", "NF 'n1' has one port (s3-eth1)"),
        ("00:00:00:00:00:01", "00:00:00:00:00:0G", "hosts.h1.mac: "),
        ("segments:", "segments: [", "net.yaml:12: this is not YAML: "),
        ("slave: l2", "slave: l1", "segment 'main' has 'l1' as master and as slave"),
        ("slave: l2", "slave: l2, before: [n9]", "segment 'main' names unknown NF 'n9'"),
        (
            "slave: l2",
            "slave: l2, after: [n1]",
            "fixed NF 'n1' of segment 'main' hangs on switch 's3': attach it to that of its load balancer",
        ),
    ],
)
def test_a_fault_in_the_network_file_is_named(old: str, new: str, text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        ServiceConfig.load(NETWORK.replace(old, new), "net.yaml")
    assert text in caught.value.detail
    assert caught.value.detail.startswith("net.yaml")


FOUR = NETWORK.replace(
    "segments:",
    """  l3: {switch: s2, outer: l3-outer, inner: l3-inner, url: "https://10.255.0.13:8082"}
  l4: {switch: s3, outer: l4-outer, inner: l4-inner, url: "https://10.255.0.14:8082"}
segments:""",
).replace("nfs:", "nfs:\n  f: {switch: s2, ingress: f-in, egress: f-out}")


def test_a_fixed_nf_needs_two_ports() -> None:
    file = FOUR.replace("ingress: f-in, egress: f-out", "ingress: f-in, egress: f-in, tags: kept")
    with pytest.raises(InvalidValue, match="fixed NF 'f' of segment 'main' has one port: it needs two"):
        ServiceConfig.load(file.replace("slave: l2}", "slave: l2, after: [f]}"))


@pytest.mark.parametrize(
    "main,other,text",
    [
        ("", "", "ask ID 4094 is used by segment 'main' and by segment 'other': give each its own"),
        ("", ", ask_id: 4094", "ask ID 4094 is used by segment 'main' and by segment 'other'"),
        (
            ", ask_id: 9",
            ", master: l2",
            "load balancer 'l2' is used by segment 'main' and by segment 'other'",
        ),
        (
            ", ask_id: 9, after: [f]",
            ", before: [f]",
            "fixed NF 'f' is used by segment 'main' and by segment 'other'",
        ),
        (", ask_id: 9, after: [f]", "", None),
    ],
)
def test_what_two_segments_both_claim_is_named_with_both(main: str, other: str, text: str | None) -> None:
    second = "master: l2, slave: l4" if "master" in other else "master: l3, slave: l4" + other
    file = FOUR.replace("slave: l2}", f"slave: l2{main}}}\n  other: {{{second}}}")
    if text is None:
        assert ServiceConfig.load(file).segments["main"].after == ["f"]
        return
    with pytest.raises(InvalidValue) as caught:
        ServiceConfig.load(file)
    assert text in caught.value.detail


def with_pools(one: str, other: str) -> str:
    """The network file with two NFs that translate to these addresses."""
    row = "  {}: {{switch: s3, ingress: s3-eth{}, egress: s3-eth{}, pool: [{}]}}\n"
    rows = row.format("n1", 1, 2, one) + row.format("nat2", 3, 4, other)
    return re.sub(r"(?<=nfs:\n)( .*\n)+", rows, NETWORK)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("10.9.0.0/24", "10.9.0.64/26", "10.9.0.64/26"),
        ("10.8.0.1, 10.9.0.7", "10.9.0.0/16", "10.9.0.7/32"),
        ('"fd00:9::/64"', '"fd00:9::/48"', "fd00:9::/64"),
    ],
)
def test_pools_that_overlap_are_refused_by_name(one: str, other: str, shared: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        ServiceConfig.load(with_pools(one, other))
    assert f"{shared} is in the pools of NF 'n1' and NF 'nat2'" in caught.value.detail


def test_pools_side_by_side_are_fine() -> None:
    config = ServiceConfig.load(with_pools('10.9.0.0/26, "fd00:9::/64"', "10.9.0.64/26"))
    assert [str(pool) for pool in config.nfs["nat2"].pool] == ["10.9.0.64/26"]
    assert ServiceConfig.model_validate(config.model_dump(mode="json")) == config
