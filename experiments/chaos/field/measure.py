"""From what was seen in the stages to figures and claims. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from catenary.session import Timeouts
from experiments.chaos.field.churn import Drain
from experiments.chaos.field.schedule import FAULTS, KILLS, Kind
from experiments.chaos.field.timeline import Own, Row
from experiments.summary import Claim, Figure
from witness.places import PlaceKind
from witness.recording import Array, Recording
from witness.sightings import SYN
from witness.verdict import Finding, Verdict

TCP, UDP = 6, 17
SESSIONS, CHANGES, STRIKES, LIVE, SERVER_FIRST, DRAIN_S = 10_000, 50, 25, 50, 10, 1.0
STORM_RATE = 10.0
"""Changes of the chain set a second, in storms."""
DRAINS = 3
"""Undisturbed removals to measure, at least."""


@dataclass(frozen=True)
class Seen:
    """A stage when it is over."""

    rows: tuple[Row, ...]
    drains: tuple[Drain, ...]
    verdict: Verdict
    recording: Recording
    timeouts: Timeouts

    @property
    def headline(self) -> str:
        """As the witness says it, of the sessions that did cross."""
        return replace(self.verdict, violations=self.violations, bypassed=()).headline

    @property
    def faults(self) -> list[Row]:
        return [row for row in self.rows if row.strike.kind is not Kind.CALM]

    def cut(self) -> int:
        """Long-lived sessions that did not go on, but for those orphaned when the master lost its tables."""
        return sum(len(row.cut) - _cut_as_orphans(row) for row in self.faults)

    @cached_property
    def violations(self) -> tuple[Finding, ...]:
        """Sessions that crossed two chains, or none.

        But for as many as one loss of the master's tables orphaned, of those that it may have: TCP sessions
        older than it that came to another chain while orphans were counted.
        """
        found = [item for item in self._found() if not self._rested(item.session)]
        for row in self.faults:
            orphans = [item for item in found if self._may_be_orphaned(item.session, row)]
            excused = orphans[: row.orphaned - _cut_as_orphans(row)]
            found = [item for item in found if item not in excused]
        return tuple(found)

    def rested(self) -> int:
        """Sessions that went into another chain when none had seen them for longer than their timeout.

        By then they were new ones. Taps outside see what a dead load balancer drops, and take that for a sign
        of life.
        """
        return sum(self._rested(item.session) for item in self._found())

    def _found(self) -> list[Finding]:
        return [*self.verdict.violations, *self.verdict.bypassed]

    def _rested(self, session: int) -> bool:
        visits = self._visits(session)
        rests = [
            later[0] - earlier[1] > 1e9 * self._timeout(session, later[0])
            for earlier, later in pairwise(visits)
        ]
        return bool(rests) and all(rests)

    def _visits(self, session: int) -> list[tuple[int, int]]:
        """When each network function saw it, first and last (ns), in order of the first."""
        seen: dict[str, tuple[int, int]] = {}
        for record in self._records(session):
            place, counts = self.recording.places[record["key"]["place"]], record["counts"]
            if self._at_nf(record):
                first, last = seen.get(place.nf, (int(counts["first_ns"]), 0))
                seen[place.nf] = min(first, int(counts["first_ns"])), max(last, int(counts["last_ns"]))
        return sorted(seen.values())

    def _timeout(self, session: int, before: int) -> float:
        """Of its state when it rested before that moment (ns), as far as it can be told, in seconds.

        Only what network functions had seen by then counts: a dead load balancer may have dropped the
        client's part of the handshake, and then it is not over. What follows another TCP session on its key
        soon and without a SYN is the end of that one, sent again and again.
        """
        if self.recording.key(session).kind == UDP:
            return self.timeouts.udp
        counts = self._counts(session)
        opened = ((counts["first_flags"] | counts["last_flags"]) & SYN).any()
        if not opened and self._since_another(session) <= 2 * self.timeouts.tcp_established:
            return self.timeouts.tcp_closing
        talked = any(
            record["counts"]["loaded"]
            for record in self._records(session)
            if self._at_nf(record) and record["counts"]["first_ns"] < before
        )
        return self.timeouts.tcp_established if talked else self.timeouts.tcp_opening

    def _at_nf(self, record: Any) -> bool:
        return self.recording.places[record["key"]["place"]].kind is PlaceKind.NF

    def _since_another(self, session: int) -> float:
        """How long before this one (s) the last session on its key ended; since ever, if there was none."""
        origins = self.recording.origins
        begun = origins[session]["first_ns"]
        others = np.flatnonzero((origins["key"] == origins[session]["key"]) & (origins["first_ns"] < begun))
        ended = max((int(self._counts(int(other))["last_ns"].max(initial=0)) for other in others), default=0)
        return (int(begun) - ended) / 1e9

    def crossed(self) -> list[float]:
        """The moments (s, monotonic) at which sessions were first seen where they must not be."""
        return sorted(self._crossing(item.session) for item in self.violations)

    def across(self, row: Row) -> tuple[int, int]:
        """What the witness saw both before a fault and after it: sessions, and those from the server side."""
        history = self.verdict.history
        alive = (history.first_ns < row.begun * 1e9) & (history.last_ns > row.well * 1e9)
        return int(alive.sum()), int((alive & history.server_opened).sum())

    def _may_be_orphaned(self, session: int, row: Row) -> bool:
        """Could the master have lost it, and placed it anew? Only TCP sessions are counted as orphans."""
        older = int(self.recording.origins[session]["first_ns"]) < row.struck * 1e9
        moved = len(self._visits(session)) > 1 and row.begun <= self._crossing(session) <= row.proved
        return self.recording.key(session).kind == TCP and older and moved

    def _counts(self, session: int) -> Array:
        counts: Array = self._records(session)["counts"]
        return counts

    def _records(self, session: int) -> Array:
        by_session, sessions = self._index
        first, end = np.searchsorted(sessions, [session, session + 1])
        return self.recording.records[by_session[first:end]]

    @cached_property
    def _index(self) -> tuple[Array, Array]:
        """The records by session, and the session of each of these."""
        sessions = self.recording.records["key"]["session"]
        by_session = np.argsort(sessions, kind="stable")
        return by_session, sessions[by_session]

    def _crossing(self, session: int) -> float:
        """When it came to a second network function, or else its first packet."""
        visits = self._visits(session)
        return (visits[1][0] if len(visits) > 1 else int(self.recording.origins[session]["first_ns"])) / 1e9


def _cut_as_orphans(row: Row) -> int:
    """Sessions of the crowd that did not go on because the master had lost them: only TCP is counted."""
    return min(row.orphaned, sum(reason.startswith("tcp ") for reason in row.cut))


def figures(stages: Sequence[Seen]) -> dict[str, Figure]:
    """All that is asked for, and what tells how hard it was tried."""
    faults = [row for seen in stages for row in seen.faults]
    across = [seen.across(row) for seen in stages for row in seen.faults]
    drains = [drain.detect_s for seen in stages for drain in seen.drains]
    calm = [row for seen in stages for row in seen.rows if row.strike.kind is Kind.CALM]
    kills = [row for row in faults if row.strike.kind in KILLS]
    upgrades = [row for row in faults if row.strike.kind is Kind.UPGRADE]
    storms = [row for row in faults if row.strike.kind is Kind.STORM]
    cuts = [row for row in faults if row.strike.kind is Kind.CUT_BYPASS]
    return {
        "sessions": Figure(sum(seen.verdict.sessions for seen in stages), "real sessions"),
        "changes": Figure(sum(seen.verdict.changes for seen in stages), "changes of the chain set"),
        "faults": Figure(sum(seen.verdict.faults for seen in stages), "faults"),
        "violations": Figure(sum(len(seen.violations) for seen in stages), "sessions"),
        "rested_sessions": Figure(
            sum(seen.rested() for seen in stages), "went on elsewhere after more than their timeout"
        ),
        "orphaned": Figure(sum(row.orphaned for row in faults), "TCP sessions that nobody knew any more"),
        "live_across": Figure(
            min((row[0] for row in across), default=None), "sessions at least, over each fault"
        ),
        "server_first_across": Figure(
            min((row[1] for row in across), default=None), "of them opened by the server side"
        ),
        "cut_sessions": Figure(sum(seen.cut() for seen in stages), "long-lived sessions"),
        "packets_lost_calm": Figure(sum(row.lost for row in calm), f"of {sum(row.sent for row in calm)}"),
        "packets_lost_on_daemon_kill": Figure(
            sum(row.lost for row in kills) if kills else None, f"of {sum(row.sent for row in kills)}"
        ),
        "packets_lost_on_upgrade": Figure(
            sum(row.lost for row in upgrades) if upgrades else None, f"of {sum(row.sent for row in upgrades)}"
        ),
        "storm_changes_per_s": Figure(
            _rate(storms, lambda own: own.changes), f"in force, over {len(storms)} storms"
        ),
        "storm_epochs_per_s": Figure(
            _rate(storms, lambda own: own.epochs), "that these took: what comes at once is one"
        ),
        "asks_unanswered": Figure(
            min((row.own.unanswered for row in cuts), default=None),
            f"datagrams at least, that resting sessions lost in each of {len(cuts)} cuts",
        ),
        "drains": Figure(len(drains), "removals that no fault disturbed"),
        "drain_detect_s": Figure(round(max(drains), 3) if drains else None, "s, the longest of these"),
        "witness_dropped": Figure(sum(seen.verdict.witness_dropped for seen in stages), "packets"),
    }


def _rate(storms: Sequence[Row], number: Callable[[Own], int]) -> float | None:
    """So many a second, the median of all storms: one answer that got lost takes a second of its storm."""
    rates = [number(row.own) / row.own.seconds for row in storms if row.own.seconds]
    return round(median(rates), 1) if rates else None


def claims(kinds: Collection[Kind], each: int) -> list[Claim]:
    """What a run must reach that has `each` faults of these kinds."""
    always = [
        Claim("violations", 0, 0),
        Claim("rested_sessions", at_most=each * len(kinds)),
        Claim("live_across", at_least=LIVE),
        Claim("server_first_across", at_least=SERVER_FIRST),
        Claim("cut_sessions", 0, 0),
        Claim("packets_lost_calm", 0, 0),
        Claim("witness_dropped", 0, 0),
    ]
    by_kind = [Claim("packets_lost_on_daemon_kill", 0, 0)] if KILLS & set(kinds) else []
    by_kind += [Claim("packets_lost_on_upgrade", 0, 0)] if Kind.UPGRADE in kinds else []
    by_kind += [Claim("storm_changes_per_s", at_least=STORM_RATE)] if Kind.STORM in kinds else []
    by_kind += [Claim("asks_unanswered", at_least=1)] if Kind.CUT_BYPASS in kinds else []
    sizes = [
        Claim("sessions", at_least=SESSIONS),
        Claim("changes", at_least=CHANGES),
        Claim("faults", at_least=STRIKES),
        Claim("drains", at_least=DRAINS),
        Claim("drain_detect_s", at_most=DRAIN_S),
    ]
    return [*always, *by_kind, *(sizes if set(kinds) >= set(FAULTS) else [])]
