"""Runs the command `catenary` with the management system's part of it, in this process."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import typer
from structlog.testing import capture_logs

from catenary import cli
from mgmt_system import progress
from mgmt_system.cli import app
from mgmt_system.rest import create
from tests.serving import serving
from tests.unit.mgmt_fakes import Site

Run = Callable[[str], tuple[int, str, str]]
"""`run("chain list")` -> exit code, stdout, stderr."""


class _Entry:
    name = "mgmt_system"

    def load(self) -> typer.Typer:
        return app


def run_command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Its exit code; what it prints goes to stdout and stderr."""
    monkeypatch.setattr(cli, "entry_points", lambda group: [_Entry()])
    monkeypatch.setattr("sys.argv", ["catenary", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@contextmanager
def commands(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Commands that talk to the site's management system, over REST."""
    monkeypatch.setattr(progress, "POLL", 0.005)

    def run(words: str) -> tuple[int, str, str]:
        code = run_command(monkeypatch, *shlex.split(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    with capture_logs(), serving(create(site.running(), None)) as url:  # the service logs in this process
        monkeypatch.setenv("CATENARY_URL", url)
        yield run
