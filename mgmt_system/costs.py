"""What a decision means for the sessions of each segment: shares, who stays, cool-downs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from catenary import wire
from catenary.config import ServiceConfig
from catenary.plans import CoolDown, SegmentPlan, ShareShift
from mgmt_system.forecast import Load, cut, forecast
from mgmt_system.records import ChainRecord, Goal


@dataclass(frozen=True)
class Costs:
    """What the estimate is made from: what is in force, loads of chains (None: unknown), deadline in s."""

    config: ServiceConfig
    loads: Mapping[str, Load | None]
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
        loads = [self.loads.get(name) for name in names]
        known = [load.sessions for load in loads if load is not None]
        return sum(known) if len(known) == len(loads) else None

    def _cooling(self, record: ChainRecord) -> CoolDown:
        load = self.loads.get(record.name)
        if load is None:
            return CoolDown(chain=record.name, sessions=None)
        timeouts = self.config.segments[record.segment].timeouts.timeouts()
        found = forecast(load, timeouts)
        return CoolDown(
            chain=record.name,
            sessions=load.sessions,
            earliest=found.earliest,
            p50=found.p50,
            p95=found.p95,
            cut=None if self.deadline is None else cut(load, self.deadline),
        )


def _shares(records: Sequence[ChainRecord]) -> dict[str, float]:
    """Each chain's share of new sessions that enter, by weight."""
    present = [record for record in records if record.goal is Goal.PRESENT and not record.chain.bypass]
    total = sum(record.chain.weight for record in present)
    return {record.name: record.chain.weight / total if total else 0.0 for record in present}


def load(chain: wire.ChainStatus, now: float) -> Load | None:
    """What statistics say of a chain, which count new sessions since it began; None: its master is silent."""
    if chain.sessions is None:
        return None
    age = now - chain.changed
    fresh = chain.state == "active" and chain.new_sessions and age > 0
    return Load(chain.sessions, chain.new_sessions / age if fresh and chain.new_sessions else None)
