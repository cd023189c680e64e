"""One change is followed through the logs of all services by the ID of the request that asked for it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
import structlog

from catenary import logs
from catenary.config import ServiceConfig
from catenary.options import LogFormat, LogLevel
from catenary.part_clients import BalancerClient
from catenary.request_id import HEADER, accept
from catenary.session import Timeouts
from controller import rest as controller_rest
from lb_adapter import rest as balancer_rest
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from mgmt_system import rest as management_rest
from mgmt_system.crash import never
from mgmt_system.peers import Secrets, connect
from mgmt_system.service import Running
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore
from tests.services import plane
from tests.serving import serving
from tests.unit.test_controller_conductor import CONFIG, World
from topologies.patience import PATIENCE_S

Eventually = Callable[..., None]


class Log:
    """What is logged while a test runs."""

    def __init__(self, level: LogLevel) -> None:
        self._stream = io.StringIO()
        logs.configure(level, LogFormat.JSON, self._stream, service="test")

    def lines(self, **fields: object) -> list[dict[str, Any]]:
        """Those that have all of these fields."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if fields.items() <= line.items()]


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Log:
    return Log(getattr(request, "param", LogLevel.INFO))


@pytest.fixture
def management() -> Iterator[httpx.Client]:
    """All services, over HTTP; switches and data planes are in memory."""
    world = World()
    world.connect(1, 2, 3)
    with ExitStack() as stack:
        stack.callback(world.conductor.fabric.stop)
        controller = stack.enter_context(serving(controller_rest.build(world.conductor, None)))
        follower = Slave(plane(), SpliceConfig("slave", "outer", "inner", None, Timeouts()), "main")
        slave = stack.enter_context(serving(balancer_rest.build(follower, None)))
        peer = stack.enter_context(BalancerClient(slave))
        leader = Master(plane(), SpliceConfig("master", "outer", "inner", 4094, Timeouts()), "main", peer)
        leader.tick()
        master = stack.enter_context(serving(balancer_rest.build(leader, None)))
        network = ServiceConfig.model_validate(
            CONFIG.model_dump(mode="json")
            | {
                "controller_url": controller,
                "balancers": {
                    name: CONFIG.balancers[name].model_dump() | {"url": url}
                    for name, url in (("l1", master), ("l2", slave))
                },
            }
        )
        running = Running.build(
            network,
            Ledger(SqliteStore(None), never),
            lambda current, timeout: connect(current, Secrets(), timeout),
        )
        url = stack.enter_context(serving(management_rest.create(running, None)))
        yield stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S))


def test_one_change_is_in_the_logs_of_all(management: httpx.Client, log: Log, eventually: Eventually) -> None:
    answer = management.post("/v1/chains", json={"nfs": ["n1"]}, headers={HEADER: "change-1"})
    assert (answer.status_code, answer.headers[HEADER]) == (202, "change-1")
    assert answer.json()["request"] == "change-1"
    states = partial(log.lines, event="journal", kind="state", request="change-1")
    eventually(lambda: ["steered", "active"] in [line["changes"]["state"] for line in states()])
    followed = [line for line in log.lines(request="change-1") if line["event"] == "answered"]
    assert [(line["method"], line["path"]) for line in followed] == [
        ("PUT", "/v1/chains"),  # a check, at the controller
        ("POST", "/v1/chains"),  # at the management system, before anything is done
        ("PUT", "/v1/chains"),
        ("PUT", "/v1/chain-set"),  # at the slave, which the master tells first
        ("POST", "/v1/changes"),
    ]
    said = {line["event"] for line in log.lines(request="change-1")}
    assert {"chain steered", "chain set", "journal"} <= said
    assert not log.lines(request="change-2")


@pytest.mark.parametrize("log", [LogLevel.DEBUG], indirect=True)
def test_a_look_at_all_is_followed_in_a_debug_log(management: httpx.Client, log: Log) -> None:
    assert management.get("/v1/status", headers={HEADER: "look-1"}).headers[HEADER] == "look-1"
    asked = {(line["method"], line["path"]) for line in log.lines(request="look-1", event="answered")}
    assert asked == {("GET", path) for path in ("/v1/health", "/v1/stats", "/v1/status")}


def test_an_access_line_says_who_did_what_and_how_long_it_took(management: httpx.Client, log: Log) -> None:
    management.post("/v1/rebalance", json={}, headers={HEADER: "change-3"})
    management.get("/v1/chains", headers={HEADER: "read"})
    (line,) = [line for line in log.lines(path="/v1/rebalance") if line["request"] == "change-3"][1:]
    assert {key: line[key] for key in ("service", "level", "method", "status", "caller")} == {
        "service": "test",
        "level": "info",
        "method": "POST",
        "status": 200,
        "caller": "127.0.0.1",
    }
    assert 0 < line["ms"] < 60_000
    assert line["timestamp"].endswith("Z")
    assert not log.lines(request="read")


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "new\nline", "ü", "a/b", None])
def test_an_id_that_is_not_sane_is_replaced(given: str | None) -> None:
    made = accept(given)
    assert made != given
    assert len(made) == 16
    assert made != accept(given)
    assert accept("a.B_c-9") == "a.B_c-9"


def test_a_terminal_gets_text_and_a_file_json_lines(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    logs.configure(stream=screen)
    structlog.get_logger().warning("hello", key="value")
    assert "hello" in screen.getvalue()
    assert not screen.getvalue().startswith("{")
    file = io.StringIO()
    logs.configure(stream=file)
    logging.getLogger("library").warning("beware of %s", "it")
    token = "".join(("se", "cret"))
    try:
        raise ValueError(f"broken after {len(token)} letters")
    except ValueError:
        structlog.get_logger().exception("failed")
    first, second = map(json.loads, file.getvalue().splitlines())
    assert (first["event"], first["level"]) == ("beware of it", "warning")
    assert "ValueError: broken after 6" in second["exception"]
    assert "secret" not in second["exception"], "values of local variables have no place in a log"
