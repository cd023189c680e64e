"""`catenary token`: who may call a service, and as what."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from catenary import callers
from catenary.client import ManagementClient
from catenary.roles import Caller, Role
from catenary.token import write_private

app = typer.Typer(no_args_is_help=True, help="Tokens of those who call a service: add, list, revoke.")
Table = Annotated[Path, typer.Option("--tokens", help="The service's token table: its --tokens.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[str, typer.Argument(help="Who or what bears it: alice, ms, backup.")]


@app.command()
def add(
    name: Name,
    tokens: Table,
    role: Annotated[
        Role,
        typer.Option(help="viewer: looks. operator: changes chains and sessions. admin: all of it."),
    ] = Role.VIEWER,
    save: Annotated[
        Path | None, typer.Option(help="Write the token to this file, for CATENARY_TOKEN_FILE.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a token. It is shown or saved now and never again: the table has only its hash.

    A running service takes it at once.

    Examples:

        catenary token add alice --role operator --tokens /etc/catenary/tokens --save alice.token

        catenary token add watcher --tokens /etc/catenary/tokens --json
    """
    caller, token = Caller(name, role), callers.new_token()
    known = callers.load(tokens) if tokens.exists() else {}
    table = callers.added(known, caller, token)
    if save is not None:
        write_private(save, token + "\n")
    write_private(tokens, callers.written(table))
    if json:
        where = {"token": token} if save is None else {"file": str(save)}
        typer.echo(dumps({"name": name, "role": role, **where}))
    elif save is None:
        typer.echo(token)


@app.command("list")
def list_tokens(tokens: Table, json: Json = False) -> None:
    """List whose tokens a service takes, and their roles.

    Example:

        catenary token list --tokens /etc/catenary/tokens
    """
    known = sorted(callers.load(tokens).values(), key=lambda caller: caller.name)
    if json:
        typer.echo(dumps([{"name": caller.name, "role": caller.role} for caller in known]))
        return
    for caller in known:
        typer.echo(f"{caller.role:<9} {caller.name}")


@app.command()
def revoke(name: Name, tokens: Table, json: Json = False) -> None:
    """Take a token back: a running service refuses it from now on.

    Example:

        catenary token revoke alice --tokens /etc/catenary/tokens
    """
    left = callers.revoked(callers.load(tokens), name)
    write_private(tokens, callers.written(left))
    if json:
        typer.echo(dumps({"revoked": name}))


@app.command()
def whoami(json: Json = False) -> None:
    """Say as whom the management system knows you, by CATENARY_TOKEN_FILE.

    Example:

        catenary token whoami
    """
    with ManagementClient.from_environment() as client:
        caller = client.caller()
    typer.echo(caller.model_dump_json() if json else f"{caller.name}: {caller.role}")
