"""The verdict on a run: figures, and one readable finding for each session that broke a promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catenary.session import SessionKey
from witness.example import Example
from witness.recording import Array

NO_CHAIN = -1


@dataclass(frozen=True)
class Finding:
    """One session that broke the promise; `side` is that of NFs that rewrite keys.

    `told` packets show it, of `size` that were seen, each as often as it was. The shortest sorts first.
    """

    session: int
    key: SessionKey
    size: int
    text: str
    told: int = 0
    side: str = ""

    def __lt__(self, other: Finding) -> bool:
        return (self.told, self.size, self.session) < (other.told, other.size, other.session)

    @property
    def name(self) -> str:
        return f"{self.key} ({self.side})" if self.side else str(self.key)

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


@dataclass(frozen=True)
class Loss:
    """What left `source` and did not reach `target`, of all that left: payload bytes and bare packets."""

    source: str
    target: str
    direction: str
    bytes: int
    bare: int
    of_bytes: int
    of_bare: int
    sessions: int

    @property
    def share(self) -> float:
        """The worse of the two shares, 0..1."""
        return max(self.bytes / max(self.of_bytes, 1), self.bare / max(self.of_bare, 1))


@dataclass(frozen=True)
class History:
    """When each session lived and where it went: arrays of one length, times in ns, `chain` an index."""

    first_ns: Array
    last_ns: Array
    chain: Array
    server_opened: Array


@dataclass(frozen=True)
class Thresholds:
    """What makes a run fail, besides violations, bypasses and packets that the witness itself missed."""

    min_share: float = 0.0
    """Each chain must carry at least this share of the new sessions (0..1)."""
    max_loss: float = 0.005
    """At most this share of bytes or packets may be lost between two taps (0..1)."""


@dataclass(frozen=True)
class Verdict:
    """What the checker found; findings are sorted, the shortest counter-example first.

    `killed` crossed because a fault had killed their chain: no violations. `partial` sessions were under way
    as the recording began, or began as it ended: they are judged for crossing only. `missing` tells what
    could not be had of events and pins: no failure.
    """

    chains: tuple[str, ...]
    history: History
    violations: tuple[Finding, ...] = ()
    killed: tuple[Finding, ...] = ()
    bypassed: tuple[Finding, ...] = ()
    example: Example | None = None
    losses: tuple[Loss, ...] = ()
    unsettled: int = 0
    partial: int = 0
    strays: int = 0
    changes: int = 0
    faults: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    thresholds: Thresholds = Thresholds()
    wall_ns: int = 0
    missing: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The report in one line."""
        line = (
            f"{self.sessions} sessions, {self.changes} changes, {self.faults} faults, "
            f"{len(self.violations)} violations"
        )
        others = (len(self.bypassed), "bypassed"), (len(self.killed), "crossed as their chain was killed")
        return line + "".join(f", {count} {what}" for count, what in others if count)

    @property
    def sessions(self) -> int:
        return len(self.history.first_ns)

    @property
    def server_opened(self) -> int:
        return int(self.history.server_opened.sum())

    @property
    def witness_dropped(self) -> int:
        return sum(self.dropped.values())

    @property
    def lost_bytes(self) -> int:
        return sum(loss.bytes for loss in self.losses)

    @property
    def lost_packets(self) -> int:
        return sum(loss.bare for loss in self.losses)

    @property
    def loss_share(self) -> float:
        """The worst share among all pairs of neighbouring taps."""
        return max((loss.share for loss in self.losses), default=0.0)

    def alive_across(self, moment_ns: int) -> int:
        """Sessions that had a packet before and one after `moment_ns` (monotonic clock)."""
        return int(((self.history.first_ns < moment_ns) & (self.history.last_ns > moment_ns)).sum())

    def new_sessions(self, since_ns: int = 0, until_ns: int = 2**63) -> dict[str, int]:
        """Sessions of each chain that began in [since, until)."""
        inside = (self.history.first_ns >= since_ns) & (self.history.first_ns < until_ns)
        counts = np.bincount(
            self.history.chain[inside & (self.history.chain >= 0)], minlength=len(self.chains)
        )
        return {name: int(count) for name, count in zip(self.chains, counts, strict=True)}

    def shares(
        self, since_ns: int = 0, until_ns: int = 2**63, among: Iterable[str] | None = None
    ) -> dict[str, float]:
        """Share of the new sessions of [since, until) for each chain of `among` (default: all), 0..1."""
        names = self.chains if among is None else tuple(among)
        counts = self.new_sessions(since_ns, until_ns)
        total = sum(counts[name] for name in names)
        return {name: counts[name] / total if total else 0.0 for name in names}

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the run does not pass, one line each; empty when it does."""
        lines = []
        if not self.sessions:
            lines.append("nothing to judge: no session was seen at an outer port of the load balancers")
        if self.violations:
            lines.append(f"{len(self.violations)} sessions crossed more than one chain")
        if self.bypassed:
            lines.append(f"{len(self.bypassed)} sessions had packets delivered past their chain")
        if self.witness_dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
            lines.append(f"the witness missed {self.witness_dropped} packets ({reasons})")
        if self.loss_share > self.thresholds.max_loss:
            worst = max(self.losses, key=lambda loss: loss.share)
            lines.append(
                f"{worst.share:.2%} lost between {worst.source} and {worst.target} ({worst.direction}): "
                f"at most {self.thresholds.max_loss:.2%} may be"
            )
        for name, share in self.shares().items():
            if share < self.thresholds.min_share:
                lines.append(
                    f"chain {name} carried {share:.1%} of the new sessions: "
                    f"at least {self.thresholds.min_share:.1%} are asked for"
                )
        return tuple(lines)

    @property
    def ok(self) -> bool:
        return not self.failures

    def summary(self, findings: int = 20) -> dict[str, Any]:
        """Plain data for JSON, with the first `findings` of each kind."""
        return {
            "ok": self.ok,
            "report": self.headline,
            "failures": list(self.failures),
            "missing": list(self.missing),
            "sessions": self.sessions,
            "server_opened": self.server_opened,
            "changes": self.changes,
            "faults": self.faults,
            "violations": len(self.violations),
            "killed": len(self.killed),
            "bypassed": len(self.bypassed),
            "witness_dropped": self.witness_dropped,
            "dropped": dict(self.dropped),
            "lost_bytes": self.lost_bytes,
            "lost_packets": self.lost_packets,
            "loss_share": self.loss_share,
            "unsettled": self.unsettled,
            "partial": self.partial,
            "strays": self.strays,
            "new_sessions": self.new_sessions(),
            "shares": self.shares(),
            "losses": [{**loss.__dict__, "share": loss.share} for loss in self.losses],
            "findings": [
                str(finding) for finding in (*self.violations[:findings], *self.bypassed[:findings])
            ],
            "example": self.example.plain(self.wall_ns) if self.example else None,
        }
