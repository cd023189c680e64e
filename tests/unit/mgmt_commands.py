"""Runs the command `catenary` with the management system's part of it, in this process."""

from __future__ import annotations

import pytest
import typer

from catenary import cli
from mgmt_system.cli import app


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
