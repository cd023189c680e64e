"""The demo's arithmetic: the paper's criterion on made-up curves, means, claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from experiments.demo.figures import (
    Judgement,
    Observations,
    Series,
    claims,
    figures,
    phases,
    rebalanced_after,
)
from experiments.demo.story import BRIEF, FULL, STORY, Plan, active_after
from experiments.summary import Claim, Figure

Rate = Callable[[float], float]
SAMPLE_S = 0.1


def curves(until: float, **rates: Rate) -> Series:
    """A series whose chains have these rates (Mbit/s as functions of time, seconds from 0)."""
    times = np.arange(0.0, until + SAMPLE_S / 2, SAMPLE_S)
    columns = []
    for rate in rates.values():
        middle = times[:-1] + SAMPLE_S / 2
        steps = np.array([rate(float(t)) for t in middle]) * SAMPLE_S / 8e-6
        columns.append(np.concatenate([[0.0], np.cumsum(steps)]))
    return Series(tuple(name.replace("_", "-") for name in rates), times, np.stack(columns, axis=1))


def jump(at: float, before: float, after: float) -> Rate:
    return lambda t: before if t < at else after


def test_throughput_is_that_of_the_window_before_the_moment() -> None:
    series = curves(10, a=jump(5, 40, 0), b=jump(5, 0, 20))
    rates = series.throughput(np.array([5.0, 5.5, 7.0]))
    assert rates == pytest.approx(np.array([[40, 0], [20, 10], [0, 20]]), abs=0.01)
    assert series.mean(2.5, 7.5) == pytest.approx(30)


def test_a_chain_that_is_full_at_once_is_balanced_after_one_window_but_its_tenths() -> None:
    series = curves(20, a=lambda t: 40.0, b=jump(10, 0, 40))
    # The mean is (40 + x) / 2; x is within 10 % of it from x = 40 * 0.9 / 1.1 = 32.7 on: 0.82 s.
    assert rebalanced_after(series, ("a", "b"), 10, 20) == pytest.approx(0.9, abs=0.11)


def test_time_until_the_new_chain_starts_counts() -> None:
    series = curves(20, a=lambda t: 40.0, b=jump(11.5, 0, 40))
    assert rebalanced_after(series, ("a", "b"), 10, 20) == pytest.approx(2.4, abs=0.11)


def test_balance_must_stay() -> None:
    def b(t: float) -> float:
        return 0 if t < 10 or 13 < t < 14 else 40

    series = curves(30, a=lambda t: 40.0, b=b)
    assert rebalanced_after(series, ("a", "b"), 10, 30) == pytest.approx(4.9, abs=0.11)


def test_a_dip_long_after_the_change_is_not_the_changes() -> None:
    def b(t: float) -> float:
        return 0 if t < 10 or 17 < t < 18 else 40

    series = curves(30, a=lambda t: 40.0, b=b)
    assert rebalanced_after(series, ("a", "b"), 10, 30) == pytest.approx(0.9, abs=0.11)


@pytest.mark.parametrize("rate", [0.0, 20.0, 60.0])
def test_a_chain_off_the_mean_is_never_balanced(rate: float) -> None:
    series = curves(20, a=lambda t: 40.0, b=jump(10, 0, rate))
    assert rebalanced_after(series, ("a", "b"), 10, 20) is None


def test_silence_is_not_balance() -> None:
    series = curves(20, a=lambda t: 0.0, b=lambda t: 0.0)
    assert rebalanced_after(series, ("a", "b"), 10, 20) is None


def test_within_ten_percent_is_balanced_from_the_start() -> None:
    series = curves(20, a=lambda t: 41.0, b=lambda t: 39.0)
    assert rebalanced_after(series, ("a", "b"), 10, 20) == pytest.approx(0.1)


def test_after_a_remove_the_cooling_chains_bar_must_leave_the_others() -> None:
    series = curves(20, a=lambda t: 40.0, b=lambda t: 40.0, c=lambda t: max(0.0, 40 - 20 * (t - 10)))
    seconds = rebalanced_after(series, ("a", "b"), 10, 20, cooling=("c",))
    # c's window mean must fall under 40 * 0.9 / 1.1 = 32.7.
    assert seconds == pytest.approx(0.9, abs=0.15)
    assert rebalanced_after(series, ("a", "b"), 10, 20) == pytest.approx(0.1)


def seen(**changes: object) -> Observations:
    """A run in which everything went well: phases of 10 s from second 2 on."""
    begins = tuple(2.0 + 10 * n for n in range(len(STORY)))
    series = curves(
        52,
        chain_1=lambda t: 40.0,
        chain_2=lambda t: 40.0 if 12.3 < t < 34 else 0.0,
        chain_3=lambda t: 40.0 if 22.3 < t < 44 else 0.0,
    )
    share = {1: {"chain-1": 1.0}, 2: {"chain-1": 0.4, "chain-2": 0.6}, 3: {"chain-1": 0.25, "chain-2": 0.45}}
    good = Observations(
        series=series,
        requests=begins,
        end=52.0,
        drained_s={"chain-2": 5.0, "chain-3": 6.25},
        latencies_s=(0.1, 0.12, 0.9),
        failed_requests=0,
        sessions_cut=0,
        leftovers=0,
        judgement=Judgement(
            sessions=3000,
            server_opened=300,
            violations=0,
            bypassed=0,
            dropped=0,
            across=(140, 150, 130, 120),
            shares=(share[1], share[2], share[3], share[2], share[1]),
        ),
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def broken(observations: Observations, plan: Plan = FULL) -> list[str]:
    found = figures(observations, plan)
    return [claim.key for claim in claims(plan) if not claim.holds(found)]


def test_a_good_run_keeps_every_claim() -> None:
    assert broken(seen()) == []


def test_its_figures() -> None:
    found = figures(seen(), replace(FULL, phase_s=10))
    values = {key: figure.value for key, figure in found.items()}
    assert values["throughput_1"] == pytest.approx(40, rel=0.01)
    assert values["throughput_3"] == pytest.approx(120, rel=0.01)
    assert values["throughput_back_1"] == pytest.approx(40, rel=0.01)
    assert values["ratio_3_1"] == pytest.approx(3, rel=0.01)
    assert values["rebalance_s"] == pytest.approx(1.2, abs=0.11)
    assert values["rebalance_down_s"] == pytest.approx(2.2, abs=0.11)
    assert values["min_share"] == 25
    assert values["min_sessions_across_change"] == 120
    assert values["add_latency_ms"] == 120
    assert values["drained_s"] == values["drained_chain-3_s"] == 6.25
    assert found["throughput_2"].paper == 247


@pytest.mark.parametrize(
    "change,key",
    [
        ({"failed_requests": 1}, "failed_requests"),
        ({"sessions_cut": 1}, "sessions_cut"),
        ({"leftovers": 1}, "leftovers"),
        ({"latencies_s": (0.31,)}, "add_latency_ms"),
        ({"drained_s": {"chain-2": 5.0, "chain-3": 99.0}}, "drained_s"),
    ],
)
def test_each_broken_claim_is_named(change: dict[str, object], key: str) -> None:
    assert broken(seen(**change)) == [key]


@pytest.mark.parametrize(
    "change,key",
    [
        ({"sessions": 1999}, "sessions"),
        ({"server_opened": 199}, "server_opened"),
        ({"violations": 1}, "violations"),
        ({"bypassed": 1}, "bypassed"),
        ({"dropped": 1}, "witness_dropped"),
        ({"across": (140, 99)}, "min_sessions_across_change"),
        ({"across": ()}, "min_sessions_across_change"),
        ({"shares": ({"chain-1": 0.9, "chain-2": 0.1},)}, "min_share"),
    ],
)
def test_each_broken_claim_of_the_witness_is_named(change: dict[str, object], key: str) -> None:
    assert broken(seen(judgement=replace(seen().judgement, **change))) == [key]  # type: ignore[arg-type]


def test_chains_that_do_not_scale_break_ratios_and_balance() -> None:
    series = curves(52, chain_1=lambda t: 40.0, chain_2=lambda t: 0.0, chain_3=lambda t: 0.0)
    assert broken(seen(series=series)) == ["ratio_2_1", "ratio_3_1", "rebalance_s", "rebalance_down_s"]


def test_a_chain_that_was_not_drained_in_the_run_breaks_its_claim() -> None:
    assert broken(seen(drained_s={"chain-2": 5.0})) == ["drained_s"]


def test_a_brief_run_asks_for_no_times() -> None:
    assert broken(seen(latencies_s=(9.9,)), BRIEF) == []


def test_phases_join_without_gaps() -> None:
    joined = phases(seen())
    assert [begin for begin, _ in joined[1:]] == [end for _, end in joined[:-1]]
    assert joined[-1][1] == 52.0


def test_the_story_goes_up_and_down() -> None:
    assert [len(active_after(number)) for number in range(1, 6)] == [1, 2, 3, 2, 1]
    assert active_after(5) == ("chain-1",)


@pytest.mark.parametrize(
    "claim,text,value,holds",
    [
        (Claim("x", at_least=0, at_most=0), "= 0", 0, True),
        (Claim("x", at_least=0, at_most=0), "= 0", 1, False),
        (Claim("x", at_least=1.6), ">= 1.6", 1.6, True),
        (Claim("x", at_most=3), "<= 3", 3.01, False),
        (Claim("x", at_most=3), "<= 3", None, False),
    ],
)
def test_a_claim_says_what_it_asks(claim: Claim, text: str, value: float | None, holds: bool) -> None:
    assert claim.text == text
    assert claim.holds({"x": Figure(value, "")}) is holds
