"""The command: one app from all packages; an error's text and exit code reach the shell."""

from __future__ import annotations

import pytest
import typer

from catenary import __version__, cli
from catenary.errors import InvalidValue


class Entry:
    def __init__(self, name: str, app: typer.Typer) -> None:
        self.name, self._app = name, app

    def load(self) -> typer.Typer:
        return self._app


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    group = typer.Typer()
    app.add_typer(group, name="chain")

    @group.command()
    def fail() -> None:
        raise InvalidValue("forward tag 0 is out of range: use 1..4094")

    @group.command()
    def fine() -> None:
        typer.echo("fine")

    monkeypatch.setattr(cli, "entry_points", lambda group: [Entry("one", app)])


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["catenary", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.usefixtures("command")
def test_commands_of_a_package_stand_at_the_top_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "chain", "fine") == 0
    assert capsys.readouterr().out == "fine\n"


@pytest.mark.usefixtures("command")
def test_a_refusal_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "chain", "fail") == 2
    assert capsys.readouterr().err == "catenary: forward tag 0 is out of range: use 1..4094\n"


@pytest.mark.usefixtures("command")
def test_it_knows_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "version") == 0
    assert capsys.readouterr().out.strip() == __version__
