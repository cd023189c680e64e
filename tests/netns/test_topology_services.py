"""Services as processes: waited for, killed, restarted, stopped, and told about when they end."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi import FastAPI
from pyroute2 import netns as namespaces

from catenary.errors import NotFound, Unavailable
from catenary.listen import Listen
from catenary.service import server
from topologies import dashboard
from topologies.hosts import Host
from topologies.services import Service, ServiceEnded, Services, wait_until

SLEEPER = """\
import signal, sys, time
from pathlib import Path
def app():
    if sys.argv[1] == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(sys.argv[2]).write_text("up")
    time.sleep(60)
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """This host, with a package `sleeper` whose command writes a file and sleeps."""
    package = tmp_path / "sleeper"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Host("here", os.getpid(), tmp_path, "127.0.0.1")


def sleeper(host: Host, mood: str = "mild") -> Service:
    mark = host.logs / f"{mood}.mark"
    return Service(mood, host, "sleeper", (mood, str(mark)), mark.exists)


def test_kill_restart_and_stop(host: Host) -> None:
    services = Services()
    services.start(sleeper(host))
    try:
        services.wait_ready()
        first = services.pid("mild")
        services.kill("mild")
        assert services.running() == []
        services.restart("mild")
        assert services.running() == ["mild"]
        assert services.pid("mild") != first
    finally:
        assert services.stop_all() == []
    assert services.running() == []


def test_one_that_ignores_sigterm_is_killed_and_named(host: Host) -> None:
    services = Services()
    services.start(sleeper(host, "stubborn"))
    services.wait_ready()
    assert services.stop_all(timeout=0.1) == ["stubborn"]
    assert services.running() == []


def test_one_that_ends_by_itself_is_told_with_its_own_words(host: Host) -> None:
    services = Services()
    services.start(Service("ms", host, "no_such_package", (), lambda: False))
    with pytest.raises(ServiceEnded, match=r"ms has ended with 1(.|\n)*no_such_package"):
        services.wait_ready()


def test_an_unknown_service_is_refused_by_name() -> None:
    with pytest.raises(NotFound, match="'l9'"):
        Services().kill("l9")


def test_what_does_not_come_is_told_with_the_last_reason() -> None:
    def never() -> bool:
        raise Unavailable("the slave is away")

    with pytest.raises(Unavailable, match=r"l1 is not ready: not within 0 s \(the slave is away\)"):
        wait_until(never, "l1 is not ready", 0)


def test_a_dashboard_is_asked_where_the_browser_is(netns: str) -> None:
    """From inside the namespaces of a testbed, by its socket outside."""
    listening = dashboard.listen()
    app = FastAPI()

    @app.get("/")
    def home() -> str:
        return "here"

    def asked_inside() -> bool:
        namespaces.setns(netns)
        return listening.answers()

    uvicorn_server = server(app, Listen())
    serving = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listening.socket]})
    with ThreadPoolExecutor(1) as inside:
        assert not inside.submit(asked_inside).result()  # it accepts, and nobody answers
        serving.start()
        try:
            wait_until(inside.submit(asked_inside).result, "an answer")
        finally:
            uvicorn_server.should_exit = True
            serving.join()
    os.close(listening.namespace)
    listening.socket.close()


def test_a_dashboard_that_dies_at_once_is_not_ready(host: Host) -> None:
    listening, services = dashboard.listen(), Services()
    url = dashboard.start(services, host, listening)
    services.kill("dashboard")
    with pytest.raises(ServiceEnded, match="dashboard has ended"):
        services.wait_ready(["dashboard"])
    assert url.startswith("http://127.0.0.1:")
    os.close(listening.namespace)
    listening.socket.close()
