"""`catenary top`: its picture at all sizes, and the command with and without a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from catenary import wire
from catenary.chain import ChainState
from catenary.client import ManagementClient
from catenary.tags import TagPair
from catenary.traffic import ChainTraffic, CoolDownProgress, SegmentTraffic, TrafficSample
from mgmt_system import figures
from mgmt_system.top import picture
from mgmt_system.watching import Scene, Watch
from tests.unit.mgmt_fakes import Site
from tests.unit.test_mgmt_cli import Run, run, site  # noqa: F401
from topologies.patience import PATIENCE_S


def scene(chains: int = 3, cooling: int = 1, events: int = 5) -> Scene:
    rows = [
        ChainTraffic(
            name=f"chain-{number}",
            segment="main",
            state=ChainState.COOLING if number <= cooling else ChainState.ACTIVE,
            sessions=1000 * number,
            share=number / 10,
            new=2.5,
            forward=1e6,
            reverse=2e6,
        )
        for number in range(1, chains + 1)
    ]
    downs = [
        CoolDownProgress(
            chain=f"chain-{number}", segment="main", began=90.0, sessions=40, left=5, p50=26.0, p95=40.0
        )
        for number in range(1, cooling + 1)
    ]
    segment = SegmentTraffic(name="main", states={"established": 7}, pins=1, capacity=2)
    told = [
        wire.HistoryEntry(seq=number, at=99.0, kind="epoch", who="m", segment="main", changes={})
        for number in range(1, events + 1)
    ]
    services = (wire.ServiceStatus(name="l2", url="", ok=False, reason="no answer"),)
    return Scene(
        TrafficSample(at=100.0, segments=[segment], chains=rows, cooling=downs), (), tuple(told), services
    )


def drawn(scene: Scene, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(picture(scene, width, height))
    return console.export_text().splitlines()


def test_the_picture_tells_chains_cool_downs_faults_and_events() -> None:
    lines = drawn(scene(), 120, 24)
    assert lines[0] == "1970-01-01T00:01:40Z  3 chains (1 cooling)"
    assert lines[1] == "6,000 sessions, 7.5 new/s, 24.0 Mbit/s to servers, 48.0 Mbit/s to clients"
    assert lines[2:4] == ["established 7", "l2: no answer"]
    assert re.split(r"\s{2,}", lines[5]) == [
        "main", "chain-3", "active", "3,000", "30 %", "━━━", "2.5", "8.0 Mbit/s", "16.0 Mbit/s"
    ]  # fmt: skip
    assert "chain-1: 10 s so far, predicted 26 s to 40 s, 5 of 40 sessions left" in "\n".join(lines)
    assert lines[-1].startswith("1970-01-01T00:01:39Z 5 epoch main")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("height", [6, 10, 24, 60])
@pytest.mark.parametrize(("chains", "cooling"), [(0, 0), (1, 0), (1000, 30)])
def test_the_picture_fits(width: int, height: int, chains: int, cooling: int) -> None:
    lines = drawn(scene(chains, cooling, 100), width, height)
    assert len(lines) <= height + (3 if height < 8 else 0)
    assert max(map(len, lines)) <= width
    if chains == 1000:
        assert any(re.fullmatch(r"and \d+ more chains", line) for line in lines)


def test_without_a_sample_it_says_why() -> None:
    assert drawn(Scene(fault="management system can't be reached"), 40, 10) == [
        "management system can't be reached"
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "0 bit/s"), (125.0, "1.0 kbit/s"), (4.5e6, "36.0 Mbit/s")]
)
def test_rates_are_told_in_bits(value: float | None, text: str) -> None:
    assert figures.bits(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (119.4, "119 s"), (185, "3 min 5 s"), (7500, "2 h 5 min"), (263000, "3 d 1 h")],
)
def test_durations(value: float | None, text: str) -> None:
    assert figures.seconds(value) == text


def test_a_cool_down_without_a_prediction_says_so() -> None:
    item = CoolDownProgress(chain="c", segment="main", began=90.0, sessions=None, left=None)
    assert figures.progress(item, 100.0).text == "10 s so far, no prediction: too little was known"
    over = item.model_copy(update={"ended": 12.0, "p50": 14.0, "p95": 14.0})
    assert figures.progress(over, 150.0).text == "took 12 s, predicted 14 s"


def test_the_command_prints_one_picture_where_there_is_no_terminal(
    run: Run,  # noqa: F811
    site: Site,  # noqa: F811
    eventually: Callable[..., None],
) -> None:
    assert run("chain add --nf n1")[0] == 0
    site.master.sessions[TagPair(2, 3)] = 5

    def told() -> bool:
        code, out, _ = run("top")
        return code == 0 and re.search(r"chain-1 +active +5 +100 %", out) is not None

    eventually(told)
    code, out, _ = run("top --once --json")
    assert code == 0
    assert json.loads(out)["chains"][0]["name"] == "chain-1"


def test_a_view_keeps_what_it_has_while_the_service_is_away(run: Run, site: Site) -> None:  # noqa: F811
    assert run("chain add --nf n1")[0] == 0
    with ManagementClient.from_environment() as client:
        watch = Watch(client)
        while not (before := watch.poll()).now:
            assert before.fault is None
        client.close()
        watch.client = ManagementClient("http://127.0.0.1:1")
        after = watch.poll()
    assert (after.now, after.past) == (before.now, before.past)
    assert after.events == before.events
    assert "can't be reached" in (after.fault or "")
    assert before.events[0].kind == "add"


def test_in_a_terminal_it_goes_on_until_q(run: Run, site: Site) -> None:  # noqa: F811
    assert run("chain add --nf n1")[0] == 0
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from mgmt_system.cli import app; app()", "top", "--refresh", "0.2"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        cwd=Path(__file__).parents[2],
    )
    os.close(theirs)
    try:
        seen = b""
        while b"chain-1" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"q")
        while True:  # else it could not write its last words
            try:
                if not os.read(ours, 4096):
                    break
            except OSError:
                break
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
