"""What is said of etcd without any: addresses that are not valid, and nodes that are not there."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from catenary.errors import InsufficientStorage, InvalidValue, Unavailable
from catenary.token import write_private
from mgmt_system.store.access import Access
from mgmt_system.store.etcd import EtcdStore
from mgmt_system.store.gateway import Endpoints, Gateway
from mgmt_system.store.opening import opened

NODES = Endpoints(("a:1", "b:2"))


def test_addresses_are_read() -> None:
    assert Endpoints.parse("etcd://a:1,b:2") == NODES
    assert Endpoints.parse("etcds://a:1,b:2/x") == Endpoints(("a:1", "b:2"), "x", secure=True)
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


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(InvalidValue) as refusal:
        opened("etcd://root:secret@a:1", "http://here:1")
    assert "secret" not in refusal.value.detail
    assert "--etcd-user-file is for that" in refusal.value.detail


@pytest.mark.parametrize(
    ("database", "access", "text"),
    [
        ("ms.db", Access(ca=Path("ca.pem")), "ms.db is a file: --etcd-ca and its like are for etcds://"),
        (
            "etcd://a:1",
            Access(ca=Path("ca.pem")),
            "etcd:// is in the clear: with certificates write etcds://",
        ),
    ],
)
def test_what_would_not_be_used_is_refused(database: str, access: Access, text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        opened(database, "http://here:1", access)


@pytest.mark.parametrize("said", ["", "root", "root:", ":secret", "root:one\ntwo"])
def test_a_user_file_holds_both_on_one_line(tmp_path: Path, said: str) -> None:
    write_private(tmp_path / "user", said)
    with pytest.raises(InvalidValue, match="holds no USER:PASSWORD, on one line"):
        Access(user=tmp_path / "user").name_and_password()


def test_a_user_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "user"
    write_private(file, "root:a:b\n")
    assert Access(user=file).name_and_password() == ("root", "a:b")
    file.chmod(0o644)
    with pytest.raises(InvalidValue, match="is open to others"):
        Access(user=file).name_and_password()


class Answers:
    """Of each node by its name; the time goes by as it is slept."""

    def __init__(self, **answers: httpx.Response) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.now = 0.0
        self.gateway = Gateway(NODES, clock=lambda: self.now, sleep=self._sleep)
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
