"""`catenary controller run`: the OpenFlow side in os-ken's threads, REST in the main one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

from catenary.errors import CatenaryError
from catenary.listen import Listen
from catenary.options import (
    LogFormat,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TokensOption,
)
from controller.listener import SwitchListen, admit

STATE_HELP = (
    "File that keeps the steered chains over a restart. Without it a restarted controller knows of none, and "
    "removes their rules until they are steered again."
)

app = typer.Typer()
controller = typer.Typer(no_args_is_help=True, help="The OpenFlow controller.")
app.add_typer(controller, name="controller")


@app.callback()
def _group() -> None:
    """Keeps `controller` a group of its own although it is the only one here."""


@controller.command()
def run(
    network: Annotated[Path, typer.Option(help="The network file (YAML).")],
    openflow_host: Annotated[
        str, typer.Option(help="Address that switches connect to; any but a loopback one needs TLS.")
    ] = "127.0.0.1",
    openflow_port: Annotated[int, typer.Option(help="TCP port that switches connect to.")] = 6653,
    openflow_tls_cert: Annotated[
        Path | None, typer.Option(help="TLS certificate that switches are shown (PEM).")
    ] = None,
    openflow_tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    openflow_tls_ca: Annotated[
        Path | None, typer.Option(help="CA of switches: one without a certificate of it is refused.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help=STATE_HELP)] = None,
    host: Annotated[str, typer.Option(help="Address of the REST interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port of the REST interface.")] = 8081,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_ca: TlsCaOption = None,
    tokens: TokensOption = None,
    log_level: LogLevelOption = LogLevel.INFO,
    log_format: LogFormatOption = LogFormat.AUTO,
) -> None:
    """Run the controller until SIGTERM or SIGINT. Rules stay in the switches when it ends.

    Examples:

        catenary controller run --network network.yaml --state /var/lib/catenary/controller.json

        catenary controller run --network network.yaml --openflow-host 192.0.2.10
            --openflow-tls-cert controller.pem --openflow-tls-key controller.key --openflow-tls-ca ca.pem
    """
    # Imported here, and below: `catenary --help` should not wait for it.
    from catenary import logs

    try:
        switches = SwitchListen(
            openflow_host, openflow_port, openflow_tls_cert, openflow_tls_key, openflow_tls_ca
        )
        listen = Listen(host, port, tls_cert, tls_key, tls_ca, tokens)
        logs.configure(log_level, log_format, service="controller")
        _serve(listen, switches, network, state)
    except CatenaryError as error:
        typer.echo(f"catenary controller: {error.detail}", err=True)
        raise typer.Exit(error.exit_code) from error


def _serve(listen: Listen, switches: SwitchListen, network: Path, state: Path | None) -> None:
    from catenary import capabilities
    from catenary.service import run as serve
    from catenary.service import server
    from controller import app as openflow
    from controller import rest
    from controller.conductor import Conductor
    from controller.config import load_network

    context = switches.context()
    conductor = Conductor(load_network(network), state)
    callers = listen.callers()
    openflow_socket, rest_socket = switches.bind(), listen.bind()
    capabilities.keep()
    conductor.fabric.start()
    admit(openflow_socket, context, openflow.start(conductor.fabric))
    code = 1
    try:
        serve(server(rest.build(conductor, callers), listen), [rest_socket])
        code = 0
    except Exception:  # noqa: BLE001 - told in full; os-ken's threads would keep a broken process alive
        structlog.get_logger("controller").exception("the REST interface failed")
    conductor.fabric.stop()
    # os-ken's threads can't be ended: leave without waiting for them, flushed first.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
