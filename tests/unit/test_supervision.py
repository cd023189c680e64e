"""systemd hears that a service is ready, lives and ends, at a socket as its own is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from catenary.listen import Listen
from catenary.supervision import Supervisor
from lb_adapter.daemon import Daemon
from mgmt_system.dashboard_child import environment
from tests.services import daemons


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(address)
        made.setblocking(False)
        yield made


def heard(notify: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(notify.recv(4096).decode())
        except BlockingIOError:
            return found


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_said_is_heard(abstract: bool, tmp_path: Path, unique: str) -> None:
    name = f"@{unique}" if abstract else str(tmp_path / "notify")
    with listening(name.replace("@", "\0")) as notify:
        supervisor = Supervisor.of({"NOTIFY_SOCKET": name}, 7)
        supervisor.ready("serving")
        supervisor.alive(1.0, 0.0)  # nobody asked
        supervisor.stopping()
        assert heard(notify) == ["READY=1\nSTATUS=serving", "STOPPING=1"]


def test_the_watchdog_hears_twice_as_often_as_it_must(tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as notify:
        supervisor = Supervisor(str(tmp_path / "notify"), 10.0)
        for now in range(100, 121):
            supervisor.alive(float(now), 9.0)
        assert heard(notify) == ["WATCHDOG=1"] * 5
        supervisor.alive(200.0, 10.1)  # the loop turns, but the work hangs
        assert heard(notify) == []


@pytest.mark.parametrize(
    "variables, watchdog",
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_who_is_watched(variables: dict[str, str], watchdog: float | None) -> None:
    assert Supervisor.of(variables, 7).watchdog == watchdog


def test_without_systemd_nothing_is_said() -> None:
    with capture_logs() as logs:
        Supervisor.of({"NOTIFY_SOCKET": ""}, 7).ready("serving")
    assert logs == []


def test_a_socket_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    with capture_logs() as logs:
        Supervisor(str(tmp_path / "gone")).ready("serving")
    assert [line["event"] for line in logs] == ["systemd can't be told"]


def test_a_tick_that_hangs_is_idle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, ticking, go_on = [0.0], threading.Event(), threading.Event()
    slave: Daemon = daemons()[1]
    monkeypatch.setattr(slave, "_clock", lambda: now[0])

    def tick() -> None:
        ticking.set()
        go_on.wait()

    monkeypatch.setattr(slave, "tick", tick)
    monkeypatch.setattr(slave, "_ticked", 0.0)
    slave._stop.clear()  # these daemons are made as stopped ones
    slave.start()
    ticking.wait()
    now[0] = 31.0
    assert slave.idle() == 31.0
    go_on.set()
    slave.stop(detach=True)
    assert slave.idle() == 0.0


def test_the_dashboard_beside_has_no_word_with_systemd() -> None:
    ours = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "HOME": "/"}
    assert environment(Listen(), ours, None).keys() == {"HOME", "CATENARY_URL"}
