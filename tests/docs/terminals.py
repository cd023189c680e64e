"""Tutorials as their readers follow them: commands taken from a page, typed into terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from tests.docs.making import ROOT
from topologies import namespaces
from topologies.patience import PATIENCE_S

INSIDE = f"{sys.executable} -m topologies.namespaces env -u {namespaces.MARK} PATH={ROOT}/.venv/bin:$PATH"
"""Before `mn`, a PID namespace of the test: where it fails at its start, it cleans up the whole machine."""

DONE = r"^DONE (\d+)\.\n"
"""What a terminal prints behind a command: its status."""


class Page:
    """A tutorial's text. `seen` is what its reader is told to see of commands: each time a pattern."""

    def __init__(self, name: str, seen: Mapping[str, list[str]]) -> None:
        self._text = (ROOT / "docs" / "tutorials" / name).read_text()
        self._seen = {command: list(patterns) for command, patterns in seen.items()}

    def typed(self) -> list[tuple[str, str]]:
        """Its commands in order, each with what stands behind the block's `sh`: where it is typed."""
        blocks = re.findall(r"^```sh (.*)\n((?:.*\n)*?)```$", self._text, re.MULTILINE)
        split = {"mininet": lambda text: text.splitlines(keepends=True)}
        return [(where, line) for where, text in blocks for line in split.get(where, _commands)(text)]

    def shown(self, command: str) -> str:
        """What is to be seen of a command that is typed now."""
        found = [texts for start, texts in self._seen.items() if command.startswith(start) and texts]
        return found[0].pop(0) if found else ""

    def check_done(self) -> None:
        assert not any(self._seen.values()), f"not on the page any more: {self._seen}"


def _commands(text: str) -> Iterator[str]:
    """A block's commands: a here-document is part of its own."""
    command = ""
    for line in text.splitlines(keepends=True):
        command += line
        done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and "here-document" not in done.stderr:
            yield command
            command = ""
    assert not command


class Terminal:
    """A shell that is typed into; whatever it starts ends with it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    def type(self, command: str) -> tuple[int, str]:
        """A command's status, and what it printed; none takes longer than `PATIENCE_S`."""
        output = self.enter(f"{command}\nprintf '\\nDONE %s.\\n' $?\n", DONE)
        text, status, late = re.split(DONE, output, maxsplit=1, flags=re.MULTILINE)
        return int(status), text + late  # what is in the background may end, and say so, after it

    def enter(self, text: str, end: str) -> str:
        """Type what another program reads: what is printed then, up to the pattern `end`."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()
        alarm = threading.Timer(PATIENCE_S, self.end)
        alarm.start()
        output = ""
        while piece := os.read(self._shell.stdout.fileno(), 65536):
            output += piece.decode(errors="replace").replace("\r", "")  # nodes of Mininet have a tty
            if re.search(end, output, re.MULTILINE):
                alarm.cancel()
                return output
        raise AssertionError(f"{text} ended the terminal, or took too long: {output}")

    def end(self) -> None:
        if self._shell.poll() is None:
            os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()


def at_prompt(terminal: Terminal, command: str) -> tuple[int, str]:
    """Type what starts `mn`, what is typed at its prompt, or the `exit` that ends it."""
    end = r"^completed in .*\n" if command == "exit\n" else "mininet> "
    return 0, terminal.enter(command, end)


def follow(page: Page, type_in: Callable[[str, str], tuple[int, str]]) -> None:
    """Type a page's commands, each by `type_in(where, command)`, and see what the reader is told to see.

    What only shows the state is typed again until it shows what the page says.
    """
    for where, command in page.typed():
        pattern = page.shown(command)
        shows = re.match(r"(sh )?catenary (status|chain list|plan|autoscale show|history --kind)", command)
        limit = time.monotonic() + (PATIENCE_S if shows else 0.0)
        while True:
            code, output = type_in(where, command)
            assert code == (2 if where == "refused" else 0), f"{command}{output}"
            if re.search(pattern, output, re.MULTILINE):
                break
            assert time.monotonic() < limit, f"{command}{output}\nlacks {pattern}"
    page.check_done()
