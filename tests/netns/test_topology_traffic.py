"""Servers and load generators on one machine: what they count is what happened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from catenary.errors import Unavailable
from tests.isolation import isolated
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.traffic import ByteServer, Httperf, Iperf, Transfers, WebServer, ping

Eventually = Callable[..., None]


def here(logs: Path) -> Host:
    return Host("here", os.getpid(), logs, "127.0.0.1", "::1")


@isolated
def test_transfers_over_both_families_from_both_servers(tmp_path: Path) -> None:
    host = here(tmp_path)
    with WebServer(host) as web, ByteServer(host) as small:
        urls = [web.url("4k"), web.url("4k", 6), small.url("4000"), small.url("4000", 6)]
        with Transfers(host, urls, name="load", parallel=4, sessions=40) as load:
            result = load.wait(PATIENCE_S)
    assert (result.sessions, result.requests, result.failures) == (40, 40, 0)
    assert result.bytes == sum(result.per_second) == 40 * 4000


@isolated
def test_transfers_count_each_kind_of_failure(tmp_path: Path) -> None:
    host = here(tmp_path)
    with WebServer(host) as web:
        urls = ["http://127.0.0.1:9/refused", web.url("no-such-file")]
        with Transfers(host, urls, name="load", parallel=2, sessions=6) as load:
            result = load.wait(PATIENCE_S)
    assert (result.requests, result.failures) == (0, 6)
    assert result.errors == {"ConnectionRefusedError": 3, "BadStatus": 3}


@isolated
def test_stop_ends_the_open_sessions_first_and_cuts_after_the_grace(
    tmp_path: Path, eventually: Eventually
) -> None:
    host = here(tmp_path)
    host.run(["ip", "link", "set", "lo", "mtu", "1500"])
    shape = ["rate", "4mbit", "burst", "32kb", "latency", "1s"]
    host.run(["tc", "qdisc", "add", "dev", "lo", "root", "tbf", *shape])
    with WebServer(host) as web:
        with Transfers(host, web.url("100k"), name="ends", parallel=3) as load:
            eventually(lambda: (seen := load.progress()) is not None and seen.bytes > 0)
            ended = load.stop(grace=PATIENCE_S)
        with Transfers(host, web.url("5m"), name="cut", parallel=3) as load:
            eventually(lambda: (seen := load.progress()) is not None and seen.bytes > 0)
            cut = load.stop(grace=0.1)
    assert (ended.cut, ended.open, ended.failures) == (0, 0, 0)
    assert ended.requests == ended.sessions
    assert (cut.cut, cut.open, cut.failures) == (3, 0, 0)


@isolated
def test_a_load_that_is_stopped_before_it_began_has_a_result(tmp_path: Path) -> None:
    host = here(tmp_path)
    with WebServer(host) as web, Transfers(host, web.url("4k"), name="load", parallel=2) as load:
        assert load.stop().failures == 0


@isolated
def test_httperf_iperf_and_ping_give_results(tmp_path: Path) -> None:
    host = here(tmp_path)
    with WebServer(host) as web:
        load = Httperf(host, host.address(), "4k", name="httperf", rate=100, connections=20, port=web.port)
        with load:
            load.start()
            httperf = load.wait(PATIENCE_S)
    assert (httperf.ok, httperf.failures) == (20, 0)
    assert load.stop() == httperf, "it has ended: what it did is told again"
    assert Iperf(host, host).run(1, parallel=1).throughput > 0
    assert ping(host, "127.0.0.1", count=2) == 2
    assert ping(host, "::1", count=2) == 2


@isolated
def test_httperf_tells_what_it_did_until_it_is_stopped(tmp_path: Path) -> None:
    host = here(tmp_path)

    def load(address: str) -> Httperf:
        return Httperf(host, address, "1k", name="httperf", rate=50, connections=10_000)

    with WebServer(host), load(host.address()) as running:
        wait_until(lambda: "TIME-WAIT" in host.run(["ss", "-Htan"]), "no session has ended")
        stopped = running.stop()
    assert 0 < stopped.connections < 10_000
    assert (stopped.cut, stopped.reasons) == (0, [])
    with load("256.0.0.1") as dead, pytest.raises(Unavailable, match="httperf failed"):
        dead.stop()


@isolated
def test_a_server_that_cant_listen_says_why(tmp_path: Path) -> None:
    host = here(tmp_path)
    with WebServer(host), pytest.raises(Unavailable, match="address already in use"):
        ByteServer(host, port=80).start()
