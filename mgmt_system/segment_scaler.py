"""The autoscaler of one segment: reads, decides, and asks for what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from catenary import wire
from catenary.autoscale import AutoscaleConfig, ScaleView
from catenary.chain import ChainState
from catenary.errors import CatenaryError
from mgmt_system import autoscaler
from mgmt_system.autoscaler import Cost, Memory, Reading, Verdict
from mgmt_system.command_hook import CommandHook
from mgmt_system.copies import Copies, Done, Nfs
from mgmt_system.current import Current
from mgmt_system.journal import Event
from mgmt_system.loads import reading, scaled
from mgmt_system.manager import Manager
from mgmt_system.peers import Peers
from mgmt_system.provisioning import Provisioner, StaticPool
from mgmt_system.records import Author, ChainRecord, Goal
from mgmt_system.store.ledger import Ledger
from mgmt_system.traffic import Heard

AUTOSCALER = Author("autoscaler")
_TROUBLES = ("missing", "full")
_HELD = (*_TROUBLES, "paused")
"""Reasons to decide nothing that the journal tells of."""


@dataclass(frozen=True)
class Parts:
    """What all autoscalers share."""

    ledger: Ledger
    manager: Manager
    peers: Peers
    network: Current
    hooks: Path | None
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    workers: ThreadPoolExecutor


def configured(segment: str, config: AutoscaleConfig, reason: str) -> ScaleView:
    """Of an autoscaler that has not decided anything."""
    return ScaleView(
        segment=segment, mode=config.mode, minimum=config.minimum, maximum=config.maximum, reason=reason
    )


class SegmentScaler:
    """`step` does what is due now; `view` is what it last decided."""

    def __init__(self, segment: str, config: AutoscaleConfig, parts: Parts) -> None:
        self._segment = segment
        self._config = config
        self._parts = parts
        source = config.provisioner
        copies = [tuple(copy) for copy in source.copies]
        made: Provisioner = StaticPool()
        if source.command:
            made = CommandHook(segment, source, parts.hooks)
        self._copies = Copies(made, copies, parts.workers, parts.monotonic)
        self._memory = Memory()
        self._heard: Heard | None = None
        self._decided = float("-inf")
        self._told = ""
        self._why: str | None = None
        self._failures = 0
        self.view = configured(segment, config, "there was no decision yet")

    def follow(self, config: AutoscaleConfig) -> bool:
        """Go by another configuration; False if it takes another one of these. What its programs are doing
        is waited for first."""
        if config.provisioner != self._config.provisioner:
            return self._copies.busy
        if config != self._config:
            self._config, self._memory, self._decided = config, Memory(), float("-inf")
        return True

    def close(self) -> None:
        self._copies.cancel()

    def step(self) -> None:
        for done in self._copies.collect():
            self._tell_done(done)
        if self._config.mode == "act":
            for nfs in self._copies.ready:
                self._add(nfs)
            self._copies.tidy(self._used())
        if self._parts.monotonic() - self._decided >= self._config.interval:
            self._decided = self._parts.monotonic()
            self._decide(self._used())
        copies = self._copies.views(self._used())
        self.view = self.view.model_copy(update={"copies": copies, "failures": self._failures})

    def _used(self) -> set[Nfs]:
        """The NFs of all chains that there are now: an operator may have added one just so."""
        records = self._parts.ledger.snapshot().chains
        return {record.chain.nfs for record in records if record.live}

    def hold(self, reason: str) -> None:
        """Nothing can be done now."""
        self.view = self.view.model_copy(update={"verb": "hold", "held": True, "names": [], "reason": reason})

    def _decide(self, used: set[Nfs]) -> None:
        if self._config.mode == "paused":
            self._memory, self._heard = Memory(), None
            self.view = configured(self._segment, self._config, "it is paused")
            self._tell_hold(Verdict("hold", 0, None, "it is paused", told="paused"))
            return
        found = self._read(used)
        now = self._parts.monotonic()
        verdict, self._memory = autoscaler.decide(self._config, found, self._memory, now)
        records = [it for it in self._parts.ledger.snapshot().of(self._segment) if scaled(it)]
        if verdict.verb == "hold":
            self._show(verdict, found, [])
            self._tell_hold(verdict)
        elif verdict.verb == "out":
            self._scale_out(verdict, found, records, used)
        else:
            self._scale_in(verdict, found, records)

    def _read(self, used: set[Nfs]) -> Reading:
        master = self._parts.network.segments[self._segment].master
        try:
            stats = self._parts.peers.balancers[master].stats()
        except CatenaryError as error:
            self._heard = None
            return Reading(self._parts.monotonic(), missing=error.detail)
        heard = Heard(self._parts.monotonic(), stats)
        before, self._heard = self._heard, heard
        records = self._parts.ledger.snapshot().of(self._segment)
        return reading(records, before, heard, self._copies.coming(used))

    def _scale_out(
        self, verdict: Verdict, found: Reading, records: Sequence[ChainRecord], used: set[Nfs]
    ) -> None:
        """Chains that cool down by its own order are taken back first, the last one removed before others."""
        back = self._cooling(records)[: verdict.count]
        self._show(verdict, found, back)
        self._tell(verdict, back)
        if self._config.mode != "act":
            return
        taken = sum(
            self._ask(partial(self._parts.manager.cancel, name, author=self._author(verdict)))
            for name in back
        )
        self._why = _said(verdict)
        failed = {record.chain.nfs: record.name for record in self._failed()}
        short = verdict.count - taken - self._copies.start(verdict.count - taken, used, failed)
        if short > 0:
            aside = [f"remove chain {name}, which failed" for name in failed.values()]
            way = "; ".join([f"{verdict.reason}, but no copy is free for {short} of them", *aside])
            self.view = self.view.model_copy(update={"reason": way})

    def _failed(self) -> list[ChainRecord]:
        records = self._parts.ledger.snapshot().of(self._segment)
        return [record for record in records if record.state is ChainState.FAILED]

    def _scale_in(self, verdict: Verdict, found: Reading, records: Sequence[ChainRecord]) -> None:
        costs = autoscaler.cheapest(self._costs(records, found), verdict.count)
        names = [cost.name for cost in costs]
        self._show(verdict, found, names)
        self._tell(verdict, [_costing(cost) for cost in costs])
        if self._config.mode == "act":
            for name in names:
                self._ask(
                    partial(self._parts.manager.remove, name, force=False, author=self._author(verdict))
                )

    def _costs(self, records: Sequence[ChainRecord], found: Reading) -> list[Cost]:
        serving = {load.name: load.carries.get("sessions") for load in found.serving}
        candidates = [record for record in records if record.name in serving]
        forecasts = self._parts.manager.predictions.forecasts(candidates)
        now = self._parts.clock()
        return [
            Cost(
                record.name,
                forecasts[record.name].p50 if record.name in forecasts else None,
                serving[record.name],
                now - record.created,
            )
            for record in candidates
        ]

    def _cooling(self, records: Sequence[ChainRecord]) -> list[str]:
        """The chains that it removed and that can be taken back."""
        snapshot = self._parts.ledger.snapshot()

        def ours(record: ChainRecord) -> bool:
            operation = snapshot.operation(record.operation)
            return operation is not None and operation.author.who == AUTOSCALER.who

        cooling = [it for it in records if it.state is ChainState.COOLING and it.goal is Goal.ABSENT]
        return [it.name for it in sorted(cooling, key=lambda it: -it.changed) if ours(it)]

    def _add(self, nfs: Nfs) -> None:
        request = wire.ChainRequest(nfs=list(nfs), segment=self._segment)
        author = Author(AUTOSCALER.who, self._why)
        try:
            self._parts.manager.add(request, author=author)
        except CatenaryError as error:
            self._copies.refuse(nfs, error.detail)
            self._note("provision", f"no chain of {' '.join(nfs)}: {error.detail}")
        else:
            self._copies.taken(nfs)

    def _ask(self, ask: Callable[[], object]) -> bool:
        """A request that is refused was overtaken by another one: the next decision sees what is."""
        try:
            ask()
        except CatenaryError as error:
            self._note("scale", f"refused: {error.detail}")
            return False
        return True

    def _author(self, verdict: Verdict) -> Author:
        return Author(AUTOSCALER.who, _said(verdict))

    def _show(self, verdict: Verdict, found: Reading, names: list[str]) -> None:
        config = self._config
        self.view = ScaleView(
            segment=self._segment,
            mode=config.mode,
            minimum=config.minimum,
            maximum=config.maximum,
            chains=None if found.missing else len(found.serving),
            coming=found.coming,
            desired=verdict.desired,
            verb=verdict.verb,
            held=verdict.told in _TROUBLES,
            names=names,
            reason=_said(verdict),
            at=self._parts.clock(),
            targets=list(verdict.targets),
        )

    def _tell_hold(self, verdict: Verdict) -> None:
        """Only what an operator may have to see to, once when it begins and once when it is over."""
        begins, ends = verdict.told in _HELD, self._told in _HELD
        if verdict.told != self._told and (begins or ends):
            self._note("scale", f"hold: {_said(verdict)}" if begins else "it decides again")
        self._told = verdict.told

    def _tell(self, verdict: Verdict, names: Sequence[str]) -> None:
        """Once: while no copy is free, or on a dry run, it would be the same again and again."""
        if verdict.told != self._told:
            would = "" if self._config.mode == "act" else "dry run, it would scale "
            what = f": {', '.join(names)}" if names else ""
            self._note("scale", f"{would}{verdict.verb} {_said(verdict)}{what}")
        self._told = verdict.told

    def _tell_done(self, done: Done) -> None:
        if done.fault is not None:
            self._failures += 1
            self._note("provision", f"{done.action} {' '.join(done.nfs)} failed: {done.fault}")
        elif self._config.provisioner.command:
            self._note("provision", f"{done.action} {' '.join(done.nfs)} done")

    def _note(self, kind: wire.HistoryKind, text: str) -> None:
        self._parts.ledger.note(Event(kind, AUTOSCALER, {}, self._segment, text=text))


def _said(verdict: Verdict) -> str:
    """The reason, with the figures behind it."""
    figures = [
        f"{it.name} {'?' if it.value is None else f'{it.value:.4g}'} a chain, target {it.target:g}"
        + ("" if it.wants is None else f", wants {it.wants}")
        for it in verdict.targets
    ]
    return "; ".join([verdict.reason, *figures])


def _costing(cost: Cost) -> str:
    time = "unknown" if cost.cooling is None else f"{cost.cooling:.0f} s"
    return f"{cost.name} (cool-down {time}, {cost.sessions if cost.sessions is not None else '?'} sessions)"
