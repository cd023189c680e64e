"""`catenary operation`: calls that take time, which `--no-wait` leaves to themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from catenary.client import ManagementClient
from mgmt_system import tables
from mgmt_system.options import Json

operation_app = typer.Typer(no_args_is_help=True, help="List and show operations: calls that take time.")


@operation_app.command("list")
def list_operations(json: Json = False) -> None:
    """List all operations, oldest first. Long finished ones are forgotten.

    Example:

        catenary operation list
    """
    with ManagementClient.from_environment() as client:
        operations = client.operations()
    tables.show(operations, json, tables.operations)


@operation_app.command("show")
def show(
    operation: Annotated[str, typer.Argument(help="ID of the operation, as --no-wait printed it.")],
    json: Json = False,
) -> None:
    """Show an operation: is it running, has it succeeded or failed, and why?

    Example:

        catenary operation show 3b1f0a5e9d7c4c2a
    """
    with ManagementClient.from_environment() as client:
        view = client.operation(operation)
    tables.show(view, json, lambda item: tables.operations([item]))
