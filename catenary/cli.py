"""The command `catenary`: every package adds its own Typer app under the entry-point group
`catenary.commands`, and this page only joins them and turns errors into exit codes."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer

from catenary import __version__, certs_cli, token_cli
from catenary.errors import CatenaryError

GROUP = "catenary.commands"


def build() -> typer.Typer:
    """The whole command: the apps of all packages, joined at the top level."""
    app = typer.Typer(
        name="catenary",
        help="Scale service function chains under live traffic: no session ever crosses two chains.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )

    @app.command()
    def version() -> None:
        """Print the version."""
        typer.echo(__version__)

    app.add_typer(token_cli.app, name="token")
    app.add_typer(certs_cli.app, name="certs")
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        part: typer.Typer = entry.load()
        app.registered_commands += part.registered_commands
        app.registered_groups += part.registered_groups
    return app


def main() -> None:
    try:
        build()()
    except CatenaryError as error:
        print(f"catenary: {error.detail}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
