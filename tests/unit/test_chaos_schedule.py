"""The schedule of faults: drawn from its seed alone, and nothing of what was asked for is left out."""

from __future__ import annotations

from collections import Counter

from experiments.chaos.field.schedule import (
    CROWDED,
    FAULTS,
    KILLS,
    ROOMY,
    SERVICES,
    STAGES,
    Kind,
    rounds,
    schedule,
)

EVERY = tuple(Kind)


def test_every_fault_comes_as_often_as_asked_for_in_one_stage_or_the_other() -> None:
    drawn = Counter(
        strike.kind
        for stage in STAGES
        for strike in schedule(stage, 1, 3, FAULTS)
        if strike.kind is not Kind.CALM
    )
    assert drawn == dict.fromkeys(FAULTS, 3)
    assert len(FAULTS) * 3 >= 25, "what the experiment claims"
    assert ROOMY.kinds | CROWDED.kinds == set(Kind)


def test_the_seed_alone_decides() -> None:
    assert schedule(ROOMY, 7, 3, FAULTS) == schedule(ROOMY, 7, 3, FAULTS)
    assert schedule(ROOMY, 7, 3, FAULTS) != schedule(ROOMY, 8, 3, FAULTS)


def test_calm_comes_first_and_turns_count_up_for_each_kind() -> None:
    strikes = schedule(ROOMY, 3, 4, FAULTS)
    assert [strike.number for strike in strikes] == list(range(1, len(strikes) + 1))
    assert [strike.number for strike in strikes if strike.kind is Kind.CALM] == [1]
    for kind in ROOMY.kinds & set(FAULTS):
        assert sorted(strike.turn for strike in strikes if strike.kind is kind) == [0, 1, 2, 3]


def test_a_stage_without_a_fault_of_these_kinds_has_nothing_to_do() -> None:
    assert schedule(ROOMY, 0, 3, (Kind.FULL_TABLE,)) == ()
    assert [strike.kind for strike in schedule(CROWDED, 0, 2, (Kind.FULL_TABLE,))] == [Kind.FULL_TABLE] * 2


def test_a_killed_daemon_disturbs_the_services() -> None:
    assert KILLS < SERVICES < set(Kind)


def test_many_faults_of_a_kind_are_spread_over_rounds() -> None:
    assert rounds(3) == [3]
    assert rounds(30) == [10, 10, 10]
    assert rounds(11) == [10, 1]
