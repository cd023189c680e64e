"""Waiting for an operation in a terminal: a spinner with the chain's state, and a clean way out."""

from __future__ import annotations

import time

import typer
from rich.console import Console
from rich.markup import escape

from catenary import wire
from catenary.client import ManagementClient
from catenary.errors import Conflict
from mgmt_system import tables

POLL = 0.1
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""


def follow(
    client: ManagementClient, operation: wire.OperationView, timeout: float, console: Console
) -> wire.ChainView:
    """Wait for the end of an operation and return its chain; progress goes to `console` (stderr).

    Raises `Conflict` when the operation failed, `Unavailable` when it is not over after `timeout` seconds;
    Ctrl-C leaves the operation running and says so.
    """
    try:
        with console.status(_line(operation, None)) as spinner:

            def sleep(seconds: float) -> None:
                time.sleep(seconds)
                spinner.update(_line(operation, client.chain(operation.chain)))

            ended = client.wait(operation, timeout, poll=POLL, sleep=sleep)
    except KeyboardInterrupt:
        console.print(
            f"{operation.kind} {operation.chain} goes on as operation {operation.id}; "
            f"see it with: catenary chain show {operation.chain}"
        )
        raise typer.Exit(INTERRUPTED) from None
    if ended.state == "failed":
        raise Conflict(ended.reason or f"operation {ended.id} failed")
    return client.chain(operation.chain)


def follow_apply(
    client: ManagementClient, operation: wire.OperationView, timeout: float, console: Console
) -> wire.OperationView:
    """The same for an apply: how many of its chains are done. Returns the operation once it is over."""
    try:
        with console.status(_count(operation)) as spinner:

            def sleep(seconds: float) -> None:
                time.sleep(seconds)
                spinner.update(_count(client.operation(operation.id)))

            ended = client.wait(operation, timeout, poll=POLL, sleep=sleep)
    except KeyboardInterrupt:
        console.print(
            f"the apply goes on as operation {operation.id}; see it with: catenary chain list, and take it "
            "back by applying the file from before"
        )
        raise typer.Exit(INTERRUPTED) from None
    if ended.state == "failed":
        raise Conflict(ended.reason or f"operation {ended.id} failed")
    return ended


def _count(operation: wire.OperationView) -> str:
    return f"apply: {operation.done} of {len(operation.chains)} chains are as they shall be"


def _line(operation: wire.OperationView, chain: wire.ChainView | None) -> str:
    state = f": {chain.state}" if chain else ""
    reason = f" ({chain.reason})" if chain and chain.reason else ""
    return escape(f"{operation.kind} {operation.chain}{state}{reason}")


def finish(
    client: ManagementClient, operation: wire.OperationView, no_wait: bool, timeout: float, json: bool
) -> None:
    """What a command says in the end: its chain once the operation is done, or with `no_wait` that one."""
    if no_wait:
        tables.show(operation, json, tables.operation)
        return
    chain = follow(client, operation, timeout, Console(stderr=True))
    tables.show(chain, json, tables.chain)
