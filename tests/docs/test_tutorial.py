"""The tutorial works as it is written: its commands are taken from the page and typed into terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.docs.making import ROOT
from topologies.patience import PATIENCE_S

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
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
"""What the reader is told to see of a command, each time that it is typed."""


def commands(text: str) -> Iterator[str]:
    """A block's commands: a here-document is part of its own."""
    command = ""
    for line in text.splitlines(keepends=True):
        command += line
        done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and "here-document" not in done.stderr:
            yield command
            command = ""
    assert not command


def typed() -> list[tuple[str, str]]:
    """The page's commands in order, each with where it is typed: `terminal 1`, `terminal 2` or `refused`."""
    blocks = re.findall(r"^```sh (.*)\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
    return [(where, command) for where, text in blocks for command in commands(text)]


class Terminal:
    """A shell that is typed into; whatever it starts ends with it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def type(self, command: str) -> tuple[int, str]:
        """A command's status, and what it printed; none takes longer than `PATIENCE_S`."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\nprintf '\\nDONE %s\\n' $?\n")
        self._shell.stdin.flush()
        alarm = threading.Timer(PATIENCE_S, self.end)
        alarm.start()
        output = ""
        for line in self._shell.stdout:
            if line.startswith("DONE "):
                alarm.cancel()
                return int(line.split()[1]), output
            output += line
        raise AssertionError(f"{command} ended the terminal: {output}")

    def end(self) -> None:
        if self._shell.poll() is None:
            os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As a user has it, with a testbed of this test's own."""
    handed_down = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "TESTS")
    mine = {key: value for key, value in os.environ.items() if key not in handed_down}
    return mine | {"CATENARY_TESTBED": str(tmp_path / "testbed.json")}


@pytest.fixture
def testbed(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The first terminal, where the testbed is up; Ctrl-C ends it."""
    (command,) = [command for where, command in typed() if where == "terminal 1"]
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
    seen = {command: list(patterns) for command, patterns in SEEN.items()}
    terminal = Terminal(environment)
    try:
        for where, command in typed():
            if where != "terminal 1":
                step(terminal, command, 2 if where == "refused" else 0, expected(seen, command))
    finally:
        terminal.end()
    assert not any(seen.values()), f"not on the page any more: {seen}"


def expected(seen: dict[str, list[str]], command: str) -> str:
    found = [patterns for start, patterns in seen.items() if command.startswith(start) and patterns]
    return found[0].pop(0) if found else ""


def step(terminal: Terminal, command: str, status: int, pattern: str) -> None:
    """Type a command. What only shows the state is typed again until it shows what the page says."""
    shows = command.startswith(("catenary status", "catenary chain list", "catenary plan"))
    limit = time.monotonic() + (PATIENCE_S if shows else 0.0)
    while True:
        code, output = terminal.type(command)
        assert code == status, f"{command}{output}"
        if re.search(pattern, output, re.MULTILINE):
            return
        assert time.monotonic() < limit, f"{command}{output}\nlacks {pattern}"
