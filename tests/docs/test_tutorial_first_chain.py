"""The first tutorial works as it is written: its commands are typed into terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.docs.making import ROOT
from tests.docs.terminals import Page, Terminal, follow
from topologies.patience import PATIENCE_S

PAGE = "first-chain.md"
TIME = r"(?:\d+[dhms])+"
SEEN = {
    "catenary status": [
        r"^controller +http",
        r"^one .* 9 +100% ",
        r"^one .* (9|1\d) +\d\d% (.|\n)*^two .* \d +\d\d% ",
    ],
    "catenary plan": [
        r"add +chain +one",
        r"9 sessions on chains that stay, 0 on(.|\n)*^two +0.0% +50.0%",
        (
            r"\d sessions on chains that stay, (9|1\d) on(.|\n)*^one +50.0% +0.0%(.|\n)*"
            rf"^cools down +sessions +at least +p50 +p95 .*\n^one +\d+ +{TIME} +{TIME} +{TIME} "
        ),
    ],
    "catenary apply": [r"1 of 1 +succeeded", r"1 of 1 +succeeded", r"0 of 1 +running"],
    "catenary chain list": [r"^one +main +active", r"^one +main +cooling", r"^one +main +cooling"],
    "catenary explain": [r"(one|two)"],
    "catenary history": [r"remove main one, .*n1 is due for an update", r'"state":\["drained","removed"\]'],
    "echo '  three": [r"^catenary: standard input:\d+: chains.three.weigth: .* did you mean 'weight'"],
}


@pytest.fixture
def testbed(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The first terminal, where the testbed is up; Ctrl-C ends it."""
    (command,) = [command for where, command in Page(PAGE, SEEN).typed() if where == "terminal 1"]
    with (tmp_path / "terminal-1").open("wb") as output:
        process = subprocess.Popen(
            command.split(), cwd=ROOT, env=environment, stdout=output, stderr=output, process_group=0
        )
        try:
            limit = time.monotonic() + 2 * PATIENCE_S
            while "Up." not in (said := (tmp_path / "terminal-1").read_text()):
                assert process.poll() is None, said
                assert time.monotonic() < limit, said
                time.sleep(0.1)
            yield process
            os.killpg(process.pid, signal.SIGINT)
            process.wait(PATIENCE_S)
            assert not (tmp_path / "testbed.json").exists()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.mark.skipif(missing("e2e") is not None, reason=f"the testbed: {missing('e2e')}")
@pytest.mark.usefixtures("testbed")
def test_every_command_of_the_tutorial_does_what_it_says(environment: dict[str, str]) -> None:
    terminal = Terminal(environment)

    def type_in(where: str, command: str) -> tuple[int, str]:
        return (0, "") if where == "terminal 1" else terminal.type(command)

    try:
        follow(Page(PAGE, SEEN), type_in)
    finally:
        terminal.end()
