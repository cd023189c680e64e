"""The paper's numbers (section IV-A) at its own scale: what is offered, and when it is measured."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.cool_down.run import STORY as COOL_DOWN
from experiments.demo.figures import Series
from experiments.evaluation import catalog, promises
from experiments.evaluation.load import Load, PaperLoad
from experiments.evaluation.parameters import Scale, read
from experiments.evaluation.play import Offered, Played, Seen, missed
from experiments.evaluation.promises import Span
from experiments.evaluation.repeat import Once, figure
from experiments.evaluation.scaling import LOAD, Story, rebalanced
from experiments.injections.run import EVALUATION as INJECTIONS
from experiments.injections.run import Injected, chi_square, least_share
from experiments.injections_throughput.run import CASES as INJECTIONS_THROUGHPUT
from experiments.snort_single.run import CASES as SNORT_SINGLE
from experiments.warm_up.run import STORY as WARM_UP
from tests.unit.witness_runs import Run
from topologies.traffic import HttperfResult, InjectionResult
from witness.checker import judge

SNORT = {case.key: case.load for case in SNORT_SINGLE.cases}


def paper(name: str) -> Load:
    found = catalog.evaluation(name)
    chosen = read(found.folder / "parameters.toml", found.kind, Scale.PAPER)
    assert isinstance(chosen, Load)
    return chosen


@pytest.mark.parametrize(
    ("name", "load", "offered"),
    [
        ("snort-single", SNORT["8000"], Offered(75, 8000, 750_000)),
        ("snort-single", SNORT["3000"], Offered(40, 3000, 1_000_000)),
        ("warm-up", LOAD, Offered(75, 8000, 750_000, 10_000, 94, 1)),
        ("cool-down", LOAD, Offered(75, 8000, 750_000, 10_000, 94, 1)),
        (
            "injections-throughput",
            INJECTIONS_THROUGHPUT.cases[0].load,
            Offered(75, 8000, 750_000, 20_000, 188, 1),
        ),
    ],
)
def test_at_the_papers_scale_its_load_is_offered(name: str, load: PaperLoad, offered: Offered) -> None:
    assert paper(name).offered(load) == offered


def test_more_than_5000_injections_go_beside_the_third_load_of_one_ids() -> None:
    load = SNORT["injected"]
    assert (load.sessions, load.rate, load.megabytes) == (8000, 75, 0.75)
    assert load.injections > 5000


def test_the_load_is_so_many_times_what_one_ids_carries() -> None:
    assert PaperLoad().overload == pytest.approx(450 / 162)
    chosen = read(catalog.evaluation("warm-up").folder / "parameters.toml", Load, Scale.DEFAULT)
    here = chosen.offered(LOAD)
    assert here.rate * here.size * 8e-6 == pytest.approx(450 / 162 * chosen.capacity_mbit, rel=0.01)
    assert here.sessions >= 800, "a tenth"


@pytest.mark.parametrize(
    ("story", "windows", "papers"),
    [
        (WARM_UP, [(10, 35), (37, 70), (75, 110)], [148, 247, 277]),
        (COOL_DOWN, [(10, 35), (40, 70), (75, 110)], [270, 244, 152]),
    ],
)
def test_the_means_are_over_the_papers_windows(
    story: Story, windows: list[tuple[float, float]], papers: list[float]
) -> None:
    ends = [*(phase.at for phase in story.phases[1:]), story.end]
    found = [
        (phase.mean_from(phase.at, until), until) for phase, until in zip(story.phases, ends, strict=True)
    ]
    assert found == windows
    assert [phase.paper for phase in story.phases] == papers


def test_a_mean_has_most_of_a_short_phase() -> None:
    phase = WARM_UP.phases[2]
    assert phase.mean_from(70, 110) == 75
    assert phase.mean_from(7, 11) == pytest.approx(8.6)


def test_injections_throughput_is_over_20_to_80_seconds() -> None:
    case = INJECTIONS_THROUGHPUT.cases[0]
    end = case.schedule(1).end
    assert (case.since * end, case.until * end) == pytest.approx((20, 80))


def test_the_largest_case_sends_80_000_injections() -> None:
    chosen = paper("injections")
    assert isinstance(chosen, Injected)
    offered = [chosen.offered(chosen.case(*case)) for case in chosen.cases]
    assert sorted({(each.batch, each.every) for each in offered}) == [
        (batch, every) for batch in (600, 1000) for every in (1.0, 3.0, 5.0)
    ]
    assert max(each.injections for each in offered) == 80_000
    figure = next(item for item in INJECTIONS.shown(chosen) if item.key == "injections")
    assert figure.paper == 80_000


def test_what_is_spread_evenly_has_a_small_chi_square_and_a_large_least_share() -> None:
    assert (chi_square([50, 50, 50]), least_share([50, 50, 50])) == (0, 1)
    assert (chi_square([40, 50, 60]), least_share([40, 50, 60])) == (4, 0.8)
    assert (chi_square([0, 0]), least_share([0, 0])) == (None, 0), "nothing was measured"


def test_one_uneven_case_of_one_run_fails_injections() -> None:
    item = next(item for item in INJECTIONS.shown(paper("injections")) if item.key == "least_alerts")
    assert item.claim is not None
    even, uneven = (Once({item.key: least_share(counts)}) for counts in ([99, 100, 101], [48, 126, 126]))
    assert item.claim.holds({item.key: figure(item, [even, even, even])})
    assert not item.claim.holds({item.key: figure(item, [even, uneven, even])})


def result(connections: int, **errors: int) -> HttperfResult:
    return HttperfResult(connections, 0, 0, 0, 1.0, 1.0, 1.0, {"total": sum(errors.values()), **errors})


def test_clients_are_held_to_what_was_planned() -> None:
    offered = Offered(75, 800, 1000, 100, 10)
    kept = promises.of_clients(offered, result(760), InjectionResult(95, 94, {"000": 1}))
    assert kept == {"begun": 0.95, "cut": 0, "sent": 0.95, "unanswered": pytest.approx(100 / 95)}
    none = promises.of_clients(Offered(0, 0, 0), None, None)
    assert none == {"begun": 1, "cut": 0, "sent": 1, "unanswered": 0}, "nothing was planned"
    worst = promises.of_several([kept, none])
    assert worst == {"begun": 0.95, "cut": 0, "sent": 0.95, "unanswered": pytest.approx(100 / 95)}


def test_what_a_client_gave_up_by_itself_was_not_cut() -> None:
    told = result(10, **{"connreset": 2, "other": 1, "client-timo": 4, "fd-unavail": 8, "socket-timo": 0})
    assert told.cut == 3
    assert told.reasons == ["2 connreset", "1 other", "4 client-timo", "8 fd-unavail"]


def test_alerts_lie_between_the_injections_that_were_answered_and_those_that_were_sent() -> None:
    told = InjectionResult(100, 97, {"000": 3})
    assert [missed(told, [count]) for count in (97, 100, 95, 102)] == [0, 0, 2, 2]
    assert missed(told, [97, 96]) == 1, "each segment tells of all"


def test_balance_is_told_of_the_change_that_the_paper_shows_apart_from_the_next() -> None:
    keys = [item.key for item in catalog.evaluation("cool-down").shown(paper("cool-down"))]
    assert keys[keys.index("rebalance_s") + 1] == "rebalance_later_s"
    played = scaled()
    before, now = Span(0.0, 10.0, ("one",)), Span(10.0, 20.0, ("two", "three"))
    assert rebalanced(before, now, played, old_end=True) is None, "the old chain goes on"
    assert rebalanced(before, now, played, old_end=False) == pytest.approx(0.1)
    assert played.series.mean(10, 20, now.chains) == pytest.approx(60), "nor is it in their throughput"
    assert played.series.mean(10, 20) == pytest.approx(90)


def scaled() -> Played:
    """One chain carries 30 Mbit/s all the while; two others as much from 10 s on."""
    times = np.arange(0.0, 20.1, 0.1)
    rate = 30e6 / 8
    later = np.maximum(times - 10, 0) * rate
    series = Series(("one", "two", "three"), times, np.stack([times * rate, later, later], axis=1))
    seen = Seen(series, judge(Run({"one": ("n1",)}).recording()), {})
    return Played({"main": seen}, (0.0, 10.0), 20.0, Offered(0, 0, 0), None, None, 0, 0.0)
