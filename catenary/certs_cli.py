"""`catenary certs`: a small CA for a lab."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from catenary.errors import InvalidValue

app = typer.Typer(no_args_is_help=True, help="A small CA for a lab: certificates of all parts.")
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the CA and of what it signs.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="How long certificates are valid.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def init(
    directory: Directory,
    network: Annotated[
        Path | None, typer.Option(help="Network file: its controller and all its load balancers.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Another: NAME=ADDRESS, or NAME=ADDRESS,ADDRESS; may be repeated."),
    ] = None,
    days: Days = 365,
    json: Json = False,
) -> None:
    """Make a CA and a certificate for each part: ms, operator, and those that are named.

    What is there already stays, so a part can be added later. Every part may be called by 127.0.0.1 and
    localhost, too. DIR/ca.pem is for --tls-ca, DIR/NAME.pem for --tls-cert, DIR/NAME.key for --tls-key; keep
    DIR/ca.key to yourself.

    Examples:

        catenary certs init certs --network network.yaml

        catenary certs init certs --part l1=192.0.2.11 --part l2=192.0.2.12 --part controller=192.0.2.10

        catenary certs init switches --part controller=192.0.2.10 --part ovs-a=192.0.2.21
    """
    from catenary import certs

    parts: dict[str, list[str]] = {"ms": [], "operator": []}
    parts |= {} if network is None else _of(network)
    for text in part or []:
        name, separator, addresses = text.partition("=")
        if not separator or not addresses:
            raise InvalidValue(f"{text!r} is no part: write NAME=ADDRESS such as l1=192.0.2.11")
        parts[name] = addresses.split(",")
    _tell(certs.init(directory, parts, datetime.now(UTC), days), directory, json)


@app.command()
def renew(
    directory: Directory,
    names: Annotated[list[str] | None, typer.Argument(help="Parts; all of them if none is named.")] = None,
    days: Days = 365,
    json: Json = False,
) -> None:
    """Make new keys and certificates, for the same addresses. Running services take them at once.

    Examples:

        catenary certs renew certs

        catenary certs renew certs l1 l2 --days 90
    """
    from catenary import certs

    _tell(certs.renew(directory, names or [], datetime.now(UTC), days), directory, json)


@app.command()
def show(directory: Directory, json: Json = False) -> None:
    """Show all certificates: until when they are valid, and for which addresses.

    Example:

        catenary certs show certs
    """
    from catenary import certs
    from catenary.tls import validity

    folder, now = certs.Folder(directory), time.time()
    rows: list[dict[str, Any]] = []
    for name in folder.names():
        cert = folder.identity(name).cert
        until = validity(cert)[1]
        rows.append(
            {
                "name": name,
                "until": f"{datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}",
                "days": int((until - now) // 86400),
                "addresses": certs.addresses(cert),
            }
        )
    if json:
        typer.echo(dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['name']:<16} {row['until']} ({row['days']} days)  {', '.join(row['addresses'])}")


def _of(network: Path) -> dict[str, list[str]]:
    """The parts of a network file, and the hosts of their URLs."""
    from catenary.config import ServiceConfig

    try:
        config = ServiceConfig.load(network.read_text(), str(network))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"network file {network} can't be read: {error}") from error
    urls = {"controller": config.controller_url, **{name: one.url for name, one in config.balancers.items()}}
    return {name: [urlsplit(url).hostname or ""] for name, url in urls.items()}


def _tell(made: list[str], directory: Path, json: bool) -> None:
    if json:
        typer.echo(dumps({"made": made, "directory": str(directory)}))
    else:
        typer.echo(f"made in {directory}: {', '.join(made) or 'nothing, all is there'}")
