"""Wire models: unknown keys refused, the vocabulary's own words in the refusal, the network file."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from catenary.errors import InvalidValue
from catenary.session import Timeouts
from catenary.tags import TagPair
from catenary.wire import (
    ChainRequest,
    Change,
    NetworkConfig,
    OperationView,
    PairAdd,
    SweepOrder,
    Tags,
    TimeoutsModel,
    explain,
)

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


def refusal(model: type, body: str) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(body)  # type: ignore[attr-defined]
    return explain(caught.value.errors())


def sweep(limits: str) -> str:
    return f'{{"master_id": "m", "mode": "delete", {limits}}}'


@pytest.mark.parametrize(
    "model,body,text",
    [
        (Tags, '{"forward": 0, "reverse": 3}', "forward: VLAN ID 0 is out of range: use 1..4094"),
        (Tags, '{"forward": 2, "reverse": 2}', "tag pair (2, 2) uses one VLAN ID twice"),
        (ChainRequest, '{"nfs": ["n1"], "nane": "x"}', "nane: Extra inputs are not permitted (got 'x')"),
        (ChainRequest, '{"nfs": ["N 1"]}', "nfs.0: name 'N 1' is not valid"),
        (ChainRequest, '{"nfs": ["n1"], "weight": 1001}', "weight: "),
        (ChainRequest, "{}", "nfs: Field required"),
        (Change, '{"add": [{"forward": 2}]}', "add.0.reverse: Field required"),
        (TimeoutsModel, '{"lease": 0}', "timeout lease of 0"),
        (SweepOrder, sweep('"idle": Infinity'), "idle: "),
        (SweepOrder, sweep('"idle": -1'), "idle: "),
        (SweepOrder, sweep('"slot": 1024, "generation": 0'), "slot: "),
        (SweepOrder, sweep('"slot": 0, "generation": -1'), "generation: "),
        (SweepOrder, sweep('"slot": 1'), "slot and generation go together"),
        (SweepOrder, sweep('"generation": 1, "idle": 5'), "slot and generation go together"),
        (SweepOrder, sweep('"idle": 0'), "would end all sessions"),
    ],
)
def test_a_refusal_names_the_place_and_the_value(model: type, body: str, text: str) -> None:
    assert text in refusal(model, body)


def test_tags_and_pairs_convert_both_ways() -> None:
    assert Tags.of(TagPair(4, 5)).pair() == TagPair(4, 5)
    assert PairAdd(forward=4, reverse=5).weight == 100


def test_the_defaults_of_the_timeouts_are_declared_once_in_meaning() -> None:
    assert TimeoutsModel().timeouts() == Timeouts()


def test_messages_are_immutable() -> None:
    tags = Tags(forward=2, reverse=3)
    with pytest.raises(ValidationError):
        tags.forward = 4  # type: ignore[misc]


def test_an_operation_survives_the_wire() -> None:
    operation = OperationView(id="7", kind="add", chain="c", state="running", created=1.5)
    assert OperationView.model_validate_json(operation.model_dump_json()) == operation


def test_the_network_file_is_read() -> None:
    config = NetworkConfig.load(NETWORK)
    assert config.segments["main"].ask_id == 4094
    assert config.nfs["n1"].nf("n1").egress == "s3-eth2"


@pytest.mark.parametrize(
    "old,new,text",
    [
        ("switch: s3", "switch: s9", "NF 'n1' hangs on unknown switch 's9'"),
        ("slave: l2", "slave: l9", "segment 'main' names unknown load balancer 'l9'"),
        ("egress: s3-eth2", "egress: s3-eth1", "NF 'n1' has one port (s3-eth1)"),
        ("00:00:00:00:00:01", "00:00:00:00:00:0G", "hosts.h1.mac: "),
        ("segments:", "segments: [", "net.yaml is not YAML: "),
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
        NetworkConfig.load(NETWORK.replace(old, new), "net.yaml")
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
        NetworkConfig.load(file.replace("slave: l2}", "slave: l2, after: [f]}"))


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
        assert NetworkConfig.load(file).segments["main"].after == ["f"]
        return
    with pytest.raises(InvalidValue) as caught:
        NetworkConfig.load(file)
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
        NetworkConfig.load(with_pools(one, other))
    assert f"{shared} is in the pools of NF 'n1' and NF 'nat2'" in caught.value.detail


def test_pools_side_by_side_are_fine() -> None:
    config = NetworkConfig.load(with_pools('10.9.0.0/26, "fd00:9::/64"', "10.9.0.64/26"))
    assert [str(pool) for pool in config.nfs["nat2"].pool] == ["10.9.0.64/26"]
    assert NetworkConfig.model_validate(config.model_dump(mode="json")) == config
