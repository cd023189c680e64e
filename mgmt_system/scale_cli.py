"""`catenary autoscale`: segments that scale by themselves; `catenary canary`: chains on trial."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from catenary import wire
from catenary.autoscale import Mode
from catenary.client import ManagementClient
from catenary.errors import Conflict, InvalidValue, NotFound
from mgmt_system import config_cli, progress, scale_tables, tables
from mgmt_system.options import ChainName, IfMatch, Json, NoWait, Timeout, Why

autoscale_app = typer.Typer(no_args_is_help=True, help="Segments that scale by themselves.")
canary_app = typer.Typer(no_args_is_help=True, help="Chains of a new version, with a share of new sessions.")
Segment = Annotated[str, typer.Argument(help="Name of the segment.")]


@autoscale_app.command("show")
def show(
    segment: Annotated[str | None, typer.Argument(help="Name of the segment; all without it.")] = None,
    json: Json = False,
) -> None:
    """Show what each autoscaler decided last, and why.

    Examples:

        catenary autoscale show

        catenary autoscale show main --json
    """
    with ManagementClient.from_environment() as client:
        views = client.autoscalers()
    if segment is None:
        tables.show(views, json, scale_tables.autoscalers)
        return
    found = [view for view in views if view.segment == segment]
    if not found:
        known = ", ".join(view.segment for view in views) or "none"
        raise NotFound(f"segment {segment!r} has no autoscaler: there is {known}")
    tables.show(found[0], json, scale_tables.autoscaler)


@autoscale_app.command("pause")
def pause(segment: Segment, why: Why = None, json: Json = False) -> None:
    """Have the autoscaler of a segment rest: its chains are yours until it is resumed.

    Example:

        catenary autoscale pause main --why 'new switches tonight'
    """
    _set(segment, "paused", why, json)


@autoscale_app.command("resume")
def resume(segment: Segment, why: Why = None, json: Json = False) -> None:
    """Have the autoscaler of a segment act, after a pause or a dry run.

    Example:

        catenary autoscale resume main
    """
    _set(segment, "act", why, json)


@autoscale_app.command("dry-run")
def dry_run(segment: Segment, why: Why = None, json: Json = False) -> None:
    """Have the autoscaler of a segment only tell what it would do: see autoscale show and history.

    Example:

        catenary autoscale dry-run main
    """
    _set(segment, "dry-run", why, json)


def _set(segment: str, mode: Mode, why: str | None, json: bool) -> None:
    with ManagementClient.from_environment(why) as client:
        operation = client.set_autoscale_mode(segment, mode)
        if operation is not None:
            client.wait(operation, timeout=60.0)
        view = next(view for view in client.autoscalers() if view.segment == segment)
    tables.show(view, json, scale_tables.autoscaler)


@canary_app.command("start")
def start(
    nf: Annotated[list[str], typer.Option("--nf", help="An NF of the chain; repeat it, client side first.")],
    share: Annotated[int, typer.Option(help="Percent of new sessions, 1 to 50.")] = 5,
    name: Annotated[str | None, typer.Option(help="Name of the chain; made up if not given.")] = None,
    segment: Annotated[str | None, typer.Option(help="Segment; needed if there are several.")] = None,
    no_wait: NoWait = False,
    timeout: Timeout = 60.0,
    why: Why = None,
    json: Json = False,
) -> None:
    """Add a chain with NFs of a new version, which gets a share of new sessions beside however many others.

    Examples:

        catenary canary start --nf firewall-v2 --share 5 --name trial

        catenary canary start --nf n3 --segment main --why 'version 2 of the rules'
    """
    try:
        request = wire.ChainRequest(nfs=nf, name=name, segment=segment, canary=share)
    except ValidationError as error:
        raise InvalidValue(wire.explain(error.errors())) from error
    with ManagementClient.from_environment(why) as client:
        progress.finish(client, client.add_chain(request), no_wait, timeout, json)


@canary_app.command("promote")
def promote(name: ChainName, if_match: IfMatch = None, why: Why = None, json: Json = False) -> None:
    """Make a canary a chain like the others, with their weight. Those of the old version you remove then.

    Example:

        catenary canary promote trial
    """
    with ManagementClient.from_environment(why) as client:
        chain = client.promote_canary(name, match=if_match)
    tables.show(chain, json, tables.chain)


@canary_app.command("withdraw")
def withdraw(
    name: ChainName,
    deadline: config_cli.Deadline = None,
    then: config_cli.Then = None,
    no_wait: NoWait = False,
    timeout: Timeout = 8000.0,
    why: Why = None,
    json: Json = False,
) -> None:
    """Remove a canary: it gets no new session, and goes when its last one has ended, or at the deadline.

    Examples:

        catenary canary withdraw trial

        catenary canary withdraw trial --deadline 30s --then rebalance
    """
    with ManagementClient.from_environment(why) as client:
        chain = client.chain(name)
        if chain.canary is None:
            raise Conflict(f"chain {name!r} is no canary: remove it with catenary chain remove")
        operation = client.remove_chain(
            name,
            match=chain.revision,
            deadline=config_cli.seconds_of(deadline),
            then=config_cli.then_of(then),
        )
        progress.finish(client, operation, no_wait, timeout, json)
