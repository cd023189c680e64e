"""The typed client of the management system, over httpx: what CLI, experiments and users talk to it with."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from catenary import wire
from catenary.autoscale import Mode, ModeRequest, ScaleView
from catenary.config import ServiceConfig
from catenary.errors import Unavailable
from catenary.explanations import Explanation
from catenary.led import LedClient
from catenary.plans import PlanView, ServiceView
from catenary.tls import Identity
from catenary.token import read_token
from catenary.traffic import TrafficSample

DEFAULT_URL = "http://127.0.0.1:8080"
_COPIED_S = 60.0
"""Seconds that the management system may take to copy its store, and to check the copy."""
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What a header may hold as it is, beside letters and digits; anything else is percent-encoded."""


def user() -> str:
    """Who runs this, as the journal has it: user@host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an ID without a name, as containers have it
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


class ManagementClient(LedClient):
    """The management system: what operators, experiments and the CLI talk to.

    Its journal keeps `who` asks for a change, and `why`. `match` is the `revision` of what was read: a chain,
    the list of chains, the configuration. If that has changed since, `PreconditionFailed` is raised, and
    nothing is done.

    `url` may be several, with commas between, of management systems that share a store.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, who: str | None = None, why: str | None = None, **options: Any
    ) -> None:
        said = {"Catenary-User": who, "Catenary-Why": why}
        headers = {name: quote(text, safe=_PLAIN) for name, text in said.items() if text is not None}
        super().__init__(url, what="management system", headers=headers, **options)

    @classmethod
    def from_environment(
        cls, why: str | None = None, *, who: str | None = None, token: str | None = None, **options: Any
    ) -> Self:
        """From CATENARY_URL, CATENARY_TOKEN_FILE, CATENARY_CA, CATENARY_CERT and CATENARY_KEY, all optional.

        `who` is user@host; a `token` that is given takes the place of the file.
        """
        names = ("CATENARY_TOKEN_FILE", "CATENARY_CA", "CATENARY_CERT", "CATENARY_KEY")
        token_file, ca, cert, key = (Path(text) if text else None for text in map(os.environ.get, names))
        return cls(
            os.environ.get("CATENARY_URL", DEFAULT_URL),
            token=token or read_token(token_file),
            ca=ca,
            identity=Identity.given(cert, key, "CATENARY_CERT and CATENARY_KEY"),
            who=who or user(),
            why=why,
            **options,
        )

    def caller(self) -> wire.CallerView:
        """As whom the service knows the bearer of this token."""
        return self.call("GET", "/v1/caller", wire.CallerView)

    def health(self) -> wire.ManagementHealth:
        return self.call("GET", "/v1/health", wire.ManagementHealth)

    def status(self) -> wire.StatusView:
        return self.call("GET", "/v1/status", wire.StatusView)

    def traffic(self, since: float | None = None, limit: int | None = None) -> list[TrafficSample]:
        """Samples later than a moment (s since the epoch), oldest first; without one, the last."""
        return self.call("GET", "/v1/traffic", list[TrafficSample], since=since, limit=limit)

    def chains(self, at: float | None = None) -> list[wire.ChainView]:
        """Those of today, or of a past moment: seconds since the epoch."""
        return self.call("GET", "/v1/chains", list[wire.ChainView], at=at)

    def history(self, **wanted: Any) -> Iterator[wire.HistoryEntry]:
        """Entries of the journal, oldest first. `wanted` may have `since` and `until` (seconds since the
        epoch), `after` (a number), `last` (the last so many), `chain`, `segment`, `kind` and `who`."""
        for entries in self.pages("/v1/history", list[wire.HistoryEntry], **wanted):
            yield from entries

    def chain(self, name: str) -> wire.ChainView:
        return self.call("GET", f"/v1/chains/{name}", wire.ChainView)

    def chains_revision(self) -> str:
        """That of the list of chains: `match` of an add or a rebalance."""
        return self.revision("/v1/chains")

    def add_chain(self, request: wire.ChainRequest, *, match: str | None = None) -> wire.OperationView:
        return self.call("POST", "/v1/chains", wire.OperationView, request, match=match)

    def remove_chain(
        self,
        name: str,
        *,
        force: bool = False,
        deadline: float | None = None,
        then: wire.Then | None = None,
        match: str | None = None,
    ) -> wire.OperationView:
        """`deadline` seconds after the last new session what is left is reset or rebalanced (`then`)."""
        return self.call(
            "DELETE",
            f"/v1/chains/{name}",
            wire.OperationView,
            match=match,
            force=force,
            deadline=deadline,
            then=then,
        )

    def cancel_removal(self, name: str, *, match: str | None = None) -> wire.OperationView:
        return self.call("POST", f"/v1/chains/{name}/cancel", wire.OperationView, match=match)

    def cordon_chain(self, name: str, *, force: bool = False, match: str | None = None) -> wire.ChainView:
        return self.call("POST", f"/v1/chains/{name}/cordon", wire.ChainView, match=match, force=force)

    def uncordon_chain(self, name: str, *, match: str | None = None) -> wire.ChainView:
        return self.call("POST", f"/v1/chains/{name}/uncordon", wire.ChainView, match=match)

    def promote_canary(self, name: str, *, match: str | None = None) -> wire.ChainView:
        """Make a canary a chain like the others; `remove_chain` withdraws one."""
        return self.call("POST", f"/v1/chains/{name}/promote", wire.ChainView, match=match)

    def autoscalers(self) -> list[ScaleView]:
        return self.call("GET", "/v1/autoscale", list[ScaleView])

    def set_autoscale_mode(self, segment: str, mode: Mode) -> wire.OperationView | None:
        """None: it is so already."""
        content = self.send("PUT", f"/v1/autoscale/{segment}/mode", ModeRequest(mode=mode))
        return wire.OperationView.model_validate_json(content) if content else None

    def insert(self, segment: str, *, match: str | None = None) -> wire.SegmentView:
        """Put the pair of a segment around the chain that carries its traffic. Idempotent."""
        return self.call("POST", f"/v1/segments/{segment}/insert", wire.SegmentView, match=match)

    def rebalance(
        self,
        request: wire.Rebalance | None = None,
        *,
        segment: str | None = None,
        match: str | None = None,
    ) -> wire.Rebalanced:
        """Spread new sessions afresh; `segment` is needed if there are several and no weights are given."""
        body = request or wire.Rebalance()
        return self.call("POST", "/v1/rebalance", wire.Rebalanced, body, match=match, segment=segment)

    def session(self, key: str, segment: str | None = None) -> wire.SegmentSession:
        """A session, the last of its key if it ended."""
        return self.call("GET", "/v1/session", wire.SegmentSession, key=key, segment=segment)

    def sessions(self, **wanted: Any) -> Iterator[wire.SegmentSession]:
        """Sessions, page by page; what may be `wanted` is what the REST call takes, `limit` is of a page."""
        for page in self.pages("/v1/sessions", list[wire.SegmentSession], **wanted):
            yield from page

    def capture(
        self, chain: str, *, at: str = "master", session: str | None = None, seconds: float, packets: int
    ) -> Iterator[bytes]:
        """A pcap of what a chain, or one session in it, gets and gives at one of its load balancers."""
        query = {"chain": chain, "at": at, "session": session, "seconds": seconds, "packets": packets}
        return self.stream("/v1/capture", silence=seconds, **query)

    def backup(self) -> Iterator[bytes]:
        """A copy of its store, as of one moment: an SQLite file."""
        return self.stream("/v1/backup", silence=_COPIED_S)

    def explain(self, session: str, segment: str | None = None) -> Explanation:
        """Where a session goes and why; one that is over, or did not begin yet, too."""
        return self.call("GET", "/v1/explain", Explanation, session=session, segment=segment)

    def end_session(self, request: wire.SessionRequest) -> wire.SessionStatus:
        """Reset a TCP connection, or move a session to another chain."""
        return self.call("POST", "/v1/sessions/end", wire.SessionStatus, request)

    def config_revision(self) -> str:
        """That of the configuration: `match` of an apply."""
        return self.revision("/v1/config")

    def config(self) -> ServiceConfig:
        """What is in force, as a document that could be applied."""
        return self.call("GET", "/v1/config", ServiceConfig)

    def plan(
        self,
        config: ServiceConfig,
        *,
        force: bool = False,
        deadline: float | None = None,
        then: wire.Then | None = None,
    ) -> PlanView:
        """What applying a document would change and cost now; changes nothing."""
        return self.call("POST", "/v1/plan", PlanView, config, force=force, deadline=deadline, then=then)

    def apply(
        self,
        config: ServiceConfig,
        *,
        token: str | None = None,
        match: str | None = None,
        force: bool = False,
        deadline: float | None = None,
        then: wire.Then | None = None,
    ) -> wire.OperationView | None:
        """Make a document true; `token` is that of its plan. None: there is nothing to do."""
        query = {"plan": token, "force": force, "deadline": deadline, "then": then}
        content = self.send("PUT", "/v1/config", config, match=match, **query)
        return wire.OperationView.model_validate_json(content) if content else None

    def services(self) -> list[ServiceView]:
        return self.call("GET", "/v1/services", list[ServiceView])

    def service(self, name: str) -> ServiceView:
        return self.call("GET", f"/v1/services/{name}", ServiceView)

    def operations(self) -> list[wire.OperationView]:
        return self.call("GET", "/v1/operations", list[wire.OperationView])

    def operation(self, operation_id: str) -> wire.OperationView:
        return self.call("GET", f"/v1/operations/{operation_id}", wire.OperationView)

    def wait(
        self,
        operation: wire.OperationView,
        timeout: float,
        *,
        poll: float = 0.05,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> wire.OperationView:
        """Poll until the operation is over, or raise `Unavailable` after `timeout` seconds."""
        deadline = clock() + timeout
        while operation.state == "running":
            if clock() > deadline:
                raise Unavailable(
                    f"operation {operation.id} ({operation.kind} {operation.chain or 'a file'}) is not done "
                    f"after {timeout:g} s: {self._standing(operation)}"
                )
            sleep(poll)
            operation = self.operation(operation.id)
        return operation

    def _standing(self, operation: wire.OperationView) -> str:
        """How far an operation is, and what it waits for."""
        if operation.kind == "apply":
            waiting = [chain for chain in self.chains() if chain.name in operation.chains and chain.reason]
            reasons = [f"{chain.name} is {chain.state}, {chain.reason}" for chain in waiting]
            return "; ".join([f"{operation.done} of {len(operation.chains)} chains are", *reasons])
        chain = self.chain(operation.chain)
        return f"the chain is {chain.state}" + (f", {chain.reason}" if chain.reason else "")
