"""Plans as pure functions: what changes, what is refused, and that a plan of what is in force is empty."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from catenary.chain import ChainState
from catenary.config import ChainConfig, ServiceConfig
from catenary.document import told
from mgmt_system.admission import Deadline
from mgmt_system.costs import Costs
from mgmt_system.planning import Decision, Terms, decide, in_force
from mgmt_system.records import ChainRecord, Goal

FILE = """
switches: {s1: 1, s2: 2, s3: 3}
nfs:
  a1: {switch: s2, ingress: a1i, egress: a1e}
  a2: {switch: s2, ingress: a2i, egress: a2e}
  a3: {switch: s2, ingress: a3i, egress: a3e}
  b1: {switch: s3, ingress: b1i, egress: b1e}
  b2: {switch: s3, ingress: b2i, egress: b2e}
  both: {switch: s3, ingress: x, egress: x, tags: kept}
balancers:
  l1: {switch: s1, outer: o1, inner: i1, url: "http://127.0.0.1:1"}
  l2: {switch: s2, outer: o2, inner: i2, url: "http://127.0.0.1:2"}
  l3: {switch: s2, outer: o3, inner: i3, url: "http://127.0.0.1:3"}
  l4: {switch: s3, outer: o4, inner: i4, url: "http://127.0.0.1:4"}
segments:
  first: {master: l1, slave: l2}
  second: {master: l3, slave: l4, ask_id: 4093}
"""
BASE = ServiceConfig.load(FILE)
NFS = {"first": ["a1", "a2", "a3"], "second": ["b1", "b2"]}
_numbers = count(1)


def with_chains(**chains: ChainConfig) -> ServiceConfig:
    return ServiceConfig.model_validate(
        BASE.model_dump() | {"chains": {name: chain.model_dump() for name, chain in chains.items()}}
    )


def chain(segment: str, *nfs: str, **rest: object) -> ChainConfig:
    return ChainConfig(segment=segment, nfs=list(nfs), **rest)  # type: ignore[arg-type]


def terms(force: bool = True, deadline: Deadline | None = None) -> Terms:
    return Terms(f"op-{next(_numbers)}", 1000.0, force, deadline)


def applied(records: list[ChainRecord], decision: Decision) -> list[ChainRecord]:
    """The records once all of a decision is done, as the engine does it, and long rested."""
    assert not decision.faults
    after = {record.id: record for record in records} | {record.id: record for record in decision.records}
    ends = {Goal.PRESENT: ChainState.ACTIVE, Goal.ABSENT: ChainState.REMOVED}
    return [
        replace(record, state=ends[record.goal], operation=None, changed=0.0) for record in after.values()
    ]


def running(config: ServiceConfig) -> list[ChainRecord]:
    return applied([], decide(BASE, config, [], terms()))


def faults(decision: Decision) -> list[str]:
    return [told(fault) for fault in decision.faults]


@st.composite
def files(draw: st.DrawFn) -> ServiceConfig:
    """Documents on one network: chains of either segment, each with NFs of its own and one that all share."""
    chains = {}
    for segment, nfs in NFS.items():
        for nf in draw(st.lists(st.sampled_from(nfs), unique=True)):
            shared = ["both"] if draw(st.booleans()) else []
            # One name stands for one list of NFs: a chain keeps its own for life.
            chains[f"{nf}{'-shared' if shared else ''}"] = chain(
                segment, nf, *shared, weight=draw(st.integers(0, 1000)), cordoned=draw(st.booleans())
            )
    return with_chains(**chains)


@settings(max_examples=60, deadline=None)
@given(files())
def test_a_plan_of_what_was_applied_is_empty(config: ServiceConfig) -> None:
    records = running(config)
    for again in (config, in_force(BASE, records)):
        assert decide(config, again, records, terms()) == Decision()


@settings(max_examples=60, deadline=None)
@given(files(), files())
def test_applying_one_after_another_gives_the_other(one: ServiceConfig, other: ServiceConfig) -> None:
    records = running(one)
    decision = decide(one, other, records, terms())
    if decision.faults:  # an NF that a chain which goes still has
        assert all("is used by chain" in text for text in faults(decision))
        without = other.model_copy(update={"chains": {}})
        records = applied(records, decide(one, without, records, terms()))
        decision = decide(one, other, records, terms())
    after = in_force(BASE, applied(records, decision))
    wanted = {
        name: entry.model_copy(update={"tags": after.chains[name].tags})
        for name, entry in other.chains.items()
    }
    assert dict(after.chains) == wanted
    assert len({vid for entry in after.chains.values() if entry.tags for vid in entry.tags.pair().ids}) == (
        2 * len(wanted)
    )


TWO = with_chains(x=chain("first", "a1"), y=chain("first", "a2"), z=chain("second", "b1"))


def test_adds_removals_and_weights_are_told_apart() -> None:
    after = with_chains(
        y=chain("first", "a2", weight=50), z=chain("second", "b1", cordoned=True), n=chain("second", "b2")
    )
    decision = decide(TWO, after, running(TWO), terms())
    told = [(change.verb, change.name, change.before, change.after) for change in decision.changes]
    assert told[0][:2] == ("remove", "x")
    assert told[1:3] == [
        ("change", "y", {"weight": 100}, {"weight": 50}),
        ("change", "z", {"cordoned": False}, {"cordoned": True}),
    ]
    assert told[3][:2] == ("add", "n")
    goals = {record.name: (record.goal, record.chain.weight) for record in decision.records}
    assert goals == {
        "x": (Goal.ABSENT, 100),
        "y": (Goal.PRESENT, 50),
        "z": (Goal.PRESENT, 0),
        "n": (Goal.PRESENT, 100),
    }
    assert len({record.operation for record in decision.records}) == 1


def test_a_removal_takes_the_deadline() -> None:
    decision = decide(TWO, BASE, running(TWO), terms(deadline=Deadline(1000.0, 60.0, "reset")))
    assert {(record.grace, record.then) for record in decision.records} == {(60.0, "reset")}


def test_a_chain_that_cools_down_is_taken_back_by_its_entry() -> None:
    records = [replace(r, goal=Goal.ABSENT, state=ChainState.COOLING) for r in running(TWO)]
    decision = decide(TWO, TWO, records, terms())
    assert [(change.verb, change.name) for change in decision.changes] == [
        ("take back", "x"),
        ("take back", "y"),
        ("take back", "z"),
    ]
    assert all(record.goal is Goal.PRESENT for record in decision.records)


def changed(old: str, new: str) -> ServiceConfig:
    assert old in FILE
    config = ServiceConfig.load(FILE.replace(old, new))
    return config.model_copy(update={"chains": TWO.chains})


def test_what_no_chain_uses_comes_changes_and_goes() -> None:
    after = changed("  b2: {switch: s3, ingress: b2i", "  b3: {switch: s3, ingress: b2i")
    decision = decide(TWO, after, running(TWO), terms())
    assert not decision.faults
    assert [(change.kind, change.name, change.verb) for change in decision.changes] == [
        ("nf", "b2", "remove"),
        ("nf", "b3", "add"),
    ]
    assert decision.network


def test_what_is_refused_is_told_as_a_change_too() -> None:
    decision = decide(TWO, changed("inner: i4,", "inner: i9,"), running(TWO), terms())
    assert faults(decision)[0].startswith(
        "balancers.l4.inner: can't be changed while it is in use by chain 'z'"
    )
    assert [(change.name, change.before, change.after) for change in decision.changes] == [
        ("l4", {"inner": "i4"}, {"inner": "i9"})
    ]


def test_a_chain_that_rewrites_leaves_no_session_to_others() -> None:
    before = changed("ask_id: 4093}", "ask_id: 4093, rewrites: true}")
    after = before.model_copy(update={"chains": {}})
    for then, refused in (("rebalance", True), ("reset", False)):
        end = Deadline(1000.0, 60.0, then)  # type: ignore[arg-type]
        told = faults(decide(before, after, running(before), terms(deadline=end)))
        assert [text.startswith("chains.z: it is in segment 'second'") for text in told] == [True] * refused


def test_a_plan_without_a_live_segment_is_refused_and_has_its_cost() -> None:
    body = TWO.model_dump()
    del body["segments"]["second"], body["chains"]["z"]
    decision = decide(TWO, ServiceConfig.model_validate(body), running(TWO), terms())
    assert faults(decision)[0].startswith("balancers.l3") or "second" in faults(decision)[0]
    costs = Costs({"z": None}, {}).segments(running(TWO), decision.records)
    assert [segment.segment for segment in costs] == ["second"]
