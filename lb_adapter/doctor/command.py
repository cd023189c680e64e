"""`catenary doctor`: what a host lacks for a load balancer, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from lb_adapter.dataplane.base import PINS_DEFAULT
from lb_adapter.options import DataPlaneOption, both_ports


def doctor(
    outer: Annotated[
        str | None, typer.Option(help="Interface that shall be towards clients or servers.")
    ] = None,
    inner: Annotated[str | None, typer.Option(help="Interface that shall be towards the chains.")] = None,
    data_plane: Annotated[
        DataPlaneOption, typer.Option(help="What shall carry the packets: it must work, others may.")
    ] = DataPlaneOption.EBPF,
    sessions: Annotated[int, typer.Option(help="Size that the session table shall have.")] = PINS_DEFAULT,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Check this host, before a load balancer is started on it, and say what to do.

    The data planes are tried over tables and in a network of their own: nothing of the host is changed, and
    packets go on if a load balancer runs. Without root these trials are skipped. The exit status is 1 if
    something is a fault.

    Examples:

        catenary doctor

        catenary doctor --outer eth2 --inner eth1 --sessions 4000000

        catenary doctor --outer eth2 --inner eth1 --data-plane af_packet --json
    """
    from json import dumps

    from lb_adapter.dataplane.tables import check_pins
    from lb_adapter.doctor import checks, host, links
    from lb_adapter.doctor.facts import Plan

    names = both_ports(outer, inner)
    check_pins(sessions)
    plan = Plan(data_plane.value, sessions)
    ports = links.look(*names, plan) if names is not None else None
    findings = checks.examine(host.look(plan, (*checks.TOOLS, *checks.TESTBED)), ports, plan)
    if json:
        typer.echo(dumps(checks.as_json(findings), indent=2))
    else:
        for line in checks.as_text(findings):
            typer.echo(line)
    if checks.faults(findings):
        raise typer.Exit(1)
