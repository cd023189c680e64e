"""A pair as processes, with TLS and tokens, under attack: it refuses and says so, and tells no secret."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catenary import callers, certs, tls, wire
from catenary.callers import Caller
from catenary.certs import Folder
from catenary.errors import CatenaryError, Conflict, Forbidden, Unauthorized, Unavailable
from catenary.part_clients import BalancerClient
from catenary.roles import Role
from catenary.token import write_private
from tests.isolation import isolated
from tests.netns.pair import Session, wire_up
from tests.netns.test_lb_process import MASTER, changed, connected, lb
from tests.unit.test_tls import MALFORMED
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

HOME = Path("/run/catenary/attacked")
ROLES = {"viewer": Role.VIEWER, "operator": Role.OPERATOR, "l1": Role.ADMIN}


class Guarded:
    """The pair, and tokens of each role; `clients` by name."""

    def __init__(self) -> None:
        HOME.mkdir()
        certs.init(HOME / "certs", {"l1": ["127.0.0.1"], "l2": ["127.0.0.1"], "ms": []}, datetime.now(UTC))
        self.folder = Folder(HOME / "certs")
        self.tokens = {name: callers.new_token() for name in ROLES}
        known: dict[str, Caller] = {}
        for name, role in ROLES.items():
            known = callers.added(known, Caller(name, role), self.tokens[name])
        write_private(HOME / "tokens", callers.written(known))
        write_private(HOME / "peer", self.tokens["l1"])
        peer = ("--peer", "https://127.0.0.1:8083", "--peer-token-file", str(HOME / "peer"))
        self.processes = [
            lb("--role", "slave", "--outer", "l2o", "--inner", "l2i", "--port", "8083", *self._tls("l2")),
            lb(*MASTER, *peer, *self._tls("l1")),
        ]

    def _tls(self, name: str) -> tuple[str, ...]:
        own = self.folder.identity(name)
        files = {"cert": own.cert, "key": own.key, "ca": self.folder.ca}
        words = [word for kind, path in files.items() for word in (f"--tls-{kind}", str(path))]
        return (*words, "--tokens", str(HOME / "tokens"), "--log-level", "debug")

    def client(self, port: int, token: str | None) -> BalancerClient:
        identity = self.folder.identity("ms")
        return BalancerClient(f"https://127.0.0.1:{port}", ca=self.folder.ca, identity=identity, token=token)

    def end(self) -> list[str]:
        """What they said."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=PATIENCE_S)[0] for process in self.processes]
        assert [process.returncode for process in self.processes] == [0, 0], said
        return said


def seen_by_others(process: subprocess.Popen[str]) -> bytes:
    """What anybody may read of a process, and what root may beside it."""
    return b"".join(Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


def refused(kind: type[CatenaryError], call: Callable[[], object], secrets: list[str]) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert not [secret for secret in secrets if secret in caught.value.detail]


@isolated
def test_attacks_on_a_pair_are_refused_and_tell_no_secret() -> None:
    wire_up()
    pair = Guarded()
    secrets = [*pair.tokens.values(), *map(callers.hashed, pair.tokens.values())]
    master = pair.client(8082, pair.tokens["operator"])
    slave = pair.client(8083, pair.tokens["l1"])
    wait_until(lambda: connected(master), "handshake")
    stale = slave.pairs()
    changed(master, wire.Change(add=[wire.PairAdd(forward=2, reverse=3)]))
    # By one who has the master's token: a chain set of before, and the greeting of one that is deposed.
    leader, follower = master.health().instance, slave.health()
    old = wire.ChainSetUpdate(master_id=leader, chain_set=stale)
    refused(Conflict, lambda: slave.put_chain_set(old), secrets)
    alien = wire.ChainSetUpdate(master_id="0" * 16, chain_set=slave.pairs())
    refused(Conflict, lambda: slave.put_chain_set(alien), secrets)
    greeting = wire.Handshake(
        protocol=wire.PROTOCOL,
        master_id="0" * 16,
        slave_id=follower.instance,
        ask_id=4094,
        affinity="session",
        timeouts=follower.timeouts,
        chain_set=stale,
    )
    refused(Conflict, lambda: slave.handshake(greeting), secrets)
    viewer = pair.tokens["viewer"]
    change = wire.Change(remove=[wire.Tags(forward=2, reverse=3)])
    refused(Forbidden, lambda: pair.client(8082, viewer).change(change), secrets)
    refused(Forbidden, lambda: pair.client(8083, viewer).put_chain_set(old), secrets)
    for port, caller in ((8082, master), (8083, slave)):
        refused(Unauthorized, pair.client(port, None).health, secrets)
        refused(Unauthorized, pair.client(port, "no-such-token-at-all").health, secrets)
        for sent in MALFORMED:
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as attacker:
                with suppress(ConnectionError):
                    attacker.sendall(sent)
                assert caller.health().status == "ok"
    with Session() as session:
        session.talk()
    assert (slave.pairs().epoch, slave.health().instance) == (master.pairs().epoch, follower.instance)
    shown = b"".join(map(seen_by_others, pair.processes))
    said = pair.end()
    assert not [secret for secret in secrets if secret.encode() in shown or secret in "".join(said)]
    events = [json.loads(line) for line in said[0].splitlines()]
    reasons = [entry["reason"] for entry in events if entry["event"] == "refused"]
    assert any("is older than the present one" in reason for reason in reasons), reasons
    assert "Traceback" not in "".join(said)


@isolated
def test_certificates_that_expire_stop_no_traffic() -> None:
    wire_up()
    pair = Guarded()
    with pair.client(8082, pair.tokens["operator"]) as master:
        wait_until(lambda: connected(master), "handshake")
        changed(master, wire.Change(add=[wire.PairAdd(forward=2, reverse=3)]))
        with Session() as standing:
            standing.talk()
            past = datetime.now(UTC) - timedelta(days=20)
            certs.renew(pair.folder.path, ["l2"], past, days=10)
            with pair.client(8083, pair.tokens["viewer"]) as caller:
                assert caller.health().role == "slave", "it goes on with the one that it has"
            standing.talk()
            # One in use that ends is shown to whoever comes; connections that stand go on.
            wait_until(lambda: master.health() and ended(pair), "it has expired", interval=0.2)
            assert master.health().role == "master"
            standing.talk()
            with Session() as later:
                later.talk()
            certs.renew(pair.folder.path, [], datetime.now(UTC))
            with pair.client(8082, pair.tokens["viewer"]) as caller:
                wait_until(lambda: connected(caller), "a pair as before")
            standing.talk()
    said = [json.loads(line) for line in pair.end()[0].splitlines()]
    cert, end = pair.folder.identity("l2").cert, f"{past + timedelta(days=10):%Y-%m-%d %H:%M:%S} UTC"
    fault = f"certificate {cert} expired at {end}: make another (catenary certs renew), or set the clock"
    assert fault in [entry.get("reason") for entry in said if entry["level"] == "error"]


def ended(pair: Guarded) -> bool:
    """Is who calls the master shown a certificate that has expired? It is given one that is about to."""
    with pair.client(8082, pair.tokens["viewer"]) as caller:
        try:
            caller.health()
        except Unavailable as error:
            return "certificate has expired" in error.detail
    soon, now = timedelta(seconds=3), datetime.now(UTC)
    _, end = tls.validity(pair.folder.identity("l1").cert)
    if not now.timestamp() < end <= (now + soon).timestamp():  # or it was read too late, and kept out
        certs.renew(pair.folder.path, ["l1"], now + soon - timedelta(days=1), days=1)
    return False
