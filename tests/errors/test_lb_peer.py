"""What a slave refuses of its master: a reason to the caller, an event in the log, nothing changed."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from catenary import wire
from catenary.session import SessionKey
from lb_adapter import records, rest
from lb_adapter.core.oracle_pin import Pin, State
from tests.services import SESSION, daemons
from tests.serving import calling

KEY = SessionKey.parse(SESSION).pack()


class Told:
    """A slave's REST, and the master that it follows."""

    def __init__(self) -> None:
        master, self.slave = daemons()
        self.master_id, self.chains = master.instance, self.slave.pairs()
        self.client = calling(rest.build(self.slave, None), raise_server_exceptions=False)

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
        return self.slave.pairs(), self.slave.health(), self.pins()

    def pins(self) -> bytes:
        return b"".join(batch.tobytes() for batch in self.slave._plane.export(None))


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_copy_that_is_cut_in_the_middle(told: Told) -> None:
    pair = told.chains.pairs[0]
    word = Pin(pair.slot, pair.generation, State.ESTABLISHED, seen=1000).word()
    pins = records.of(KEY, word.to_bytes(8, "little"))
    whole = b"".join(records.write([pins], protocol=wire.PROTOCOL, epoch=told.chains.epoch, now_ms=1000))
    put = {"params": {"master_id": told.master_id}}
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        status, detail = told.refused("PUT", "/v1/pins", content=whole[:size], **put)
        assert (status, detail) == (409, f"the copy ends after {size} bytes, in the middle")
    assert told.client.put("/v1/pins", content=whole, **put).status_code == 204
    assert KEY in told.pins(), "it is a copy that would be taken"


def test_a_greeting_that_does_not_say_its_protocol(told: Told) -> None:
    greeting = wire.Handshake(
        protocol=wire.PROTOCOL,
        master_id="m2",
        ask_id=4094,
        affinity="session",
        timeouts=wire.TimeoutsModel(),
        chain_set=told.chains.model_copy(update={"epoch": told.chains.epoch + 1}),
    ).model_dump(mode="json")
    del greeting["protocol"]
    assert told.refused("POST", "/v1/handshake", json=greeting) == (422, "protocol: Field required")
    status, detail = told.refused("POST", "/v1/handshake", json=greeting | {"protocol": 2})
    assert (status, "the master speaks protocol 2, this slave speaks" in detail) == (409, True)


def test_an_order_that_nobody_waits_for(told: Told) -> None:
    order = {"nonce": "n", "master_id": told.master_id, "mode": "reset", "key": SESSION}
    text = "order n came twice, or is older than the last one: refused"
    assert told.refused("POST", "/v1/sweep", json=order) == (409, text)
    status, detail = told.refused("POST", "/v1/nonce", json={"master_id": "m0"})
    assert (status, "greeted last, not m0" in detail) == (409, True)
