"""What a decision means for the sessions of each segment: shares, who stays, cool-downs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from catenary.plans import CoolDown, SegmentPlan, ShareShift
from mgmt_system.predictions import Prospect
from mgmt_system.records import ChainRecord, Goal


@dataclass(frozen=True)
class Costs:
    """What the estimate is made from: live sessions of chains (None: unknown), what is known of the sessions
    of chains that may go, deadline in s."""

    sessions: Mapping[str, int | None]
    prospects: Mapping[str, Prospect]
    deadline: float | None = None

    def segments(self, before: Sequence[ChainRecord], changed: Collection[ChainRecord]) -> list[SegmentPlan]:
        """The segments in which chains change; `changed` are their records afterwards."""
        after = {record.id: record for record in before} | {record.id: record for record in changed}
        touched = dict.fromkeys(record.segment for record in changed)
        return [self._segment(name, before, list(after.values())) for name in touched]

    def _segment(self, name: str, before: Sequence[ChainRecord], after: Sequence[ChainRecord]) -> SegmentPlan:
        was, will = (
            [record for record in records if record.segment == name and record.live]
            for records in (before, after)
        )
        staying = {record.name for record in will if record.goal is Goal.PRESENT}
        going = [record for record in was if record.goal is Goal.PRESENT and record.name not in staying]
        old, new = _shares(was), _shares(will)
        return SegmentPlan(
            segment=name,
            stay=self._sessions([record.name for record in was if record.name in staying]),
            leave=self._sessions([record.name for record in going]),
            shares=[
                ShareShift(chain=chain, before=old.get(chain, 0.0), after=new.get(chain, 0.0))
                for chain in dict.fromkeys([*old, *new])
            ],
            cooling=[self._cooling(record) for record in going],
        )

    def _sessions(self, names: Sequence[str]) -> int | None:
        """All live sessions of these chains; None unless all are known."""
        counts = [self.sessions.get(name) for name in names]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def _cooling(self, record: ChainRecord) -> CoolDown:
        sessions, prospect = self.sessions.get(record.name), self.prospects.get(record.name)
        if prospect is None:
            return CoolDown(chain=record.name, sessions=sessions)
        found = prospect.forecast()
        return CoolDown(
            chain=record.name,
            sessions=sessions,
            earliest=found.earliest,
            p50=found.p50,
            p95=found.p95,
            cut=None if self.deadline is None else prospect.cut(self.deadline),
        )


def _shares(records: Sequence[ChainRecord]) -> dict[str, float]:
    """Each chain's share of new sessions that enter, by weight."""
    present = [record for record in records if record.goal is Goal.PRESENT and not record.chain.bypass]
    total = sum(record.chain.weight for record in present)
    return {record.name: record.chain.weight / total if total else 0.0 for record in present}
