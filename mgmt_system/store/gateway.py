"""etcd's JSON gateway over HTTP, with failover between its nodes.

No client library fits: those for Python that are kept don't go on at another node when one fails.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from catenary.errors import CatenaryError, InsufficientStorage, InvalidValue, Unavailable
from catenary.tls import client_context
from mgmt_system.store.access import Access, Login

SCHEME, SECURE = "etcd://", "etcds://"
PREFIX = "catenary"
PATIENCE_S = 4.0
"""A call waits for so long for a node that answers: electing a leader takes etcd one to two seconds."""
_NODE_S, _BYTES_IN_S = 0.5, 1e6
"""One node gets so long to answer, more in each round, and longer for a long request: etcd takes JSON of 10
MB in a second. While it elects a leader no node answers, so none is waited for until it has one."""
_LED = {"Grpc-Metadata-hasleader": "true"}
"""A node that has lost the others says so at once then, rather than after seven seconds."""
_CONNECT_S = 0.5
_PAUSE_S = 0.05
_NO_ROOM, _TRANSIENT = 8, (1, 4, 11, 14)
"""gRPC codes: RESOURCE_EXHAUSTED; and CANCELLED, DEADLINE_EXCEEDED, OUT_OF_RANGE (compacted), UNAVAILABLE."""
_SHOWN = 200
"""Characters of what is no answer that are shown."""
_STALE = ("invalid auth token", "revision of auth store is old", "user name is empty")
"""What etcd says of a token that is over, or without one."""
_LIMITS = "start all of its nodes with --max-txn-ops 4096 --max-request-bytes 8388608"
Json = dict[str, Any]


@dataclass(frozen=True)
class Endpoints:
    """etcd's nodes as HOST:PORT, and what all of our keys begin with. `secure`: they are asked by TLS."""

    nodes: tuple[str, ...]
    prefix: str = PREFIX
    secure: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds://...; raises `InvalidValue`."""
        scheme = SECURE if text.startswith(SECURE) else SCHEME
        listed, _, prefix = text.removeprefix(scheme).partition("/")
        nodes = tuple(listed.split(","))
        for node in nodes:
            if not _is_node(node):
                raise InvalidValue(
                    f"{scheme}... is not valid: {_shown(node)!r} is no node of etcd; write "
                    f"{scheme}HOST:PORT,HOST:PORT"
                )
        return cls(nodes, prefix.strip("/") or PREFIX, scheme == SECURE)

    def __str__(self) -> str:
        return ", ".join(self.nodes)


def _shown(node: str) -> str:
    """Without a password that somebody wrote before its address."""
    before, at, address = node.rpartition("@")
    return f"...@{address}, with a user: --etcd-user-file is for that" if at and before else node


def _is_node(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname and parts.port) and parts.netloc == text and "@" not in text
    except ValueError:
        return False


class Gateway:
    """`call` asks the node that answered last, and the others in turn when it fails. For threads.

    A call that failed at one node may have been done there all the same: what it asks for must be such that
    it can be repeated.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        access: Access = Access(),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.where = f"etcd ({endpoints})"
        self._nodes = endpoints.nodes
        self._clock = clock
        self._sleep = sleep
        self._at = 0
        self._down = False
        self._scheme = "https" if endpoints.secure else "http"
        verify = client_context(f"{self._scheme}:", access.ca, access.identity)
        self._http = httpx.Client(trust_env=False, verify=verify)
        self._access = access
        self._login = None if access.user is None else Login(self._log_in)

    def close(self) -> None:
        self._http.close()

    def call(self, path: str, body: Json, *, patience: float = PATIENCE_S) -> Json:
        """The answer of the first node that has one.

        Raises `Unavailable`, which names each node, if none has one for `patience` s; while that goes on, who
        calls again waits no more. `InsufficientStorage` if etcd has no room.
        """
        deadline = self._clock() + (0.0 if self._down else patience)
        for turn in count(1):
            faults, first = [], self._at
            for node in self._nodes[first:] + self._nodes[:first]:
                try:
                    answer = self.ask(node, path, body, turn * _NODE_S)
                except Unavailable as fault:
                    if isinstance(fault, InsufficientStorage):
                        raise
                    faults.append(fault.detail)
                else:
                    self._at, self._down = self._nodes.index(node), False
                    return answer
            if self._clock() >= deadline:
                self._down = self._down or patience > 0
                raise Unavailable(f"etcd does not answer: {'; '.join(faults)}")
            self._sleep(_PAUSE_S)
        raise AssertionError

    def ask(self, node: str, path: str, body: Json, patience: float = _NODE_S) -> Json:
        """The answer of one node; raises `Unavailable` where another may have one."""
        if self._login is None:
            return self._post(node, path, body, patience, None)
        token = self._login.token(node)
        try:
            return self._post(node, path, body, patience, token)
        except _NoToken:
            return self._post(node, path, body, patience, self._login.token(node, refused=token))

    def _log_in(self, node: str) -> str:
        name, password = self._access.name_and_password()
        body = {"name": name, "password": password}
        try:
            return str(self._post(node, "auth/authenticate", body, _NODE_S, None)["token"])
        except InvalidValue as error:
            raise InvalidValue(f"{error.detail}: is what {self._access.user} says right?") from None

    def _post(self, node: str, path: str, body: Json, patience: float, token: str | None) -> Json:
        try:
            content = json.dumps(body)
            timeout = httpx.Timeout(patience + len(content) / _BYTES_IN_S, connect=_CONNECT_S)
            headers = {} if body.get("serializable") else dict(_LED)
            headers |= {} if token is None else {"Authorization": token}
            url = f"{self._scheme}://{node}/v3/{path}"
            response = self._http.post(url, content=content, headers=headers, timeout=timeout)
            said = response.json()
        except ValueError:
            raise Unavailable(f"{node}: {response.text.strip()[:_SHOWN]!r} is no answer of etcd") from None
        except httpx.HTTPError as error:
            raise Unavailable(f"{node}: {str(error) or type(error).__name__}") from error
        if not isinstance(said, dict):
            raise Unavailable(f"{node}: {said!r} is no answer of etcd")
        if response.is_error or "error" in said:
            raise _refusal(node, said)
        result: Json = said.get("result", said)
        return result


class _NoToken(InvalidValue):
    """etcd takes this token no longer, or asks for one."""


def _refusal(node: str, said: Json) -> CatenaryError:
    error = said.get("error")  # of a stream it is an object
    about = error if isinstance(error, dict) else said
    code = about.get("code", about.get("grpc_code"))
    text = f"etcd at {node}: {about.get('message', error)}"
    if any(words in text for words in _STALE):
        return _NoToken(f"{text}: it asks for a user, so give --etcd-user-file")
    if "too many operations" in text or "too large" in text or "larger than max" in text:
        return InvalidValue(f"{text}; {_LIMITS}")
    if code == _NO_ROOM:
        return InsufficientStorage(
            f"{text}; compact and defragment it or raise its --quota-backend-bytes, and end the alarm with "
            "etcdctl alarm disarm: then it goes on by itself"
        )
    if code in _TRANSIENT:
        return Unavailable(f"{node}: {about.get('message', error)}")
    return InvalidValue(text)


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def decoded(text: str) -> str:
    return b64decode(text).decode()


def revision(answer: Json) -> int:
    """Of all of etcd, as the node that answered knows it."""
    return int(answer["header"]["revision"])


def found(answer: Json) -> Sequence[Json]:
    """The entries of a range."""
    entries: Sequence[Json] = answer.get("kvs", [])
    return entries
