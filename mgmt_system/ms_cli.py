"""`catenary ms run`: the management system itself."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from catenary import durations
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
from mgmt_system.options import EtcdCa, EtcdCert, EtcdKey, EtcdUser

_TURN_S = 0.0005
"""A turn of Python's threads, in seconds: while a plan computes, each other request needs many of them."""
_GARBAGE = 10_000
"""Objects that come before garbage is looked for: all threads rest meanwhile, 0.1 s if there are many."""

ms_app = typer.Typer(no_args_is_help=True, help="The management system itself.")


@ms_app.callback()
def _group() -> None:
    """Keeps `ms` a group although it has one command only."""


@ms_app.command("run")
def run(
    network: Annotated[Path, typer.Option(help="Network file (YAML).")],
    db: Annotated[
        str,
        typer.Option(help="SQLite database, made if it is not there; or etcd://HOST:PORT,..., or etcds://"),
    ],
    journal_size: Annotated[
        float, typer.Option(help="Megabytes of journal to keep; the oldest entries go.", min=0.0)
    ] = 64.0,
    journal_age: Annotated[str, typer.Option(help="How long to keep the journal: 90d, 12h.")] = "90d",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    advertise: Annotated[
        str | None,
        typer.Option(help="With etcd: the URL at which others reach this one, if not where it listens."),
    ] = None,
    etcd_ca: EtcdCa = None,
    etcd_cert: EtcdCert = None,
    etcd_key: EtcdKey = None,
    etcd_user: EtcdUser = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_ca: TlsCaOption = None,
    tokens: TokensOption = None,
    balancer_token_file: Annotated[Path | None, typer.Option(help="Token of the load balancers.")] = None,
    balancer_ca: Annotated[
        Path | None, typer.Option(help="CA of the load balancers (PEM) [default: --tls-ca].")
    ] = None,
    controller_token_file: Annotated[Path | None, typer.Option(help="Token of the controller.")] = None,
    controller_ca: Annotated[
        Path | None, typer.Option(help="CA of the controller (PEM) [default: --tls-ca].")
    ] = None,
    own_cert: Annotated[
        Path | None, typer.Option(help="What other parts are shown, if not --tls-cert (PEM).")
    ] = None,
    own_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    hooks: Annotated[
        Path | None, typer.Option(help="Folder of the programs that provisioners of chains may run.")
    ] = None,
    dashboard_port: Annotated[
        int | None,
        typer.Option("--dashboard", help="Serve the dashboard too, on this port of the same address."),
    ] = None,
    log_level: LogLevelOption = LogLevel.INFO,
    log_format: LogFormatOption = LogFormat.AUTO,
) -> None:
    """Run the management system until SIGTERM.

    Examples:

        catenary ms run --network network.yaml --db /var/lib/catenary/ms.db

        catenary ms run --network network.yaml --db /var/lib/catenary/ms.db --dashboard 8090

        catenary ms run --network network.yaml --db etcd://127.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379
    """
    # Imported here: an operator's command should not wait for what only the service needs.
    from catenary import capabilities, logs
    from catenary.service import run as serve
    from catenary.service import server
    from catenary.tls import Identity
    from mgmt_system.dashboard_child import beside
    from mgmt_system.journal import Retention
    from mgmt_system.peers import Secrets
    from mgmt_system.rest import create
    from mgmt_system.service import Running
    from mgmt_system.store.access import Access

    logs.configure(log_level, log_format, service="ms")
    listen = Listen(host, port, tls_cert, tls_key, tls_ca, tokens)
    callers = listen.callers()
    shown = Identity.given(own_cert, own_key, "--own-cert and --own-key") or listen.identity
    secrets = Secrets(
        controller_token_file,
        controller_ca or tls_ca,
        balancer_token_file,
        balancer_ca or tls_ca,
        shown,
    )
    rest_socket = listen.bind()
    capabilities.keep()
    retention = Retention(int(journal_size * 1e6), durations.parse(journal_age))
    access = Access(etcd_ca, Identity.given(etcd_cert, etcd_key, "--etcd-cert and --etcd-key"), etcd_user)
    running = Running.from_files(
        network, db, advertise or listen.url, secrets, retention, access=access, hooks=hooks
    )
    sys.setswitchinterval(_TURN_S)
    uvicorn_server = server(create(running, callers), listen)
    gc.freeze()  # what is loaded by now stays
    gc.set_threshold(_GARBAGE)

    def stop() -> None:
        uvicorn_server.should_exit = True

    running.on_failure = stop
    with beside(listen, dashboard_port, callers):
        serve(uvicorn_server, [rest_socket])
    if running.failed or not uvicorn_server.started:
        raise CatenaryError("the management system stopped after an error: see its log")
