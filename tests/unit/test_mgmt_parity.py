"""REST first, the commands on it, the dashboard on it: what one can do, all can."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import typer
from typer.core import TyperGroup

from catenary.client import ManagementClient
from mgmt_system import rest
from mgmt_system.cli import app
from mgmt_system.dashboard.actions import Actions
from mgmt_system.dashboard.autoscaling import Autoscaling
from mgmt_system.dashboard.capturing import Capturing
from mgmt_system.dashboard.configuring import Configuring
from mgmt_system.dashboard.looking import Looking
from mgmt_system.dashboard.saving import Saving

PACKAGE = Path(rest.__file__).parent
PAGE = "the page itself"
PARITY: dict[str, tuple[str, str, object]] = {
    "GET /v1/chains": ("chains", "chain list", Looking.history),
    "POST /v1/chains": ("add_chain", "chain add", Actions.add),
    "GET /v1/chains/{name}": ("chain", "chain show", PAGE),
    "DELETE /v1/chains/{name}": ("remove_chain", "chain remove", Actions.remove),
    "POST /v1/chains/{name}/cancel": ("cancel_removal", "chain cancel", Actions.act),
    "POST /v1/chains/{name}/cordon": ("cordon_chain", "chain cordon", Actions.cordon),
    "POST /v1/chains/{name}/uncordon": ("uncordon_chain", "chain uncordon", Actions.act),
    "POST /v1/chains/{name}/promote": ("promote_canary", "canary promote", Actions.act),
    "GET /v1/autoscale": ("autoscalers", "autoscale show", Autoscaling.open),
    "PUT /v1/autoscale/{name}/mode": ("set_autoscale_mode", "autoscale pause", Autoscaling.open),
    "POST /v1/rebalance": ("rebalance", "rebalance", Actions.rebalance),
    "POST /v1/segments/{name}/insert": ("insert", "segment insert", Actions.insert),
    "GET /v1/config": ("config", "export", Configuring.open),
    "POST /v1/plan": ("plan", "plan", Configuring.open),
    "PUT /v1/config": ("apply", "apply", Configuring.open),
    "GET /v1/services": ("services", "service list", Looking.services),
    "GET /v1/services/{name}": ("service", "service show", Looking.services),
    "GET /v1/operations": ("operations", "operation list", Looking.operations),
    "GET /v1/operations/{operation_id}": ("operation", "operation show", Looking.operations),
    "GET /v1/history": ("history", "history", Looking.history),
    "GET /v1/session": ("session", "session show", Looking.explain),
    "GET /v1/sessions": ("sessions", "sessions", Looking.sessions),
    "POST /v1/sessions/end": ("end_session", "session reset", Looking.end),
    "GET /v1/explain": ("explain", "explain", Looking.explain),
    "GET /v1/capture": ("capture", "capture", Capturing.open),
    "GET /v1/backup": ("backup", "backup", Saving.open),
    "GET /v1/status": ("status", "status", PAGE),
    "GET /v1/traffic": ("traffic", "top", PAGE),
}
"""Each call: the method of the client for it, the command, and what of the dashboard asks for it."""
EXCEPTIONS = {
    "GET /v1/caller": "`catenary token whoami`, and what signs in: the page shows it",
    "GET /v1/health": "for what watches the service: `catenary status` and the page ask for all parts",
}
CLIENTS = {"client", "it", "ManagementClient"}
SAME = {"chain": "chains"}
"""Methods that the page need not call: it has all chains from the list of them."""


def calls() -> Iterator[str]:
    page = rest.create(Mock(), None).openapi()
    for path, methods in page["paths"].items():
        for method in methods:
            yield f"{method.upper()} {path}"


def called(source: str) -> set[str]:
    """The methods of a client that it names."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if ast.unparse(node.value).split(".")[-1] in CLIENTS}


def commands(group: TyperGroup, words: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{words}{name} ")
        else:
            yield f"{words}{name}"


def test_each_call_has_a_command_and_a_place_on_the_dashboard() -> None:
    assert set(calls()) == PARITY.keys() | EXCEPTIONS.keys()
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    assert {command for _, command, _ in PARITY.values()} <= set(commands(group))


@pytest.mark.parametrize("call", PARITY)
def test_both_ask_rest_for_it(call: str) -> None:
    method, command, action = PARITY[call]
    verb, path = call.split()
    source = inspect.getsource(getattr(ManagementClient, method))
    assert f'"{path.partition("{")[0]}' in source
    assert verb == "GET" or f'"{verb}"' in source
    watch = (PACKAGE / "watching.py").read_text()
    terminal = [path.read_text() for path in PACKAGE.glob("*cli.py")]
    assert any(method in called(text) for text in [*terminal, watch]), command
    page = [watch, *(path.read_text() for path in (PACKAGE / "dashboard").glob("*.py"))]
    wanted = SAME.get(method, method)
    if action is PAGE:
        assert any(wanted in called(text) for text in page)
    else:
        module = inspect.getmodule(action)
        assert module is not None
        assert wanted in called(inspect.getsource(module))


def test_the_page_offers_each_of_them() -> None:
    """By a button, or by a word in a row of a table."""
    page = (PACKAGE / "dashboard" / "page.py").read_text()
    rows = {"act", "remove", "cordon", "end"}
    for method, _, action in PARITY.values():
        name = getattr(action, "__name__", None)
        assert action is PAGE or name in rows or re.search(rf"\.{name}[),]", page), method
