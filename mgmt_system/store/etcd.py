"""The store that several management systems share: etcd.

Keys lie under a prefix: `PREFIX/data/KEY`, `PREFIX/leader` (`leadership`), and `PREFIX/writer`, which every
commit rewrites with a word of its own, and expects as the last one left it. An answer may be lost when a node
dies: whoever asks again finds its word there if the commit was done. So none is done twice, and none that was
done is taken for refused.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from catenary.errors import InsufficientStorage, InvalidValue, Unavailable
from catenary.listen import is_loopback
from mgmt_system.store import Entry, NotLeader, Standing, under
from mgmt_system.store.access import Access
from mgmt_system.store.gateway import Endpoints, Gateway, Json, decoded, encoded, found, revision
from mgmt_system.store.leadership import Leadership
from mgmt_system.store.sqlite import SqliteStore

log = structlog.get_logger("mgmt_system")
OPERATIONS, BYTES = 4096, 1024
"""What one commit may have, which etcd must be told: so many operations, with so many bytes each on average.
An apply of a thousand chains has two thousand."""
_START_S = 5.0
"""At the start a node gets so long to answer."""
_PORTION = 1000
"""Entries of a copy that are read at a time."""
HALFWAY = "restore-under-way"
"""A key that is there while a backup takes the place of all others, or if that has ended halfway."""


class EtcdStore:
    """`KeyValueStore` in etcd: whoever leads writes. `url`: where this management system can be reached.

    Reading needs one node that knows what this process has seen already, and no quorum. Raises `Unavailable`
    if no node answers, `InvalidValue` for one that takes too little in one transaction, or where a restore
    has ended `halfway`, unless that is what it is opened for.
    """

    damage: str | None = None

    def __init__(
        self, endpoints: Endpoints, url: str, access: Access = Access(), *, halfway: bool = False
    ) -> None:
        self._gateway = Gateway(endpoints, access)
        self.where = self._gateway.where
        self._prefix = f"{endpoints.prefix}/data/"
        self._leader, self._writer = f"{endpoints.prefix}/leader", f"{endpoints.prefix}/writer"
        self._lock = threading.Lock()
        self._commits = threading.Lock()
        self._seen = self._written = 0
        self._leadership = Leadership(self._gateway, self._leader, url)
        try:
            self._probe(endpoints)
            if not halfway and self.get(HALFWAY) is not None:
                raise InvalidValue(
                    f"{self.where} has half of a backup: a restore is under way, or ended before its time; "
                    "then do it again with catenary restore"
                )
        except BaseException:
            self._gateway.close()
            raise
        in_clear = [node for node in endpoints.nodes if not is_loopback(str(urlsplit(f"//{node}").hostname))]
        if in_clear and not endpoints.secure:
            log.warning(
                "etcd is asked in the clear, and whoever reaches it rules: use etcds://, or a network apart",
                nodes=in_clear,
            )
        self._leadership.start()

    def _probe(self, endpoints: Endpoints) -> None:
        """Refuse at the start what would stop an apply later: a transaction of the largest kind, which does
        nothing. A node that is down now is not asked."""
        never = {"key": encoded(self._writer), "target": "VALUE", "result": "EQUAL"}
        body = {"compare": [never | {"value": encoded("-" * BYTES)}] * OPERATIONS}
        faults = []
        for node in endpoints.nodes:
            try:
                self._gateway.ask(node, "kv/txn", body, _START_S)
            except Unavailable as fault:
                faults.append(fault.detail)
        if len(faults) == len(endpoints.nodes):
            raise Unavailable(f"etcd does not answer: {'; '.join(faults)}")

    @property
    def standing(self) -> Standing:
        return self._leadership.standing

    def get(self, key: str) -> Entry | None:
        entries = self._range({"key": encoded(self._prefix + key)})
        return entries[0] if entries else None

    def range(
        self, first: str, end: str, *, limit: int | None = None, descending: bool = False
    ) -> list[Entry]:
        body = {"key": encoded(self._prefix + first), "range_end": encoded(self._prefix + end)}
        body |= {} if limit is None else {"limit": str(limit)}
        return self._range(body | ({"sort_order": "DESCEND", "sort_target": "KEY"} if descending else {}))

    def _range(self, body: Json) -> list[Entry]:
        """A node answers by itself, without asking the others, unless it lags behind what was seen."""
        answer = self._gateway.call("kv/range", body | {"serializable": True})
        if revision(answer) < self._seen:
            answer = self._gateway.call("kv/range", body)
        self._saw(revision(answer))
        return [self._entry(entry) for entry in found(answer)]

    def _entry(self, entry: Json) -> Entry:
        key = decoded(entry["key"]).removeprefix(self._prefix)
        return Entry(key, decoded(entry.get("value", "")), int(entry["mod_revision"]))

    def _saw(self, seen: int) -> None:
        with self._lock:
            self._seen = max(self._seen, seen)

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> int:
        standing = self.standing
        if not standing.term:
            raise NotLeader.told(standing, self.where)
        with self._commits:
            word = secrets.token_hex(8)
            while True:
                last = self._written
                revision = self._commit(put, expect, word, standing.term)
                if revision or self._written == last:
                    return revision
                # Else the last commit was another than was known: of an earlier leader, or one whose answer
                # was lost.

    def _commit(self, put: Mapping[str, str | None], expect: Mapping[str, int], word: str, term: int) -> int:
        try:
            answer = self._gateway.call("kv/txn", self._transaction(put, expect, word, term))
        except InsufficientStorage:
            raise
        except Unavailable as error:
            raise Unavailable(
                f"{error.detail}; whether this change was written shows when it answers again"
            ) from error
        self._saw(revision(answer))
        if answer.get("succeeded"):
            self._written = revision(answer)
            return self._written
        writer, leader = (found(item["response_range"]) for item in answer["responses"])
        self._written = int(writer[0]["mod_revision"]) if writer else 0
        if writer and decoded(writer[0]["value"]) == word:
            return self._written  # done, and its answer was lost
        if not leader or int(leader[0]["create_revision"]) != term:
            self._leadership.lost(term)
            raise NotLeader.told(self.standing, self.where)
        return 0

    def _transaction(
        self, put: Mapping[str, str | None], expect: Mapping[str, int], word: str, term: int
    ) -> Json:
        leader, writer = {"key": encoded(self._leader)}, {"key": encoded(self._writer)}
        # With the last commit expected, one that is late, or was repeated, can't be done any more.
        compare = [
            {**leader, "target": "CREATE", "result": "EQUAL", "create_revision": str(term)},
            {**writer, "target": "MOD", "result": "EQUAL", "mod_revision": str(self._written)},
        ]
        for key, expected in expect.items():
            there = {"key": encoded(self._prefix + key), "target": "MOD", "result": "EQUAL"}
            compare.append(there | {"mod_revision": str(expected)})
        success: list[Json] = [{"request_put": {**writer, "value": encoded(word)}}]
        for key, value in put.items():
            entry = {"key": encoded(self._prefix + key)}
            if value is None:
                success.append({"request_delete_range": entry})
            else:
                success.append({"request_put": {**entry, "value": encoded(value)}})
        failure = [{"request_range": writer}, {"request_range": leader}]
        return {"compare": compare, "success": success, "failure": failure}

    def copy(self, file: Path) -> None:
        with closing(SqliteStore(file)) as copy:
            copy.take(self._all())

    def _all(self) -> Iterator[Entry]:
        """All entries, as of one moment."""
        first, end = (encoded(key) for key in under(self._prefix))
        body: Json = {"key": first, "range_end": end, "limit": str(_PORTION)}
        while True:
            answer = self._gateway.call("kv/range", body)
            self._saw(revision(answer))
            yield from (self._entry(entry) for entry in found(answer))
            if not answer.get("more"):
                return
            last = decoded(found(answer)[-1]["key"])
            body |= {"key": encoded(last + "\0"), "revision": body.get("revision", str(revision(answer)))}

    def close(self) -> None:
        self._leadership.close()
        self._gateway.close()
