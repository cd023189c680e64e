"""What the experiments of the paper's evaluation share: parameters, repeated runs, exports, the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet
from pydantic import Field
from rich.console import Console

from catenary.errors import CatenaryError, InvalidValue
from experiments.evaluation import catalog, export, preflight, ratios
from experiments.evaluation import experiment as subject
from experiments.evaluation.experiment import Evaluation, Setting
from experiments.evaluation.parameters import Parameters, Scale, read
from experiments.evaluation.preflight import Need
from experiments.evaluation.ratios import Ratio
from experiments.evaluation.repeat import Once, Shown, Status, figure, joined, noisy, none_of, spread
from experiments.evaluation.run import worst
from experiments.evaluation.sabotage import Sabotage

ROOT = Path(__file__).parents[2]


class Some(Parameters):
    rate: float = Field(gt=0)


FILE = """\
[default]
runs = 3
seed = 7
rate = 2.5
[paper]
runs = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "warm_up" / "parameters.toml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_a_scale_says_only_what_differs(file: Path) -> None:
    assert read(file, Some, Scale.DEFAULT) == Some(runs=3, seed=7, rate=2.5)
    assert read(file, Some, Scale.QUICK) == read(file, Some, Scale.DEFAULT)
    assert read(file, Some, Scale.PAPER, ["rate=4", "seed=1"]) == Some(runs=5, seed=1, rate=4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate", "is not KEY=VALUE"),
        ("rat=3", r"no such parameter; did you mean rate\?"),
        ("xyz=3", "there are runs, seed, spread, rate"),
        ("rate=-1", "warm_up: parameter rate: Input should be greater than 0 .it is -1"),
        ("rate=fast", "parameter rate: .* .it is 'fast'"),
        ("runs=0", "parameter runs"),
    ],
)
def test_a_wrong_parameter_is_named(file: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        read(file, Some, Scale.DEFAULT, [text])


def test_the_median_tells_or_the_worst() -> None:
    runs = [Once({"rate": value, "lost": value - 9}) for value in (10.0, 12.0, 9.0)]
    found = figure(Shown("rate", "Mbit/s", 148), runs)
    assert (found.value, found.runs, found.spread, found.paper) == (10, (10, 12, 9), 0.3, 148)
    assert figure(none_of("lost", ""), runs).value == 3
    assert figure(Shown("rate", ""), [*runs, Once({})]).value is None, "a run that failed is not left out"
    assert figure(Shown("rate", ""), []).value is None


def test_what_differs_too_much_is_noisy() -> None:
    shown = [Shown("rate", "Mbit/s", steady=True), Shown("time", "s")]
    runs = [Once({"rate": value, "time": 10 * value}) for value in (10.0, 12.0, 9.0)]
    figures = {item.key: figure(item, runs) for item in shown}
    assert noisy(shown, figures, 0.15) == ["rate: 10, 12, 9 Mbit/s differ by 30% (at most 15%)"]
    assert noisy(shown, figures, 0.3) == []


@given(st.lists(st.floats(1, 1e6), min_size=1), st.floats(0.5, 100))
def test_a_spread_knows_no_unit(values: list[float], factor: float) -> None:
    assert spread([factor * value for value in values]) == pytest.approx(spread(values))
    assert spread([values[0]] * 3) == 0


def test_tables_are_exported_twice_the_same(tmp_path: Path) -> None:
    times = np.array([0.5, 1.0])
    runs = [Once({}, {"rates": {"time_s": times, "chain-1": times * n}}) for n in (1, 2)]
    export.write(tmp_path, joined(runs))
    table = parquet.read_table(tmp_path / "rates.parquet")
    assert table.to_pydict() == {
        "run": [1, 1, 2, 2],
        "time_s": [0.5, 1.0, 0.5, 1.0],
        "chain-1": [0.5, 1.0, 1.0, 2.0],
    }
    assert csv.read_csv(tmp_path / "rates.csv").to_pydict() == table.to_pydict()


def test_all_that_is_missing_is_named_at_once() -> None:
    preflight.check([preflight.command("sh", "dash")])
    with pytest.raises(InvalidValue, match="no-such is not installed: apt-get install some; no luck"):
        preflight.check([preflight.command("no-such", "some"), Need("luck", lambda: "no luck")])


def evaluation(once: Any, **more: Any) -> Evaluation[Some]:
    shown = [Shown("rate", "", 9, at_least=1, steady=True), none_of("violations", "sessions")]
    options = {"plot": lambda *_: None, "needs": lambda _: (), "shown": lambda _: shown, **more}
    return Evaluation(name="warm-up", about="", kind=Some, once=once, **options)


def outcome(tmp_path: Path, *found: Any, runs: int = 3) -> tuple[Status, str]:
    """How an experiment ends whose runs find these, and its summary."""
    waiting = list(found)

    def once(_setting: Setting[Some]) -> Once:
        item = waiting.pop(0)
        if isinstance(item, BaseException):
            raise item
        return Once(item)

    console = Console(file=(tmp_path / "told").open("w"))
    status = evaluation(once).run(Some(runs=runs, seed=7, rate=1), tmp_path, Sabotage.NONE, console)
    return status, (tmp_path / "summary.json").read_text()


GOOD = {"rate": 10.0, "violations": 0}


def test_an_experiment_ends_in_one_of_four_ways(tmp_path: Path) -> None:
    status, summary = outcome(tmp_path, GOOD, GOOD, GOOD)
    assert status is Status.OK
    assert '"seeds": [\n    7,\n    8,\n    9\n  ]' in summary
    assert '"paper": 9' in summary
    assert outcome(tmp_path, GOOD, GOOD, {**GOOD, "rate": 13.0})[0] is Status.NOISY
    assert outcome(tmp_path, GOOD, {**GOOD, "violations": 1}, GOOD)[0] is Status.NOT_REACHED
    assert outcome(tmp_path, GOOD, CatenaryError("no luck"), GOOD)[0] is Status.NOT_REACHED
    status, summary = outcome(tmp_path, GOOD, KeyboardInterrupt())
    assert status is Status.INTERRUPTED
    assert '"value": 10' in summary, "what was measured is kept"
    assert '"runs": 1' in summary
    assert '"ok": false' in summary


def test_what_failed_wins_over_what_was_noisy() -> None:
    assert worst([0, 0]) == 0
    assert worst([0, subject.NOISY, 0]) == subject.NOISY
    assert worst([subject.NOISY, 1, 0]) == 1


@pytest.mark.parametrize("name", catalog.NAMES)
def test_each_experiment_is_a_folder_that_says_all(name: str) -> None:
    found = catalog.evaluation(name)
    assert found.name == name
    for scale in Scale:
        chosen = read(found.folder / "parameters.toml", found.kind, scale)
        assert [item.key for item in found.shown(chosen)]
    readme = (found.folder / "README.md").read_text()
    for heading in ("## The claim", "## Cost", "## What to expect", "## What differs"):
        assert heading in readme


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.evaluation.run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("warmup",), "no experiment 'warmup': did you mean warm-up?"),
        (("warm-up", "--set", "capacity=3"), "no such parameter; did you mean capacity_mbit?"),
        (("warm-up", "--set", "capacity_mbit=0"), "parameter capacity_mbit"),
        (("warm-up", "--set", "capacity_mbit=1000"), "2778 Mbit/s can't be offered here"),
        (("warm-up", "--set", "nf=xyz"), "no NF 'xyz' here: use firewall"),
    ],
)
def test_bad_input_is_one_line_before_anything_starts(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_list_names_all() -> None:
    assert [line.split()[0] for line in run("--list").stdout.splitlines()] == list(catalog.NAMES)


def test_ratios_need_both_sides() -> None:
    asked = {"2_1": Ratio("2", "1", at_least=1.5), "own": Ratio("2", "1", paper=0.4)}
    papers = {"1": 148.0, "2": 247.0}
    assert [(item.key, item.paper, item.at_least) for item in ratios.shown(asked, papers)] == [
        ("ratio_2_1", 1.67, 1.5),
        ("ratio_own", 0.4, None),
    ]
    assert ratios.figures(asked, {"1": 20.0, "2": 30.0}) == {"ratio_2_1": 1.5, "ratio_own": 1.5}
    for missing in ({"1": 20.0}, {"2": 20.0}, {"1": 0.0, "2": 20.0}, {"1": None, "2": 20.0}):
        assert ratios.figures(asked, missing) == {"ratio_2_1": None, "ratio_own": None}
