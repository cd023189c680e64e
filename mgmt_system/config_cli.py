"""Commands about the configuration as a whole: plan, apply, diff, export, schema; and `catenary service`."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from catenary import durations, wire
from catenary.client import ManagementClient
from catenary.config import ServiceConfig
from catenary.config import schema as config_schema
from catenary.document import Document, Fault, check
from catenary.errors import Conflict, InvalidValue, NotFound
from catenary.plans import PlanView
from mgmt_system import plan_tables, progress, tables
from mgmt_system.options import Json, NoWait, Revision, Timeout, Why

DIFFERS = 1
"""Exit code of `catenary diff` when the file says something else than what is in force."""

service_app = typer.Typer(no_args_is_help=True, help="Services: their segments in a row, and their chains.")

File = Annotated[Path, typer.Option("--file", "-f", help="Configuration (YAML); - is standard input.")]
Force = Annotated[bool, typer.Option("--force", help="Even if a segment is left without a chain.")]
Deadline = Annotated[
    str | None, typer.Option(help="End what is left on a removed chain so long after it is let go: 60s, 5m.")
]
Then = Annotated[str | None, typer.Option(help="What becomes of it then: reset or rebalance.")]
IfConfigMatch = Annotated[
    str | None,
    typer.Option("--if-match", help="Only if what is in force is as it was read, by export --revision."),
]


def plan(
    file: File, force: Force = False, deadline: Deadline = None, then: Then = None, json: Json = False
) -> None:
    """Show what applying a file would change now, and what that costs. Changes nothing.

    Exit code 2 if it can't be applied; each reason is told with file and line.

    Examples:

        catenary plan -f service.yaml

        catenary plan -f service.yaml --deadline 5m --then reset
    """
    document, config = _read(file)
    with ManagementClient.from_environment() as client:
        view = client.plan(config, force=force, deadline=seconds_of(deadline), then=then_of(then))
    tables.show(view, json, plan_tables.plan)
    refuse(document, view)


def apply(
    file: File,
    token: Annotated[str | None, typer.Option("--plan", help="Token of the plan that was looked at.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    force: Force = False,
    deadline: Deadline = None,
    then: Then = None,
    if_match: IfConfigMatch = None,
    no_wait: NoWait = False,
    timeout: Timeout = 8000.0,
    why: Why = None,
    json: Json = False,
) -> None:
    """Make a file true: chains, NFs and segments come, change and go until all is as it says.

    The plan is shown and confirmed first. With --plan, the one that was looked at before is applied, and
    refused if anything changed since. What a segment gets and loses goes together.

    Examples:

        catenary apply -f service.yaml

        catenary apply -f service.yaml --yes --no-wait --why 'a second firewall for the evening'

        catenary apply -f service.yaml --plan 12-6c1b1f0a3e5d9b42-0f6f1e2d3c4b5a69

        catenary apply -f service.yaml --if-match 12-6c1b1f0a3e5d9b42
    """
    document, config = _read(file)
    seconds, end = seconds_of(deadline), then_of(then)
    with ManagementClient.from_environment(why) as client:
        if token is None:
            view = client.plan(config, force=force, deadline=seconds, then=end)
            _confirm(document, view, yes, json)
            token = view.token
        operation = client.apply(config, token=token, match=if_match, force=force, deadline=seconds, then=end)
        if operation is None:
            _say_nothing(json)
            return
        if not no_wait:
            operation = progress.follow_apply(client, operation, timeout, Console(stderr=True))
    tables.show(operation, json, plan_tables.operation)


def diff(file: File, json: Json = False) -> None:
    """Compare a file with what is in force. Exit code 0: they say the same; 1: they differ.

    Example:

        catenary diff -f service.yaml
    """
    _, config = _read(file)
    with ManagementClient.from_environment() as client:
        view = client.plan(config, force=True)
    tables.show(view.changes, json, plan_tables.changes)
    if view.changes:
        raise typer.Exit(DIFFERS)


def export(revision: Revision = False, json: Json = False) -> None:
    """Print what is in force as a file that `catenary apply` takes.

    Examples:

        catenary export > service.yaml

        catenary export --revision
    """
    with ManagementClient.from_environment() as client:
        if revision:
            print(client.config_revision())
            return
        config = client.config()
    print(dumps(_said(config), indent=2) if json else written(config).rstrip())


def written(config: ServiceConfig) -> str:
    """As a file that can be applied."""
    return yaml.safe_dump(_said(config), sort_keys=False, width=110)


def _said(config: ServiceConfig) -> Any:
    return config.model_dump(mode="json", exclude_defaults=True)


def schema() -> None:
    """Print the JSON schema of the file, for editors and other tools.

    Example:

        catenary schema > service.schema.json
    """
    print(dumps(config_schema(), indent=2))


@service_app.command("list")
def list_services(json: Json = False) -> None:
    """List all services. A segment that none names is a service of its own name.

    Example:

        catenary service list
    """
    with ManagementClient.from_environment() as client:
        services = client.services()
    tables.show(services, json, plan_tables.services)


@service_app.command("show")
def show_service(
    name: Annotated[str, typer.Argument(help="Name of the service.")], json: Json = False
) -> None:
    """Show a service: its segments in a row, and their chains with their load.

    Example:

        catenary service show web
    """
    with ManagementClient.from_environment() as client:
        service = client.service(name)
    tables.show(service, json, plan_tables.service)


def register(app: typer.Typer) -> None:
    for command in (plan, apply, diff, export, schema):
        app.command(command.__name__)(command)
    app.add_typer(service_app, name="service")


def then_of(text: str | None) -> wire.Then | None:
    match text:
        case None | "reset" | "rebalance":
            return text
    raise InvalidValue(f"{text!r} is no end of a session: use --then reset or --then rebalance")


def seconds_of(deadline: str | None) -> float | None:
    return None if deadline is None else durations.parse(deadline)


def _read(file: Path) -> tuple[Document, ServiceConfig]:
    """Raises `NotFound` for a file that can't be read, `InvalidValue` with a line for each fault."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{file} can't be read: {error}") from error
    document = Document(text, "standard input" if str(file) == "-" else str(file))
    return document, check(ServiceConfig, document)


def refuse(document: Document, view: PlanView) -> None:
    """Raises `InvalidValue` with file and line of all that the plan is refused for."""
    if view.refused:
        raise document.refusal([Fault(tuple(fault.key), fault.text) for fault in view.refused])


def _confirm(document: Document, view: PlanView, yes: bool, json: bool) -> None:
    if not json:
        tables.show(view, json, plan_tables.plan)
    refuse(document, view)
    if yes or not view.changes:
        return
    if json or not sys.stdin.isatty():
        raise Conflict("nobody is there to confirm the plan: use --yes, or --plan TOKEN of the plan you saw")
    typer.confirm("Apply this?", abort=True, err=True)


def _say_nothing(json: bool) -> None:
    print("null" if json else "nothing to do: all is as the file says")
