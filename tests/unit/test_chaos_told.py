"""What a run with real faults tells: how many changes and faults, and the story of a violation."""

from __future__ import annotations

from dataclasses import replace

from experiments.chaos.field.measure import Seen
from experiments.chaos.field.run import told
from tests.unit.test_chaos_measure import CHAINS, TIMES, A, happened, moved
from tests.unit.witness_runs import SECOND, Run
from witness.checker import judge
from witness.events import Pin


def stage(run: Run, pins: tuple[Pin, ...] = ()) -> Seen:
    recording = replace(run.recording(), pins=pins)
    return Seen((), (), judge(recording), recording, TIMES)


def test_the_headline_counts_what_the_witness_was_told_and_what_did_cross() -> None:
    run = happened(Run(CHAINS), 3, 2)
    run.talk("n1", A)
    assert stage(run).headline == "1 sessions, 3 changes, 2 faults, 0 violations"
    run.now += 40 * SECOND
    moved(run, 3.0)
    assert stage(run).headline == "2 sessions, 3 changes, 2 faults, 1 violations"
    run.now += 40 * SECOND
    moved(run, 16.0)
    assert stage(run).headline == "3 sessions, 3 changes, 2 faults, 1 violations", "it rested"


def test_a_violation_is_told_with_its_packets_and_what_lay_around() -> None:
    run = Run(CHAINS)
    assert told(stage(run)) == []
    moved(run, 16.0)
    run.now += 40 * SECOND
    session = moved(run, 3.0)
    happened(run, 1, 1)
    pin = Pin(run.now - SECOND, "l1", str(run.key(session)), "n1-4", 6, "hinted")
    lines = told(stage(run, (pin,)))
    assert lines[0].startswith(f"{run.key(session)}: client to server at n1")
    assert sum(line.startswith("*") for line in lines) == 2
    text = "\n".join(lines)
    for part in ("change: change 0", "fault: fault 1", "l1 holds n1-4, hinted in epoch 6"):
        assert part in text
