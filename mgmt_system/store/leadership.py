"""Who leads among the management systems on one etcd: whoever has written the leader's key first.

The key goes with its writer's lease, which a thread keeps alive. Each write of the store expects the key as
it was created: so what a leader that was deposed without knowing sends late is refused, whatever its clock
says. The clock only says when to stop trying.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from catenary.errors import CatenaryError
from mgmt_system.store import Standing
from mgmt_system.store.gateway import Gateway, Json, decoded, encoded, found, revision

log = structlog.get_logger("mgmt_system")
LEASE_S = 2
"""The shortest that etcd gives with its default election timeout: another one leads so long after a death."""
_EVERY_S = 0.4
"""Between two signs of life: several fit into a lease."""


class Leadership:
    """`url`: where this management system is found by those who look for the leader. `clock` is monotonic."""

    def __init__(
        self, gateway: Gateway, key: str, url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gateway = gateway
        self._key = encoded(key)
        self._url = url
        self._clock = clock
        self._lease = ""
        self._term = 0
        self._until = 0.0
        self._leader: str | None = None
        self._fault: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Give up the lease, so that another one leads at once."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._term = 0
        if self._lease:
            with suppress(CatenaryError):
                self._gateway.call("lease/revoke", {"ID": self._lease}, patience=0.0)

    @property
    def standing(self) -> Standing:
        if self._term and self._clock() < self._until:
            return Standing(self._term, self._url)
        if self._fault is not None:
            return Standing(0, None, self._fault)
        if self._term:
            return Standing(0, None, "etcd has not answered in time, and the lease may have ended")
        if self._leader == self._url:
            return Standing(
                0,
                None,
                f"the leader says that it is at {self._url}, as this one does: if that was this one before a "
                "restart, its lease ends in a moment; else give each its own --advertise",
            )
        return Standing(0, self._leader)

    def lost(self, term: int) -> None:
        """A write of that term was refused: somebody else leads, or the key was deleted."""
        if self._term == term:
            self._term = 0

    def step(self) -> None:
        """One sign of life, and one try to lead."""
        before = self.standing
        try:
            if self._lease:
                self._keep_alive()
            if not self._term:
                self._try()
            self._fault = None
        except CatenaryError as error:
            self._fault = error.detail
        now = self.standing
        if (now.term, now.leader) != (before.term, before.leader):
            log.info("leadership", leads=now.term > 0, leader=now.leader, term=now.term, reason=now.fault)

    def _keep_alive(self) -> None:
        began = self._clock()
        left = int(self._gateway.call("lease/keepalive", {"ID": self._lease}, patience=0.0).get("TTL", 0))
        if left:
            self._until = began + left
        else:
            self._lease, self._term = "", 0

    def _try(self) -> None:
        """Lead if nobody does. An answer to an earlier try may have been lost: then the key is there."""
        key = {"key": self._key}
        there = found(self._gateway.call("kv/range", key, patience=0.0))
        if not there:
            if not self._lease:
                self._grant()
            nobody = {**key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
            mine = {"request_put": {**key, "value": encoded(self._url), "lease": self._lease}}
            body: Json = {"compare": [nobody], "success": [mine], "failure": [{"request_range": key}]}
            answer = self._gateway.call("kv/txn", body, patience=0.0)
            if answer.get("succeeded"):
                self._leader, self._term = self._url, revision(answer)
                return
            there = found(answer["responses"][0]["response_range"])
        for entry in there:
            self._leader = decoded(entry["value"])
            if entry.get("lease") == self._lease:
                self._term = int(entry["create_revision"])

    def _grant(self) -> None:
        began = self._clock()
        answer = self._gateway.call("lease/grant", {"TTL": LEASE_S}, patience=0.0)
        self._lease, self._until = str(answer["ID"]), began + int(answer["TTL"])

    def _run(self) -> None:
        while not self._stop.is_set():
            self.step()
            self._stop.wait(_EVERY_S)
