"""What is accepted, and what is chosen for a request that leaves it open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catenary.chain import Chain, ChainState, NetworkFunction, TagMode
from catenary.errors import Conflict, InvalidValue, NotFound
from catenary.tags import TagPair
from mgmt_system.admission import Network, Segment, Wanted, admit, dismiss
from mgmt_system.records import ChainRecord, Goal

NFS = {name: NetworkFunction(name, "s1", f"{name}-a", f"{name}-b") for name in ("n1", "n2", "n3")}
SHARED = NetworkFunction("shared", "s1", "c", "c", TagMode.KEPT)
NETWORK = Network(NFS | {"shared": SHARED}, {"main": Segment("main", ask_id=4094, rest=4.0)})
TWO = Network(NETWORK.nfs, {**NETWORK.segments, "other": Segment("other", ask_id=2, rest=4.0)})
NOW = 100.0


def chain(number: int, state: str = "active", goal: str = "present", *, nf: str = "") -> ChainRecord:
    """`chain-N` through nN with tags (2N, 2N+1), last changed one second ago."""
    tags = TagPair(2 * number, 2 * number + 1)
    noun = Chain(f"chain-{number}", (nf or f"n{number}",), tags)
    return ChainRecord(f"op-{number}", noun, "main", ChainState(state), Goal(goal), NOW - 9, NOW - 1)


def ask(*nfs: str, records: list[ChainRecord], network: Network = NETWORK, **options: object) -> ChainRecord:
    return admit(Wanted(nfs, **options), records, network, "op-new", NOW)  # type: ignore[arg-type]


def test_the_first_chain_gets_the_papers_first_tags() -> None:
    record = ask("n1", records=[])
    assert (record.name, record.chain.tags, record.segment) == ("chain-1", TagPair(2, 3), "main")
    assert (record.state, record.goal, record.operation) == (ChainState.REQUESTED, Goal.PRESENT, "op-new")


def test_tags_fill_gaps_and_names_go_on() -> None:
    record = ask("n1", records=[chain(2), chain(3, "failed", "failed")])
    assert (record.name, record.chain.tags) == ("chain-4", TagPair(2, 3))


def test_tags_of_a_removed_chain_rest_for_two_transit_times() -> None:
    removed = chain(1, "removed", "absent")
    assert ask("n1", records=[removed]).chain.tags == TagPair(4, 5)
    with pytest.raises(Conflict, match=r"VLAN ID 3 of tag pair \(3, 8\) .* rests for another 3\.0 s"):
        ask("n1", records=[removed], tags=TagPair(3, 8))
    rested = replace(removed, changed=NOW - 4)
    assert ask("n1", records=[rested]).chain.tags == TagPair(2, 3)


def test_ask_ids_of_all_segments_are_taken() -> None:
    assert ask("n1", records=[], network=TWO, segment="other").chain.tags == TagPair(3, 4)
    with pytest.raises(InvalidValue, match="several segments, name one: main, other"):
        ask("n1", records=[], network=TWO)


def test_an_nf_that_keeps_tags_serves_several_chains() -> None:
    assert ask("shared", records=[chain(1, nf="shared")]).name == "chain-2"
    with pytest.raises(Conflict, match="NF 'n1' is used by chain 'chain-1'"):
        ask("n1", records=[chain(1)])


@pytest.mark.parametrize("state, goal", [("removed", "absent"), ("failed", "failed")])
def test_what_is_gone_frees_name_and_nf(state: str, goal: str) -> None:
    assert ask("n1", records=[chain(1, state, goal)], name="chain-1").name == "chain-1"


def test_the_last_active_chain_of_its_segment_needs_force() -> None:
    cooling = chain(2, "active", "absent")
    with pytest.raises(Conflict, match="last active one"):
        dismiss("chain-1", [chain(1), cooling], "op-x", force=False)
    assert dismiss("chain-1", [chain(1), cooling], "op-x", force=True).goal is Goal.ABSENT
    assert dismiss("chain-1", [chain(1), chain(3)], "op-x", force=False).operation == "op-x"


@pytest.mark.parametrize("state", ["requested", "steered"])
def test_a_chain_that_carries_nothing_yet_needs_no_force(state: str) -> None:
    assert dismiss("chain-1", [chain(1, state)], "op-x", force=False).goal is Goal.ABSENT


def test_a_removed_chain_is_unknown() -> None:
    with pytest.raises(NotFound, match="unknown chain 'chain-1': there is no chain"):
        dismiss("chain-1", [chain(1, "removed", "absent")], "op-x", force=False)
