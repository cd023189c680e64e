"""The counter-example: the shortest, itself a violation, minimal, with events and pins around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.witness_runs import SERVER, Run, client
from witness.checker import example, judge
from witness.events import Event, Pin
from witness.example import MOST, NEAR, around, crossing, explained, window

THREE = {"chain-1": ("n1",), "chain-2": ("n2",), "chain-3": ("n3",)}
# Chains that share NFs: no two of x, y and z are in no chain, all three are.
SHARED = {"a": ("x", "y"), "b": ("y", "z"), "c": ("z", "x")}


@st.composite
def walks(draw: st.DrawFn) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """NFs at which packets were seen, "" elsewhere, and chains of them, which may share some."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 6)))]
    some = st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True).map(tuple)
    chains = draw(st.lists(some, min_size=1, max_size=3))
    seen = draw(st.lists(st.sampled_from(["", *names]), min_size=4, max_size=30))
    return seen, {f"chain-{number}": nfs for number, nfs in enumerate(chains)}


@given(walks())
def test_it_is_a_violation_and_none_without_any_of_its_packets(
    case: tuple[list[str], dict[str, tuple[str, ...]]],
) -> None:
    seen, chains = case
    matter = crossing(seen, chains)
    assert bool(matter) == (not explained({nf for nf in seen if nf}, chains))
    nfs = [seen[at] for at in matter]
    assert not matter or not explained(nfs, chains)
    assert all(explained([*nfs[:at], *nfs[at + 1 :]], chains) for at in range(len(nfs)))
    assert all(a < b for a, b in pairwise(matter))


@pytest.mark.parametrize(
    ("seen", "chains", "matter"),
    [
        (["n1", "n1", "n2", "n2"], THREE, (1, 2)),
        (["n1", "", "n1", "", "", "n3", "n2"], THREE, (2, 5)),
        (["n1", "n9", "n2"], THREE, (1,)),
        (["a1", "b1", "a2", "b2"], {"a": ("a1", "b1"), "b": ("a2", "b2")}, (1, 2)),
        (["x", "y", "x", "z"], SHARED, (1, 2, 3)),
        (["x", "y", "x", "y"], SHARED, ()),
        (["", ""], THREE, ()),
    ],
    ids=[
        "last and first",
        "the first crossing",
        "of no chain",
        "the nearest",
        "only three tell",
        "shared",
        "nowhere",
    ],
)
def test_the_last_in_one_chain_and_the_first_in_another(
    seen: list[str], chains: Mapping[str, tuple[str, ...]], matter: tuple[int, ...]
) -> None:
    assert crossing(seen, chains) == matter


def test_packets_around_are_told_and_the_rest_is_not() -> None:
    assert window(100, (50, 51)) == tuple(range(50 - NEAR, 52 + NEAR))
    assert window(3, (0, 2)) == (0, 1, 2)
    assert window(100, (10, 90)) == (*range(10 - NEAR, 11 + NEAR), *range(90 - NEAR, 91 + NEAR))
    assert window(100, ()) == tuple(range(4 * NEAR))


def test_events_around_are_told() -> None:
    events = [Event(time, "change", str(time)) for time in range(0, 1000, 10)]
    assert [event.time_ns for event in around(events, 95, 125)] == [70, 80, 90, 100, 110, 120, 130, 140, 150]
    assert [event.time_ns for event in around(events, 91, 92)] == [70, 80, 90, 100, 110, 120]
    assert len(around(events, 0, 1000)) == MOST
    assert around([], 1, 2) == ()


def broken(run: Run) -> int:
    """A session whose reverse packets cross another chain, between two changes."""
    run.tell("change", "chain-2 added")
    session = run.begin(client(5000))
    run.cross(session, client(5000), "chain-1", forward=True, flags=0x02)
    run.tell("fault", "l2 killed")
    run.cross(session, SERVER, "chain-2", forward=False, flags=0x12)
    run.tell("epoch", "7")
    return session


@pytest.mark.parametrize("singly", [False, True], ids=["taps", "pcaps"])
def test_the_whole_story(singly: bool) -> None:
    run = Run(THREE, singly=singly)
    run.talk("chain-3", client(4000))
    long = run.talk("chain-1", client(4001), sizes=(0, 300, 300, 300))
    run.cross(long, SERVER, "chain-2", forward=False)
    broken(run)
    key = "10.0.0.1:5000 <-> 10.0.0.2:80/tcp"
    pins = (
        Pin(run.now - 5500, "l1", key, "chain-1", 6, "placed"),
        Pin(run.now - 5500, "l1", "another", "chain-1", 6, "placed"),
    )
    recording = replace(run.recording(), pins=pins)
    verdict = judge(recording)
    assert verdict.headline == "3 sessions, 1 changes, 1 faults, 2 violations"
    assert verdict.example is not None
    assert verdict.example.session == key
    bare = "SYN, 0 bytes"
    assert [(line.matters, line.what, line.text) for line in verdict.example.lines] == [
        (False, "event", "change: chain-2 added"),
        (False, "packet", f"client to server, into l1.outer, {bare}"),
        (False, "packet", f"client to server, into n1.ingress, {bare}  [chain-1]"),
        (True, "packet", f"client to server, out of n1.egress, {bare}  [chain-1]"),
        (False, "packet", f"client to server, out of l2.outer, {bare}"),
        (False, "pin", "l1 holds chain-1, placed in epoch 6"),
        (False, "event", "fault: l2 killed"),
        (False, "packet", "server to client, into l2.outer, SYN ACK, 0 bytes"),
        (True, "packet", "server to client, into n2.egress, SYN ACK, 0 bytes  [chain-2]"),
        (False, "packet", "server to client, out of n2.ingress, SYN ACK, 0 bytes  [chain-2]"),
        (False, "packet", "server to client, out of l1.outer, SYN ACK, 0 bytes"),
        (False, "event", "epoch: 7"),
    ]
    assert example(recording, verdict.violations[0]) == verdict.example
    assert example(run.recording(), verdict.violations[1]).session == "10.0.0.1:4001 <-> 10.0.0.2:80/tcp"
    told = list(verdict.example.told())
    assert told[0].startswith(
        f"{key}: client to server at n1 (chain-1); 0.004 ms later server to client at n2"
    )
    assert (
        told[4] == "*        +0.000 ms  packet  client to server, out of n1.egress, SYN, 0 bytes  [chain-1]"
    )
    assert (
        told[9] == "*        +0.004 ms  packet  server to client, into n2.egress, SYN ACK, 0 bytes  [chain-2]"
    )


def test_of_a_record_of_many_packets_the_first_and_the_last_are_told() -> None:
    run = Run(THREE)
    session = run.talk("chain-1", client(4000), sizes=(0, 10, 10, 10))
    run.cross(session, SERVER, "chain-2", forward=False)
    verdict = judge(run.recording())
    assert verdict.example is not None
    packets = [line for line in verdict.example.lines if line.what == "packet"]
    assert sum(line.matters for line in packets) == 2
    assert verdict.example.skipped == verdict.violations[0].size - len(packets) > 0


def test_a_bypass_is_told_when_nothing_crossed() -> None:
    run = Run(THREE)
    session = run.begin(client(4000))
    run.walk(session, client(4000), run.path((), forward=True), 100)
    verdict = judge(run.recording())
    assert verdict.headline == "1 sessions, 0 changes, 0 faults, 0 violations, 1 bypassed"
    assert verdict.example is not None
    assert "delivered without crossing any chain" in verdict.example.text
    assert [line.text for line in verdict.example.lines] == [
        "client to server, into l1.outer, ACK, 100 bytes",
        "client to server, out of l2.outer, ACK, 100 bytes",
    ]


def moved(run: Run, *, before: str = "chain-1", after: str = "chain-2") -> int:
    """A session whose chain is killed: it goes on in another."""
    session = run.talk(before, client(4000))
    run.tell("fault", f"NF of {before} killed", before)
    run.cross(session, client(4000), after, forward=True)
    return session


def test_a_session_whose_chain_was_killed_is_counted_apart() -> None:
    run = Run(THREE)
    session = moved(run)
    verdict = judge(run.recording(), in_flight_s=0.0)
    assert verdict.ok
    assert [finding.session for finding in verdict.killed] == [session]
    assert (
        verdict.headline
        == "1 sessions, 0 changes, 1 faults, 0 violations, 1 crossed as their chain was killed"
    )


@pytest.mark.parametrize("why", ["back", "before", "another", "no fault"])
def test_a_killed_chain_excuses_nothing_else(why: str) -> None:
    run = Run(THREE)
    if why == "before":
        session = run.talk("chain-1", client(4000))
        run.cross(session, client(4000), "chain-2", forward=True)
        run.tell("fault", "too late", "chain-1")
    elif why == "another":
        moved(run)
        run.events[0] = Event(run.events[0].time_ns, "fault", "of another", "chain-3")
    elif why == "no fault":
        moved(run)
        run.events[0] = Event(run.events[0].time_ns, "chain removed", "by the operator", "chain-1")
    else:
        run.cross(moved(run), SERVER, "chain-1", forward=False)
    verdict = judge(run.recording(), in_flight_s=0.0)
    assert (len(verdict.violations), len(verdict.killed)) == (1, 0)


def test_chains_killed_one_after_the_other() -> None:
    run = Run(THREE)
    session = moved(run)
    run.tell("fault", "and the next", "chain-2")
    run.cross(session, client(4000), "chain-3", forward=True)
    verdict = judge(run.recording(), in_flight_s=0.0)
    assert (len(verdict.violations), len(verdict.killed)) == (0, 1)


def test_a_shared_nf_outlives_the_chain_that_was_killed() -> None:
    run = Run({"chain-1": ("n1", "s"), "chain-2": ("n2", "s")})
    moved(run)
    verdict = judge(run.recording(), in_flight_s=0.0)
    assert (len(verdict.violations), len(verdict.killed)) == (0, 1)
