"""What the experiments of the paper's evaluation share: parameters, repeated runs, exports, the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
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
from experiments.evaluation.load import Load
from experiments.evaluation.parameters import Parameters, Scale, read
from experiments.evaluation.preflight import Need
from experiments.evaluation.ratios import Ratio
from experiments.evaluation.repeat import Once, Shown, Status, apart, figure, joined, noisy, none_of, spread
from experiments.evaluation.run import worst
from experiments.evaluation.sabotage import Sabotage
from topologies.services import wait_until

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
    assert figure(Shown("rate", "", worst=min), runs).value == 9
    assert figure(Shown("rate", ""), [*runs, Once({})]).value is None, "a run that failed is not left out"
    assert figure(Shown("rate", ""), []).value is None


def test_a_run_that_was_interrupted_lacks_only_what_it_had_not_found_yet() -> None:
    runs = [Once({"rate": 10.0, "ratio": 2.0}), Once({"rate": 12.0, "ratio": None}, whole=False)]
    assert figure(Shown("rate", ""), runs).runs == (10, 12)
    assert figure(Shown("ratio", ""), runs).value == 2
    assert figure(Shown("rate", ""), [Once({}), runs[1]]).value is None, (
        "one that failed is still not left out"
    )


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
    (again,) = export.read(tmp_path).values()
    for found, run in zip(apart(again), runs, strict=True):
        assert {key: list(column) for key, column in found.items()} == {
            key: list(column) for key, column in run.tables["rates"].items()
        }


def test_tables_of_an_earlier_run_go(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").touch()
    export.write(tmp_path, {"old": {"run": np.array([1])}})
    export.write(tmp_path, {"new": {"run": np.array([1])}})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "new.parquet", "theirs.csv"]


def test_all_that_is_missing_is_named_at_once() -> None:
    preflight.check([preflight.command("sh", "dash")])
    with pytest.raises(InvalidValue, match="no-such is not installed: apt-get install some; no luck"):
        preflight.check([preflight.command("no-such", "some"), Need("luck", lambda: "no luck")])


def evaluation(once: Any, **more: Any) -> Evaluation[Some]:
    shown = [Shown("rate", "", 9, at_least=1, steady=True), none_of("violations", "sessions")]
    options = {"plot": lambda *_: None, "needs": lambda _: (), "shown": lambda _: shown, "kind": Some, **more}
    return Evaluation(name="warm-up", about="", once=once, **options)


def outcome(tmp_path: Path, *found: Any, runs: int = 3) -> tuple[Status, str]:
    """How an experiment ends whose runs find these, in several parts if it is a list, and its summary."""
    waiting = list(found)

    def once(_setting: Setting[Some]) -> Iterator[Once]:
        parts = waiting.pop(0)
        for item in parts if isinstance(parts, list) else [parts]:
            if isinstance(item, BaseException):
                raise item
            yield Once(item)

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


def test_an_interruption_keeps_the_parts_of_a_run_that_had_ended(tmp_path: Path) -> None:
    """The last part has told of all before it."""
    status, summary = outcome(tmp_path, [{"rate": 4.0}, GOOD, KeyboardInterrupt()])
    told = json.loads(summary)
    assert (status, told["ok"], told["runs"], told["seeds"]) == (Status.INTERRUPTED, False, 0, [7])
    assert told["figures"]["rate"]["value"] == 10
    status, summary = outcome(tmp_path, GOOD, [{"rate": 11.0}, KeyboardInterrupt()])
    told = json.loads(summary)
    assert (status, told["runs"], told["figures"]["rate"]["runs"]) == (Status.INTERRUPTED, 1, [10, 11])
    assert told["figures"]["violations"]["value"] == 0


def test_an_interruption_before_anything_was_measured_leaves_earlier_results(tmp_path: Path) -> None:
    _, summary = outcome(tmp_path, GOOD, runs=1)
    for nothing in ([KeyboardInterrupt()], [CatenaryError("no luck"), KeyboardInterrupt()]):
        with pytest.raises(KeyboardInterrupt):
            outcome(tmp_path, *nothing)
        assert (tmp_path / "summary.json").read_text() == summary


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The command of an experiment whose runs find these rates: its exit status."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(subject, "isolate", lambda: None)

    def main(*rates: float | None, options: tuple[str, ...] = ()) -> Any:
        """None: interrupted."""
        waiting = list(rates)

        def once(_setting: Setting[Any]) -> Iterator[Once]:
            if (rate := waiting.pop(0)) is None:
                raise KeyboardInterrupt
            yield Once({"rate": rate, "violations": 0})

        words = ["run", "--set", f"runs={len(rates)}", "--results", str(tmp_path / "results"), *options]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as end:
            evaluation(once, kind=Load).main()
        return end.value.code

    yield main
    signal.signal(signal.SIGTERM, before)


def test_the_exit_status_tells_how_it_ended(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(10.0, 10.0, 10.0) == 0
    assert command(10.0, 10.0, 0.0) == 3, "the median is what is asked for, but who would trust it?"
    assert "noisy: rate: 10, 10, 0  differ by 100% (at most 15%)" in capsys.readouterr().out
    assert command(10.0, 13.0, options=("--set", "spread=0.5")) == 0
    assert command(0.1, 0.1, 0.9) == 1, "what is not reached is not excused by noise"


def test_who_interrupts_is_told_what_is_kept(
    command: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command(None) == 130
    assert "interrupted: no summary of it is written; an earlier one stays" in printed(capsys)
    assert not (tmp_path / "results").exists()
    assert command(10.0, None) == 130
    assert f"interrupted: what was measured is in {tmp_path}/results" in printed(capsys)
    assert json.loads((tmp_path / "results/summary.json").read_text())["status"] == "interrupted"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


SLOW_TO_END = """\
import signal, sys, time
from pathlib import Path

folder, name = Path(sys.argv[1]), signal.Signals(int(sys.argv[2])).name

def told(*_):
    (folder / "told").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    print("cleaned up after", name)
    sys.exit(130)

signal.signal(int(sys.argv[2]), told)
print("ready", flush=True)
while True:
    signal.pause()
"""
ATTEND = "import sys; from experiments.evaluation.run import attend; sys.exit(attend(sys.argv[1:]))"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_runs_an_experiment_lets_it_clean_up(number: signal.Signals, tmp_path: Path) -> None:
    """A terminal tells the whole group, and `kill` this one process."""
    child = [sys.executable, "-c", SLOW_TO_END, str(tmp_path), str(int(number))]
    attending = subprocess.Popen(
        [sys.executable, "-c", ATTEND, *child],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert attending.stdout is not None
        assert attending.stdout.readline() == "ready\n"
        (os.killpg if number is signal.SIGINT else os.kill)(attending.pid, number)
        wait_until((tmp_path / "told").exists, "the experiment is not told")
        with pytest.raises(subprocess.TimeoutExpired):  # longer than subprocess.run would leave it alone
            attending.wait(0.5)
        (tmp_path / "go").touch()
        said, _ = attending.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(attending.pid, signal.SIGKILL)
    assert (attending.returncode, said) == (130, f"cleaned up after {number.name}\n")


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
    text = (found.folder / "plot.py").read_text()
    assert f'redraw.main("{name}")' in text
    for heading in ("## The claim", "## Cost", "## What to expect", "## What differs"):
        assert heading in readme
    cost = readme.split("## Cost\n")[1].split("\n## ")[0]
    assert "minutes" in cost, "that is what whoever plans to run it asks for"


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
        (
            ("swap", "--set", "share=1", "--set", "time_scale=0.001"),
            "169000 sessions/s can't be offered here",
        ),
        (("warm-up", "--set", "nf=xyz"), "no NF 'xyz' here: use firewall"),
    ],
)
def test_bad_input_is_one_line_before_anything_starts(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", catalog.NAMES)
def test_two_cores_carry_the_default_and_the_smallest_form(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight.os, "sched_getaffinity", lambda _pid: {0, 1})
    for scale in (Scale.DEFAULT, Scale.QUICK):
        assert refused(name, scale) == []


@pytest.mark.parametrize("name", ["warm-up", "static-nfs", "chained-pairs", "peers"])
def test_two_cores_do_not_carry_the_papers_rates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.os, "sched_getaffinity", lambda _pid: {0, 1})
    (said,) = refused(name, Scale.PAPER)
    assert "Mbit/s can't be offered here: 2 cores carry about 240; use a smaller capacity_mbit" in said


def test_sessions_are_bounded_by_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.os, "sched_getaffinity", lambda _pid: {0, 1})
    (said,) = refused("warm-up", Scale.DEFAULT, "share=1", "time_scale=0.01")
    assert "16900 sessions/s can't be offered here: 2 cores carry about 1200; use a smaller share" in said
    (said,) = refused("injections", Scale.DEFAULT, "share=1")
    assert said.startswith("3000 sessions/s")
    assert refused("injections", Scale.PAPER) == []
    monkeypatch.setattr(preflight.os, "sched_getaffinity", lambda _pid: {0})
    (said,) = refused("injections", Scale.PAPER)
    assert said.startswith("1000 sessions/s")


def refused(name: str, scale: Scale, *sets: str) -> list[str]:
    """What is said against its load."""
    found = catalog.evaluation(name)
    needs = found.needs(read(found.folder / "parameters.toml", found.kind, scale, sets))
    loads = [need.missing() for need in needs if need.name in ("rate", "sessions")]
    return [text for text in loads if text is not None]


@pytest.mark.parametrize(
    ("words", "installed"),
    [
        (("experiment",), False),
        (("experiment", "NAME=baseline"), False),
        (("experiment", "NAME=warm-up"), True),
        (("experiment", "NAME=baseline peers"), True),
        (("experiments",), True),
    ],
)
def test_make_installs_an_ids_where_one_is_needed(words: tuple[str, ...], installed: bool) -> None:
    """By what it would do; `install` is taken as done."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", "-o", "install", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ("tools/install.sh ids" in done.stdout) is installed


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
