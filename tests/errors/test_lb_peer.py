"""What the two of a pair refuse: a reason to the caller, an event in the log, nothing changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import structlog

from catenary import wire
from catenary.callers import Callers
from catenary.errors import Unauthorized
from catenary.session import SessionKey
from lb_adapter import records, rest
from lb_adapter.core.oracle_pin import Pin, State
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from tests.services import SESSION, daemons
from tests.serving import calling, knowing
from tests.unit.test_lb_master import Pair, restart_slave

KEY = SessionKey.parse(SESSION).pack()
TOKEN = "secret-of-this-pair"
UNKNOWN = {"forward": 8, "reverse": 9}


class Told:
    """The REST of one of a pair, which has two chains."""

    def __init__(self, daemon: Master | Slave, callers: Callers | None = None) -> None:
        self.daemon = daemon
        self.chains = daemon.pairs()
        self.client = calling(rest.build(daemon, callers), raise_server_exceptions=False)

    def refused(self, method: str, path: str, **body: Any) -> tuple[int, str]:
        """Status and detail of an answer that the log tells of as well, and that changes nothing."""
        before = self.state()
        with structlog.testing.capture_logs() as logs:
            answer = self.client.request(method, path, **body)
        detail = wire.Problem.model_validate(answer.json()).detail
        assert [entry["reason"] for entry in logs if entry["event"] == "refused"] == [detail]
        assert self.state() == before
        return answer.status_code, detail

    def state(self) -> tuple[object, ...]:
        return self.daemon.pairs(), self.daemon.health(), self.pins()

    def pins(self) -> bytes:
        return b"".join(batch.tobytes() for batch in self.daemon._plane.export(None))


class Follower(Told):
    """A slave, and the master that it follows."""

    def __init__(self, callers: Callers | None = None) -> None:
        master, slave = daemons()
        super().__init__(slave, callers)
        self.master_id = master.instance

    def greeting(self, master: str = "m2", ahead: int = 1, **fields: Any) -> dict[str, Any]:
        """One that would be taken, but for `fields`, with an epoch that is so far `ahead`."""
        greeting = wire.Handshake(
            protocol=wire.PROTOCOL,
            master_id=master,
            slave_id=self.daemon.instance,
            ask_id=4094,
            affinity="session",
            timeouts=wire.TimeoutsModel(),
            chain_set=self.chains.model_copy(update={"epoch": self.chains.epoch + ahead}),
        ).model_dump(mode="json")
        return greeting | fields

    def chain_set(self, ahead: int = 1, **pair: Any) -> dict[str, Any]:
        """The next one of its master, whose first pair has these fields."""
        chains = self.chains.model_copy(update={"epoch": self.chains.epoch + ahead})
        update = wire.ChainSetUpdate(master_id=self.master_id, chain_set=chains).model_dump(mode="json")
        update["chain_set"]["pairs"][0] |= pair
        return update


@pytest.fixture
def slave() -> Follower:
    return Follower()


@pytest.fixture
def master() -> Told:
    return Told(daemons()[0])


def test_a_copy_that_is_cut_in_the_middle(slave: Follower) -> None:
    pair = slave.chains.pairs[0]
    word = Pin(pair.slot, pair.generation, State.ESTABLISHED, seen=1000).word()
    pins = records.of(KEY, word.to_bytes(8, "little"))
    whole = b"".join(records.write([pins], protocol=wire.PROTOCOL, epoch=slave.chains.epoch, now_ms=1000))
    put = {"params": {"master_id": slave.master_id}}
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        status, detail = slave.refused("PUT", "/v1/pins", content=whole[:size], **put)
        assert (status, detail) == (409, f"the copy ends after {size} bytes, in the middle")
    assert slave.client.put("/v1/pins", content=whole, **put).status_code == 204
    assert KEY in slave.pins(), "it is a copy that would be taken"


def test_a_greeting_of_another_protocol_or_of_none(slave: Follower) -> None:
    greeting = slave.greeting()
    assert slave.refused("POST", "/v1/handshake", json=greeting | {"protocol": 2}) == (
        409,
        f"the master speaks protocol 2, this slave speaks {wire.PROTOCOL}: run the same release on both",
    )
    del greeting["protocol"]
    assert slave.refused("POST", "/v1/handshake", json=greeting) == (422, "protocol: Field required")
    assert slave.client.post("/v1/handshake", json=slave.greeting()).status_code == 200, "it would be taken"


def test_a_second_master(slave: Follower) -> None:
    first, chains = slave.master_id, slave.chains
    assert slave.client.post("/v1/handshake", json=slave.greeting("m2")).status_code == 200
    told = slave.client.get("/v1/pairs").json()
    status, detail = slave.refused("POST", "/v1/handshake", json=slave.greeting(first, ahead=2))
    assert status == 409
    assert detail == (
        f"two masters of segment {chains.segment!r}: m2 took the place here of {first}, which greets again; "
        "stop the one that should not be (see --role and --peer), and restart the other"
    )
    assert slave.client.get("/v1/pairs").json() == told
    assert slave.client.post("/v1/handshake", json=slave.greeting("m3", ahead=2)).status_code == 200


@pytest.mark.parametrize("given", [None, "Bearer wrong-secret", f"Basic {TOKEN}"])
def test_a_wrong_token(given: str | None) -> None:
    slave = Follower(knowing(TOKEN))
    headers = {"Authorization": given} if given else {}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/handshake", {"json": slave.greeting()}),
        ("PUT", "/v1/chain-set", {"json": slave.chain_set()}),
        ("GET", "/v1/pins", {}),
        ("POST", "/v1/nonce", {"json": {"master_id": slave.master_id}}),
    ]
    for method, path, body in calls:
        status, detail = slave.refused(method, path, headers=headers, **body)
        assert (status, "secret" in detail) == (401, False)
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert slave.client.put("/v1/chain-set", json=slave.chain_set(), headers=right).status_code == 204


def test_an_epoch_from_the_future(slave: Follower) -> None:
    epoch = slave.chains.epoch
    for path, method, body in (
        ("/v1/handshake", "POST", slave.greeting(ahead=1025)),
        ("/v1/chain-set", "PUT", slave.chain_set(ahead=1025)),
    ):
        status, detail = slave.refused(method, path, json=body)
        told = f"epoch {epoch + 1025} is from the future, the present one is {epoch}: refused;"
        assert (status, detail[: len(told)]) == (409, told)
    assert slave.client.put("/v1/chain-set", json=slave.chain_set(ahead=1024)).status_code == 204


def test_an_ask_id_in_use(slave: Follower) -> None:
    told = "VLAN ID 3 of tag pair (2, 3) is in use already: it is the ask ID"
    assert slave.refused("POST", "/v1/handshake", json=slave.greeting(ask_id=3)) == (409, told)
    status, detail = slave.refused("PUT", "/v1/chain-set", json=slave.chain_set(reverse=4094))
    assert (status, "VLAN ID 4094 of tag pair (2, 4094) is in use" in detail) == (409, True)


def test_a_pair_on_the_ask_id(master: Told) -> None:
    status, detail = master.refused("POST", "/v1/changes", json={"add": [{"forward": 4094, "reverse": 9}]})
    assert (status, "VLAN ID 4094" in detail) == (409, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("changes", {"remove": [UNKNOWN]}),
        ("changes", {"cancel": [UNKNOWN]}),
        ("changes", {"forget": [UNKNOWN]}),
        ("changes", {"remove": [UNKNOWN], "add": [{"forward": 6, "reverse": 7}]}),
        ("rebalance", {"weights": [UNKNOWN | {"weight": 5}]}),
        ("pairs/8-9/sessions/end", {"then": "reset"}),
    ],
)
def test_a_tag_that_the_pair_does_not_know(master: Told, path: str, body: dict[str, Any]) -> None:
    assert master.refused("POST", f"/v1/{path}", json=body) == (404, "tag pair (8, 9) is not known here")


def test_an_order_that_nobody_waits_for(slave: Follower) -> None:
    order = {"nonce": "n", "master_id": slave.master_id, "mode": "reset", "key": SESSION}
    text = "order n came twice, or is older than the last one: refused"
    assert slave.refused("POST", "/v1/sweep", json=order) == (409, text)
    status, detail = slave.refused("POST", "/v1/nonce", json={"master_id": "m0"})
    assert (status, "greeted last, not m0" in detail) == (409, True)


@pytest.mark.parametrize("wrong", ["protocol", "epoch", "token"])
def test_a_slave_that_a_master_can_not_lead(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """The master has nobody to answer to: its health tells the reason, and its log."""
    pair = Pair()
    restart_slave(pair)
    whole, follower = pair.slave.handshake, pair.slave._follower

    def refuse() -> None:
        raise Unauthorized("a wrong token")

    match wrong:
        case "protocol":
            text = "the master speaks protocol 9, this slave speaks"
            other = {"protocol": 9}
            monkeypatch.setattr(pair.slave, "handshake", lambda hello: whole(hello.model_copy(update=other)))
        case "epoch":
            text = "epoch 5000, the present one is"
            pair.slave._follower = replace(follower, table=replace(follower.table, epoch=5000))
        case _:
            text = "a wrong token"
            monkeypatch.setattr(pair.slave, "health", refuse)
    before = pair.master.pairs().pairs, pair.slave.pairs(), pair.plane.adopt()
    with structlog.testing.capture_logs() as logs:
        pair.master.tick()
    told = pair.master.health()
    assert (told.status, told.peer.connected, text in (told.peer.reason or "")) == ("degraded", False, True)
    lost = [entry for entry in logs if entry["event"] == "slave lost"]
    assert [entry["reason"] for entry in lost] == [told.peer.reason]
    assert (pair.master.pairs().pairs, pair.slave.pairs(), pair.plane.adopt()) == before
