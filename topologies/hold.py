"""`python -m topologies.NAME`: bring a network up and hold it until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from catenary.errors import CatenaryError
from catenary.wire import TimeoutsModel
from topologies import at, dashboard, namespaces
from topologies.nfs import catalog
from topologies.wiring import Attachment

TIMEOUTS = TimeoutsModel(tcp_closing=2, udp=5, other=5, neighbour=2, lease=1.25, transit=1)
"""Short, so that nobody waits long for a cool-down; a service on real networks keeps the defaults."""


def enter(links: Sequence[str] = ()) -> dashboard.Listening:
    """Go on in namespaces of its own, with these interfaces; for `up`, where browsers outside are heard."""
    listening = dashboard.listen()
    namespaces.isolate(links)
    return listening


@contextmanager
def up(testbed: Any, listening: dashboard.Listening) -> Iterator[None]:
    """A `Testbed` that is up, with a dashboard, and found by `topologies.at`; says where everything is."""
    with testbed, at.told({name: host.pid for name, host in testbed.hosts.items()}):
        typer.echo(testbed.describe())
        url = dashboard.start(testbed.services, testbed.hosts["root"], listening)
        testbed.services.wait_ready(["dashboard"])
        typer.echo(f"dashboard          {url}  (in a browser on this host)")
        yield


def command(bring_up: Callable[..., Any]) -> Callable[..., None]:
    """The command line of a network, for `typer.run`; `bring_up` is `Testbed`, with its blueprint."""

    def main(
        attach: Annotated[
            list[str] | None,
            typer.Option(help="External load balancer: l1=OUTER,INNER[,URL]; may be repeated."),
        ] = None,
        control: Annotated[str | None, typer.Option(help="Interface that joins the control network.")] = None,
        run_dir: Annotated[
            Path | None, typer.Option(help="Directory for logs, certificates and token.")
        ] = None,
        nf: Annotated[
            str | None, typer.Option(help=f"What all NFs are instead: {', '.join(catalog.NFS)}.")
        ] = None,
        nf_rate: Annotated[
            float, typer.Option(help="Capacity of each NF in Mbit/s; 0 is unlimited.", min=0)
        ] = 40.0,
        shell: Annotated[bool, typer.Option(help="Mininet's shell; leaving it ends the testbed.")] = False,
    ) -> None:
        """Bring the testbed up and hold it until Ctrl-C or SIGTERM.

        Examples:

            python -m topologies.testbed --nf suricata

            python -m topologies.testbed --nf-rate 0

            python -m topologies.testbed --attach l1=eth1,eth2,http://10.255.0.200:8082 --control eth3

            make testbed TESTBED_ARGS=--shell
        """
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        try:
            made = {} if nf is None else {"nf": catalog.named(nf)}
            attachments = [Attachment.parse(text) for text in attach or ()]
            ports = [port for item in attachments for port in (item.outer, item.inner)]
            listening = enter([*ports, *([control] if control else [])])
            options: dict[str, Any] = {"run_dir": run_dir, "attach": attachments, "control_port": control}
            options |= {**made, "nf_rate_mbit": nf_rate or None, "timeouts": TIMEOUTS}
            testbed = bring_up(**options)
            with up(testbed, listening):
                if shell:
                    testbed.wiring.shell()
                else:
                    _hold()
        except CatenaryError as error:
            typer.echo(f"testbed: {error.detail}", err=True)
            raise typer.Exit(error.exit_code) from error

    return main


def _hold() -> None:
    typer.echo("Up. Ctrl-C or SIGTERM ends it.")
    with suppress(KeyboardInterrupt):
        while True:
            signal.pause()
