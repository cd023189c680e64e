"""`catenary verify`: its inputs, its report, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catenary.errors import InvalidValue
from tests.unit.witness_pcaps import HEADER, PcapRun
from tests.unit.witness_runs import SECOND, SERVER, Run, client
from witness.cli import app
from witness.events import Event, Pin, read_events, read_pins
from witness.recording import Recording

TWO = {"chain-1": ("n1",), "chain-2": ("n2",)}
CHAINS = ("--chain", "chain-1=n1", "--chain", "chain-2=n2")
KEY = "10.0.0.1:5000 <-> 10.0.0.2:80/tcp"
WALL = 1_700_000_000 * SECOND


def verify(*arguments: str | Path) -> tuple[int, str, BaseException | None]:
    """(exit code, output, what was raised)."""
    result = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    return result.exit_code, result.output, result.exception


def refused(*arguments: str | Path) -> str:
    _, _, error = verify(*arguments)
    assert isinstance(error, InvalidValue), error
    return str(error)


def broken(run: Run) -> Run:
    for port in range(4):
        run.talk(f"chain-{port % 2 + 1}", client(4000 + port))
    session = run.begin(client(5000))
    run.cross(session, client(5000), "chain-1", forward=True)
    run.now += 1000
    run.cross(session, SERVER, "chain-2", forward=False)
    return run


def lines(path: Path, *items: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_events_and_pins_are_merged_into_the_story(tmp_path: Path) -> None:
    run = broken(Run(TWO))
    run.events = [Event(run.now - 11_000, "change", "kept in the recording")]
    replace(run.recording(), wall_ns=WALL).save(tmp_path / "run.npz")
    between = run.now - 4500
    events = lines(
        tmp_path / "events.jsonl",
        {"time": (WALL + between) / 1e9, "kind": "change", "text": "chain-2 added"},
        {"monotonic": between / 1e9, "kind": "fault", "text": "l1 killed", "pid": 7},
        {"monotonic": between / 1e9, "kind": "epoch", "text": "8"},
    )
    pin = {
        "monotonic": between / 1e9,
        "lb": "l2",
        "key": KEY,
        "chain": "chain-2",
        "epoch": 8,
        "cause": "learned",
    }
    pins = lines(tmp_path / "pins.jsonl", pin)
    kept = tmp_path / "kept.npz"
    code, output, _ = verify(tmp_path / "run.npz", "--events", events, "--pins", pins, "--save", kept)
    assert code == 1
    assert verify(kept)[:2] == (1, output), "the recording holds them, too"
    assert output.splitlines()[-1] == "5 sessions, 2 changes, 1 faults, 1 violations"
    told = [line for line in output.splitlines() if " ms  " in line]
    words = [line.split(" ms  ")[1].split(None, 1)[1] for line in told]
    first, second = (n for n, line in enumerate(told) if line.startswith("*"))
    assert words[0] == "change: kept in the recording"
    assert set(words[first + 1 : second]) >= {
        "change: chain-2 added",
        "fault: l1 killed",
        "epoch: 8",
        "l2 holds chain-2, learned in epoch 8",
    }
    code, output, _ = verify(tmp_path / "run.npz", "--events", events, "--json")
    found = json.loads(output)
    assert (code, found["report"]) == (1, "5 sessions, 2 changes, 1 faults, 1 violations")
    example = found["example"]
    assert example["session"] == KEY
    assert sum(line["matters"] for line in example["lines"]) == 2
    assert all(abs(line["time"] - (WALL + run.now) / 1e9) < 1 for line in example["lines"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "events, line 1: Expecting property name"),
        ("[1]", "line 1: not an object"),
        ('\n{"kind": "fault"}', "line 2: 'time' is missing"),
        ('{"time": 1}', "line 1: 'kind' is missing"),
        ('{"time": 1, "kind": ""}', "line 1: its kind is empty"),
        ('{"time": 1, "kind": "fault", "text": 5}', "line 1: its text is 5, not a text"),
        ('{"time": "soon", "kind": "fault"}', "line 1: could not convert string to float: 'soon'"),
        ('{"time": Infinity, "kind": "fault"}', "line 1: cannot convert float infinity"),
        ('{"monotonic": 1, "kind": "fault"}', "line 1: it has a 'monotonic' time, but pcaps have Unix time"),
    ],
)
def test_lines_that_are_no_events(text: str, message: str) -> None:
    with pytest.raises(InvalidValue) as error:
        read_events(text.splitlines(), "events", 0)
    assert message in str(error.value)


def test_pins_are_read() -> None:
    line = json.dumps({"time": 2, "lb": "l1", "key": KEY, "chain": "c", "epoch": 2, "cause": "placed"})
    assert read_pins([line, ""], "pins", SECOND) == (Pin(SECOND, "l1", KEY, "c", 2, "placed"),)
    with pytest.raises(InvalidValue, match="pins, line 1: 'lb' is missing"):
        read_pins(['{"time": 1, "epoch": 1}'], "pins", 0)


def test_a_folder_of_pcaps_or_taps_by_name(tmp_path: Path) -> None:
    folder = broken(PcapRun(TWO)).write(tmp_path / "pcaps")
    taps = [f"--tap={path.name.removesuffix('.pcap')}={path}" for path in sorted(folder.glob("*.pcap"))]
    for given in ([folder], sorted(folder.glob("*.pcap")), taps):
        code, output, _ = verify(*given, *CHAINS, "--in-flight", "0", "--save", tmp_path / "kept.npz")
        assert code == 1
        assert output.splitlines()[-1] == "5 sessions, 0 changes, 0 faults, 1 violations"
        code, again, _ = verify(tmp_path / "kept.npz", "--in-flight", "0")
        assert (code, again) == (1, output), "a kept recording gives the same report"


def test_a_network_file_names_places_and_timeouts(tmp_path: Path) -> None:
    network = tmp_path / "network.yaml"
    network.write_text(
        "switches: {s1: 1}\n"
        "nfs: {n1: {switch: s1, ingress: p1, egress: p2}, n2: {switch: s1, ingress: p3, egress: p4}}\n"
        'balancers: {l1: {switch: s1, outer: a, inner: b, url: "http://127.0.0.1:1"}, '
        'l2: {switch: s1, outer: c, inner: d, url: "http://127.0.0.1:2"}}\n'
        "segments: {main: {master: l1, slave: l2, timeouts: {tcp_opening: 1}}}\n"
    )
    run = PcapRun(TWO)
    session = run.begin(client(4000))
    for chain in TWO:
        run.cross(session, client(4000), chain, forward=True)
        run.now += 2 * SECOND
    folder = run.write(tmp_path / "pcaps")
    assert verify(folder, *CHAINS)[0] == 1, "one session, as the timeout is longer than its silence"
    for old, new in (("master", "l1"), ("slave", "l2")):
        (folder / f"{old}.outer.pcap").rename(folder / f"{new}.outer.pcap")
    code, output, _ = verify(
        folder, *CHAINS, "--network", network, "--in-flight", "0", "--save", tmp_path / "a.npz"
    )
    assert code == 0, output
    assert output.splitlines()[-1] == "2 sessions, 0 changes, 0 faults, 0 violations"
    assert Recording.load(tmp_path / "a.npz").places[0].name == "l1.outer"


def test_chains_that_rewrite(tmp_path: Path) -> None:
    Run(TWO).recording().save(tmp_path / "run.npz")
    run = Run(TWO)
    run.cross(run.begin(client(4000)), client(4000), "chain-1", forward=True)
    run.cross(run.begin(client(4001)), client(4001), "chain-2", forward=True)
    run.recording().save(tmp_path / "run.npz")
    rewrites = ("--rewrites", "chain-1", "--rewrites", "n2")
    code, output, _ = verify(tmp_path / "run.npz", *rewrites, "--save", tmp_path / "kept.npz")
    assert code == 0
    assert output.splitlines()[-1].startswith("4 sessions"), "one for each side"
    assert verify(tmp_path / "kept.npz")[1] == output


def test_a_run_that_is_seen_in_part_only_says_so(tmp_path: Path) -> None:
    """All of it lies within the time that packets may be on their way as the recording begins and ends."""
    run = PcapRun(TWO)
    run.talk("chain-1", client(4000))
    code, output, _ = verify(run.write(tmp_path), *CHAINS)
    assert code == 0
    assert "OK: no session crossed two chains; 1 of 1 were seen in part" in output


def test_nothing_to_judge_is_not_right(tmp_path: Path) -> None:
    folder = PcapRun(TWO).write(tmp_path)
    code, output, _ = verify(folder, *CHAINS)
    assert code == 2
    assert "FAILED: nothing to judge: no session was seen" in output
    assert "OK" not in output


def test_a_cut_file_needs_partial(tmp_path: Path) -> None:
    run = broken(PcapRun(TWO))
    run.talk("chain-2", client(6000))
    folder = run.write(tmp_path)
    path = folder / "n2.ingress.pcap"
    path.write_bytes(path.read_bytes()[:-1])
    message = refused(folder, *CHAINS)
    assert "ends within frame" in message
    assert "frames were read (--partial judges the run until there)" in message
    code, output, _ = verify(folder, *CHAINS, "--partial", "--in-flight", "0")
    assert code == 1
    assert "ends within frame" in output
    assert output.splitlines()[-1].startswith("6 sessions, 0 changes, 0 faults, 1 violations")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to judge: name a recording (.npz), pcaps or a folder of them, or give --live"),
        (["gone.npz"], "can't read recording gone.npz: No such file or directory"),
        (["gone.pcap"], "'gone' is no place: use master.outer"),
        (["--tap", "n1.ingress"], "'n1.ingress' is no tap: write PLACE=FILE"),
        (["--tap", "n1.ingress=gone.pcap"], "name one place of kind outer_master"),
        (["--live", "x.npz"], "--live taps interfaces: it reads no file such as x.npz"),
        (["--live", "--tap", "n1.ingress=x"], "say which NFs each chain has, by --chain"),
        (["--live", "--for", "soon", *CHAINS], "'soon' is not a duration: write 60s, 5m, 1h30m"),
        (["--live", "--for", "0s", *CHAINS], "--for 0s taps nothing"),
        (["--live", "--save", "gone/run.npz", *CHAINS], "can't write gone/run.npz: name a file in a folder"),
        (["--live", "--save", ".", *CHAINS], "can't write .: name a file"),
        (["--live", "--events", "gone.jsonl", *CHAINS], "can't read gone.jsonl: No such file"),
        (["--live", "--pins", "gone.jsonl", *CHAINS], "can't read gone.jsonl: No such file"),
        (["--live", "--tap", "n1=x", *CHAINS], "'n1' is no place"),
        (["--ask", "x.npz"], "--ask tells what load balancers hold at this moment: use it with --live"),
        (["--network", "gone.yaml", "x.pcap"], "can't read gone.yaml: No such file or directory"),
    ],
)
def test_what_can_not_be_judged_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)


def test_the_command_ends_with_2_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "n1.ingress.pcap").write_bytes(HEADER[:20])
    command = [sys.executable, "-m", "catenary.cli", "verify", *CHAINS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("catenary: ")
    (tmp_path / "empty").mkdir()
    assert f"the folder {tmp_path / 'empty'} has no *.pcap" in refused(tmp_path / "empty")


def test_a_recording_is_kept_though_its_events_are_refused(tmp_path: Path) -> None:
    replace(broken(Run(TWO)).recording(), wall_ns=WALL).save(tmp_path / "run.npz")
    events = tmp_path / "events.jsonl"
    events.write_text("{")
    message = refused(tmp_path / "run.npz", *CHAINS, "--events", events, "--save", tmp_path / "kept.npz")
    assert "line 1" in message
    kept = Recording.load(tmp_path / "kept.npz")
    assert kept.chains == TWO
    lines(events, {"monotonic": 1, "kind": "change"})
    assert verify(tmp_path / "run.npz", "--events", events, "--save", tmp_path / "kept.npz")[0] == 1
    assert [event.kind for event in Recording.load(tmp_path / "kept.npz").events] == ["change"]


def test_a_disk_that_is_full_ends_the_command_with_one_line() -> None:
    recording = broken(Run(TWO)).recording()
    with pytest.raises(InvalidValue, match="can't write recording /dev/full: No space left on device"):
        recording.save(Path("/dev/full"))


@pytest.mark.parametrize("begun", [0, 10**15])
def test_sessions_whose_chain_was_killed_are_named_where_it_says_ok(tmp_path: Path, begun: int) -> None:
    run = Run(TWO)
    session = run.begin(client(5000))
    for sender in (client(5000), SERVER):
        run.cross(session, sender, "chain-1", sender is not SERVER, 10)
    run.tell("fault", "n1 killed", "chain-1")
    run.now += 5 * SECOND
    for sender in (client(5000), SERVER):
        run.cross(session, sender, "chain-2", sender is not SERVER, 10)
    replace(run.recording(), begun_ns=begun).save(tmp_path / "run.npz")
    code, output, _ = verify(tmp_path / "run.npz")
    assert code == 0
    assert " but 1 whose chain was killed crossed " in output
