"""Commands of operators: `catenary chain`, `catenary status`, `catenary rebalance`; and `catenary ms run`."""

from __future__ import annotations

import time
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from catenary import durations, moments, wire
from catenary.chain import WEIGHT_DEFAULT
from catenary.client import ManagementClient
from catenary.errors import InvalidValue
from mgmt_system import config_cli, progress, tables
from mgmt_system.backup_cli import backup, restore
from mgmt_system.capture_cli import capture
from mgmt_system.dashboard_cli import dashboard
from mgmt_system.explain_cli import explain
from mgmt_system.history_cli import history
from mgmt_system.ms_cli import ms_app
from mgmt_system.operation_cli import operation_app
from mgmt_system.options import (
    ChainName,
    IfListMatch,
    IfMatch,
    Json,
    NoWait,
    Revision,
    Timeout,
    Why,
    tags_of,
)
from mgmt_system.scale_cli import autoscale_app, canary_app
from mgmt_system.session_cli import session_app, sessions
from mgmt_system.top_cli import top

M = TypeVar("M", bound=BaseModel)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
chain_app = typer.Typer(no_args_is_help=True, help="Add, list, show, cordon and remove chains.")
app.add_typer(chain_app, name="chain")
segment_app = typer.Typer(no_args_is_help=True, help="List segments, and put a pair into the way of traffic.")
app.add_typer(segment_app, name="segment")
app.add_typer(ms_app, name="ms")
app.add_typer(session_app, name="session")
app.add_typer(operation_app, name="operation")
app.add_typer(autoscale_app, name="autoscale")
app.add_typer(canary_app, name="canary")
config_cli.register(app)

app.command("history")(history)
app.command("explain")(explain)
app.command("capture")(capture)
app.command("top")(top)
app.command("dashboard")(dashboard)
app.command("sessions")(sessions)
app.command("backup")(backup)
app.command("restore")(restore)


@chain_app.command("add")
def add(
    nf: Annotated[list[str], typer.Option("--nf", help="An NF of the chain; repeat it, client side first.")],
    name: Annotated[str | None, typer.Option(help="Name of the chain; made up if not given.")] = None,
    tags: Annotated[str | None, typer.Option(help="Tag pair FORWARD,REVERSE; else chosen.")] = None,
    weight: Annotated[int, typer.Option(help="Share of new sessions; 0 = none yet.")] = WEIGHT_DEFAULT,
    segment: Annotated[str | None, typer.Option(help="Segment; needed if there are several.")] = None,
    if_match: IfListMatch = None,
    no_wait: NoWait = False,
    timeout: Timeout = 60.0,
    why: Why = None,
    json: Json = False,
) -> None:
    """Add a chain and wait until it takes sessions.

    Examples:

        catenary chain add --nf n2

        catenary chain add --nf firewall-2 --nf ids-2 --name second --tags 4,5

        catenary chain add --segment first --nf n3
    """
    pair = tags_of(tags) if tags is not None else None
    request = _request(wire.ChainRequest, nfs=nf, name=name, tags=pair, weight=weight, segment=segment)
    with ManagementClient.from_environment(why) as client:
        operation = client.add_chain(request, match=if_match)
        progress.finish(client, operation, no_wait, timeout, json)


@chain_app.command("list")
def list_chains(
    at: Annotated[
        str | None, typer.Option(help="As they were at a moment: 2026-03-01T14:30, or 10m ago: 10m.")
    ] = None,
    revision: Revision = False,
    json: Json = False,
) -> None:
    """List all chains that are not removed, or that were not at a past moment.

    Those of now with what probes say of them, where their segment has a health check: up, down or unproven,
    and how long the last probe took.

    Examples:

        catenary chain list

        catenary chain list --at 10m
    """
    if at is not None and revision:
        raise InvalidValue("the past has no revision: leave out --at, or --revision")
    moment = None if at is None else moments.parse(at, time.time())
    with ManagementClient.from_environment() as client:
        if revision:
            print(client.chains_revision())
            return
        chains = client.status().chains if moment is None else client.chains(moment)
    tables.show(chains, json, tables.chains)


@chain_app.command("show")
def show(name: ChainName, json: Json = False) -> None:
    """Show one chain, with what probes say of it if its segment has a health check.

    Example:

        catenary chain show chain-1
    """
    with ManagementClient.from_environment() as client:
        chain = client.chain(name)  # a removed one, too, of which no master tells
        now = [item for item in client.status().chains if item.name == name]
    tables.show(now[0] if now else chain, json, tables.chain)


@chain_app.command("remove")
def remove(
    name: ChainName,
    force: Annotated[
        bool, typer.Option("--force", help="Even the last active one: traffic is then dropped.")
    ] = False,
    deadline: Annotated[
        str | None, typer.Option(help="End what is left after this long: 60s, 5m; 0 = at once.")
    ] = None,
    then: Annotated[
        str | None, typer.Option(help="What becomes of it then: reset (both ends are told) or rebalance.")
    ] = None,
    if_match: IfMatch = None,
    no_wait: NoWait = False,
    timeout: Timeout = 8000.0,
    why: Why = None,
    json: Json = False,
) -> None:
    """Remove a chain: it gets no new session, keeps its live ones, and goes when the last has ended.

    With a deadline, what is left by then is reset (TCP; anything else is moved), or moved to other chains,
    and counted. A removal under way takes one, or another one unless it has come.

    Examples:

        catenary chain remove chain-2

        catenary chain remove chain-2 --deadline 60s --then reset

        catenary chain remove chain-1 --force --no-wait
    """
    seconds = None if deadline is None else durations.parse(deadline)
    choice = config_cli.then_of(then)
    with ManagementClient.from_environment(why) as client:
        operation = client.remove_chain(name, force=force, deadline=seconds, then=choice, match=if_match)
        progress.finish(client, operation, no_wait, timeout, json)


@chain_app.command("cancel")
def cancel(
    name: ChainName,
    if_match: IfMatch = None,
    no_wait: NoWait = False,
    timeout: Timeout = 60.0,
    why: Why = None,
    json: Json = False,
) -> None:
    """Cancel a chain's removal while it cools down: it takes new sessions again.

    It fails if its pair is closed by then, and is refused once it is drained.

    Example:

        catenary chain cancel chain-2
    """
    with ManagementClient.from_environment(why) as client:
        operation = client.cancel_removal(name, match=if_match)
        progress.finish(client, operation, no_wait, timeout, json)


@chain_app.command("cordon")
def cordon(
    name: ChainName,
    force: Annotated[bool, typer.Option("--force", help="Even the last that takes sessions.")] = False,
    if_match: IfMatch = None,
    why: Why = None,
    json: Json = False,
) -> None:
    """Give a chain no new sessions; it keeps its live ones, and stays.

    Example:

        catenary chain cordon chain-2
    """
    with ManagementClient.from_environment(why) as client:
        chain = client.cordon_chain(name, force=force, match=if_match)
    tables.show(chain, json, tables.chain)


@chain_app.command("uncordon")
def uncordon(
    name: ChainName,
    if_match: IfMatch = None,
    why: Why = None,
    json: Json = False,
) -> None:
    """Give a cordoned chain its weight back.

    Example:

        catenary chain uncordon chain-2
    """
    with ManagementClient.from_environment(why) as client:
        chain = client.uncordon_chain(name, match=if_match)
    tables.show(chain, json, tables.chain)


@segment_app.command("list")
def list_segments(json: Json = False) -> None:
    """List all segments.

    Example:

        catenary segment list
    """
    with ManagementClient.from_environment() as client:
        segments = client.status().segments
    tables.show(segments, json, tables.segments)


@segment_app.command("insert")
def insert(
    name: Annotated[str, typer.Argument(help="Name of the segment.")],
    if_match: IfMatch = None,
    why: Why = None,
    json: Json = False,
) -> None:
    """Put a segment's pair around the chain that carries its traffic: live sessions stay on that chain.

    Example:

        catenary segment insert main
    """
    with ManagementClient.from_environment(why) as client:
        segment = client.insert(name, match=if_match)
    tables.show(segment, json, tables.segment)


@app.command()
def status(json: Json = False) -> None:
    """Show the parts, the chains with their load, and what the load balancers counted.

    Example:

        catenary status --json
    """
    with ManagementClient.from_environment() as client:
        view = client.status()
    tables.show(view, json, tables.status)


@app.command()
def rebalance(
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", help="New weight of a tag pair: FORWARD,REVERSE=WEIGHT; may be repeated."),
    ] = None,
    segment: Annotated[
        str | None, typer.Option(help="Segment; needed if there are several and no weights.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also while the session table overflows: may break sessions.")
    ] = False,
    move_idle: Annotated[
        str | None,
        typer.Option(
            help="Place sessions anew that are idle for this long (300s, 1h), and lease + 2 transit."
        ),
    ] = None,
    if_match: IfListMatch = None,
    why: Why = None,
    json: Json = False,
) -> None:
    """Spread new sessions afresh; live sessions stay where they are, but for idle ones if asked.

    Examples:

        catenary rebalance

        catenary rebalance --weight 2,3=50 --weight 4,5=100

        catenary rebalance --move-idle 300s
    """
    idle = None if move_idle is None else durations.parse(move_idle)
    weights = [_weight(text) for text in weight or []]
    request = _request(wire.Rebalance, weights=weights, force=force, move_idle=idle)
    with ManagementClient.from_environment(why) as client:
        chain_set = client.rebalance(request, segment=segment, match=if_match)
    tables.show(chain_set, json, tables.rebalanced)


def _weight(text: str) -> dict[str, int]:
    pair, separator, number = text.partition("=")
    if not separator or not number.strip().isdecimal():
        raise InvalidValue(f"{text!r} is not a weight: write FORWARD,REVERSE=WEIGHT such as 2,3=50")
    return tags_of(pair) | {"weight": int(number)}


def _request(model: type[M], **fields: Any) -> M:
    """A request; raises `InvalidValue` with the very text that the service would answer."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidValue(wire.explain(error.errors())) from error
