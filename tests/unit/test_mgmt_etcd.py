"""What is said of etcd without any: addresses that are not valid, and nodes that are not there."""

from __future__ import annotations

import httpx
import pytest

from catenary.errors import InsufficientStorage, InvalidValue, Unavailable
from mgmt_system.store.etcd import EtcdStore
from mgmt_system.store.gateway import Endpoints, Gateway
from mgmt_system.store.opening import opened
from tests.unit.mgmt_commands import run_command

NODES = Endpoints(("a:1", "b:2"))


def test_addresses_are_read() -> None:
    assert Endpoints.parse("etcd://a:1,b:2") == NODES
    assert Endpoints.parse("etcd://[::1]:2379/lab/") == Endpoints(("[::1]:2379",), "lab")


@pytest.mark.parametrize("text", ["etcd://", "etcd://a", "etcd://a:1,", "etcd://a:x", "etcd://u:p@a:1"])
def test_addresses_that_are_not_valid_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is no node of etcd; write etcd://HOST:PORT,HOST:PORT"):
        opened(text, "http://here:1")


@pytest.mark.parametrize("url", ["http://0.0.0.0:8080", "https://[::]:8080", "here:8080", "http://[", ""])
def test_a_leader_that_nobody_finds_is_refused(url: str) -> None:
    with pytest.raises(
        InvalidValue, match="say with --advertise by which URL the others and operators reach it"
    ):
        opened("etcd://127.0.0.1:1", url)


def test_nodes_that_are_not_there_are_named() -> None:
    with pytest.raises(Unavailable, match=r"^etcd does not answer: 127\.0\.0\.1:1: .*; 127\.0\.0\.1:2: "):
        EtcdStore(Endpoints.parse("etcd://127.0.0.1:1,127.0.0.1:2"), "http://one")


def test_a_backup_is_not_restored_to_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, "restore", "backup", "--db", "etcd://127.0.0.1:1") == 2
    assert (
        "bring etcd back with etcdctl snapshot restore, or start with an empty one" in capsys.readouterr().err
    )


class Answers:
    """Of each node by its name; the time goes by as it is slept."""

    def __init__(self, **answers: httpx.Response) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.now = 0.0
        self.gateway = Gateway(NODES, lambda: self.now, self._sleep)
        self.gateway._http = httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.host)
        return self.answers[request.url.host]

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


def fault(code: int, message: str, status: int = 503) -> httpx.Response:
    return httpx.Response(status, json={"error": message, "message": message, "code": code})


def test_the_next_node_is_asked_and_kept() -> None:
    there = Answers(a=fault(14, "etcdserver: no leader"), b=httpx.Response(200, json={"x": 1}))
    for _ in range(2):
        assert there.gateway.call("kv/range", {}) == {"x": 1}
    assert there.asked == ["a", "b", "b"]


def test_it_waits_for_nodes_once_and_not_while_that_goes_on() -> None:
    there = Answers(a=fault(14, "etcdserver: no leader"), b=httpx.Response(200, text="<html>"))
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"^etcd does not answer: a:1: etcdserver: no leader; b:2: "):
            there.gateway.call("kv/range", {}, patience=4.0)
    assert 4.0 <= there.now < 4.1
    there.answers["a"] = httpx.Response(200, json={})
    there.gateway.call("kv/range", {})
    there.answers["a"] = fault(14, "etcdserver: no leader")
    with pytest.raises(Unavailable):
        there.gateway.call("kv/range", {}, patience=4.0)
    assert there.now >= 8.0


def test_what_no_other_node_would_do_is_raised_at_once() -> None:
    there = Answers(a=fault(8, "etcdserver: mvcc: database space exceeded", 429))
    with pytest.raises(
        InsufficientStorage, match=r"^etcd at a:1: etcdserver: mvcc: database space exceeded; comp"
    ):
        there.gateway.call("kv/txn", {})
    there.answers["a"] = fault(3, "etcdserver: duplicate key given in txn request", 400)
    with pytest.raises(InvalidValue, match=r"^etcd at a:1: etcdserver: duplicate key given in txn request$"):
        there.gateway.call("kv/txn", {})
    assert there.asked == ["a", "a"]
