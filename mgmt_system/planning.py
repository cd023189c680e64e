"""From the configuration in force to another one: what changes, what can't, and the records afterwards. Pure.

The chains in force are those on record; the rest is the document that was applied last. A chain keeps its NFs
and its tags for life, and what a live chain uses stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from catenary.chain import ChainState
from catenary.config import ChainConfig, ServiceConfig
from catenary.document import Fault
from catenary.errors import CatenaryError
from catenary.plans import Kind, PlanChange, Verb
from catenary.wire import Tags
from mgmt_system import admission, live
from mgmt_system.admission import Deadline, Register, Wanted, facts
from mgmt_system.records import ChainRecord, Goal

_KINDS: Mapping[str, Kind] = {
    "switches": "switch",
    "hosts": "host",
    "nfs": "nf",
    "balancers": "balancer",
    "segments": "segment",
    "services": "service",
    "autoscale": "autoscale",
}


@dataclass(frozen=True)
class Terms:
    """How a change is made: its operation, when, and what becomes of sessions that are left.

    `applies` are the IDs of the applies that are running.
    """

    operation: str
    now: float
    force: bool = False
    deadline: Deadline | None = None
    applies: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """`records` are the chains that change, as they are afterwards; with `faults` nothing may be written.

    `taken` are those that only go on under another operation, or under none.
    """

    changes: list[PlanChange] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    records: list[ChainRecord] = field(default_factory=list)
    taken: list[ChainRecord] = field(default_factory=list)

    @property
    def document(self) -> bool:
        """Does more than chains change?"""
        return any(change.kind != "chain" for change in self.changes)

    @property
    def network(self) -> bool:
        """Does what the controller reads change?"""
        return any(change.kind not in ("chain", "service", "autoscale") for change in self.changes)


def in_force(config: ServiceConfig, records: Collection[ChainRecord]) -> ServiceConfig:
    """The document that says what is: the one applied last, with the chains that shall be there.

    Those that an autoscaler has are no part of it.
    """
    chains = {
        record.name: _entry(record) for record in records if record.staying and not _scales(config, record)
    }
    return config.model_copy(update={"chains": chains})


def leavers(wanted: ServiceConfig, records: Collection[ChainRecord]) -> list[ChainRecord]:
    """The chains that `wanted` does without."""
    chains = wanted.chains | wanted.bypasses
    return [
        record
        for record in records
        if record.staying and record.name not in chains and not _scales(wanted, record)
    ]


def _scales(config: ServiceConfig, record: ChainRecord) -> bool:
    """Is this chain one that comes and goes by itself?"""
    return record.segment in config.autoscale and not record.chain.bypass


def _entry(record: ChainRecord) -> ChainConfig:
    said: dict[str, Any] = {} if record.chain.bypass else {"weight": _weight(record)}
    if record.canary is not None:
        said = {"canary": record.canary}  # from which its weight follows
    return ChainConfig.model_construct(  # what is on record was judged when it came
        nfs=list(record.chain.nfs),
        segment=record.segment,
        tags=Tags.of(record.chain.tags),
        cordoned=record.uncordoned is not None,
        **said,
    )


def _weight(record: ChainRecord) -> int:
    return record.chain.weight if record.uncordoned is None else record.uncordoned


def decide(
    config: ServiceConfig, wanted: ServiceConfig, records: Sequence[ChainRecord], terms: Terms
) -> Decision:
    """What applying `wanted` means now."""
    decision = Decision()
    decision.changes.extend(_network_changes(config, wanted))
    decision.faults.extend(live.faults(config, wanted, records))
    _Chains(config, wanted, records, terms, decision).decide()
    return decision


def _network_changes(config: ServiceConfig, wanted: ServiceConfig) -> Iterator[PlanChange]:
    if config.controller_url != wanted.controller_url:
        yield _change("url", "controller", {"url": config.controller_url}, {"url": wanted.controller_url})
    for section, kind in _KINDS.items():
        old, new = getattr(config, section), getattr(wanted, section)
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) == new.get(name):
                continue
            yield _change(kind, name, _said(old.get(name)), _said(new.get(name)))


def _change(kind: Kind, name: str, before: dict[str, Any], after: dict[str, Any]) -> PlanChange:
    """What is only on one side came or went; of the rest only the keys that differ are told."""
    verb: Verb = "add" if not before else "change" if after else "remove"
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return PlanChange(
        kind=kind,
        name=name,
        verb=verb,
        before={key: before[key] for key in keys if key in before},
        after={key: after[key] for key in keys if key in after},
    )


def _said(entry: Any) -> dict[str, Any]:
    if entry is None:
        return {}
    return {"dpid": entry} if isinstance(entry, int) else entry.model_dump(mode="json")


class _Chains:
    """The chains of one decision: each is decided on what those before it left."""

    def __init__(
        self,
        config: ServiceConfig,
        wanted: ServiceConfig,
        records: Sequence[ChainRecord],
        terms: Terms,
        decision: Decision,
    ) -> None:
        self._config = config
        self._wanted = wanted
        self._chains = wanted.chains | wanted.bypasses
        self._before = records
        self._records = {record.id: record for record in records}
        self._terms = terms
        self._decision = decision
        self._register = Register(records, facts(wanted), terms.now)

    def decide(self) -> None:
        """Those that leave first: a segment may be left to others."""
        held = {record.name: record for record in self._before if record.live}
        for record in leavers(self._wanted, self._before):
            self._remove(record)
        for name, chain in self._chains.items():
            try:
                if name in held:
                    self._keep(held[name], chain)
                else:
                    self._add(name, chain)
            except CatenaryError as error:
                self._fault(name, error.detail)
        self._check_served()
        if self._decision.changes:
            self._take_over()

    def _write(self, record: ChainRecord, change: PlanChange) -> None:
        self._records[record.id] = record
        self._register.note(record)
        self._decision.records.append(record)
        self._decision.changes.append(change)

    def _fault(self, name: str, text: str, *key: str) -> None:
        self._decision.faults.append(Fault(("chains", name, *key), text))

    def _remove(self, record: ChainRecord) -> None:
        end, segment = self._terms.deadline, self._wanted.segments.get(record.segment)
        if end and end.then == "rebalance" and segment and segment.rewrites:
            self._fault(record.name, f"it is in {admission.no_refuge(record.segment)}")
        after = admission.leaving(record, self._terms.operation, end)
        before = _said(_entry(record))
        self._write(after, PlanChange(kind="chain", name=record.name, verb="remove", before=before))

    def _add(self, name: str, chain: ChainConfig) -> None:
        terms = self._terms
        request = Wanted(
            tuple(chain.nfs),
            name,
            chain.tags.pair() if chain.tags else None,
            chain.weight,
            self._wanted.segment_of(chain),
            chain.canary,
        )
        # Chains of one request are told apart by their names: the operation's ID alone is not enough.
        record = self._register.admit(request, f"{terms.operation}-{name}")
        record = _weighed(replace(record, operation=terms.operation), chain)
        self._write(record, PlanChange(kind="chain", name=name, verb="add", after=_said(_entry(record))))

    def _keep(self, record: ChainRecord, chain: ChainConfig) -> None:
        key = self._fixed(record, chain)
        if key is not None:
            said, wanted = ({key: side[key]} for side in self._sides(record, chain))
            self._decision.changes.append(_change("chain", record.name, said, wanted))
            text = f"can't be changed while the chain is {record.state}: give the new one another name"
            self._fault(record.name, text, key)
            return
        if not record.staying:
            back = admission.recall(record.name, [record], self._terms.operation, self._terms.now)
            _, wanted = self._sides(record, chain)
            change = PlanChange(kind="chain", name=record.name, verb="take back", after=wanted)
            self._write(_weighed(back, chain), change)
            return
        weighed = _weighed(record, chain)
        if weighed != record:
            after = replace(weighed, operation=self._terms.operation)
            self._write(after, _change("chain", record.name, *self._sides(record, chain)))
        elif record.chain.bypass and self._reclassified(record.segment):
            # The change is the service's; it is done when the master of this chain's segment has it.
            after = replace(record, operation=self._terms.operation)
            self._records[record.id] = after
            self._decision.records.append(after)

    def _fixed(self, record: ChainRecord, chain: ChainConfig) -> str | None:
        """The first key that the document changes although a chain keeps it for life."""
        if tuple(chain.nfs) != record.chain.nfs:
            return "nfs"
        if self._wanted.segment_of(chain) != record.segment:
            return "segment"
        return "tags" if chain.tags and chain.tags.pair() != record.chain.tags else None

    def _sides(self, record: ChainRecord, chain: ChainConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        """A chain as it is, and as the document says it, with what that leaves out."""
        tags = chain.tags or Tags.of(record.chain.tags)
        asked = chain.model_copy(update={"segment": self._wanted.segment_of(chain), "tags": tags})
        return _said(_entry(record)), _said(asked)

    def _reclassified(self, segment: str) -> bool:
        return self._config.rules(segment) != self._wanted.rules(segment)

    def _check_served(self) -> None:
        """A segment that takes sessions must go on doing so."""
        if self._terms.force:
            return
        for segment in sorted(admission.unserved(self._before, self._records.values())):
            text = (
                f"no chain of segment {segment!r} would take sessions: without one traffic is dropped; "
                "keep one, or use --force (?force=true)"
            )
            self._decision.faults.append(Fault(("chains",), text))

    def _take_over(self) -> None:
        """What goes together goes on under this operation: what comes to a segment that loses a chain, and
        all of an earlier apply that is not through with what comes and goes, or that is changed."""
        changed = {record.id for record in self._decision.records}
        losing = {
            record.segment
            for record in self._records.values()
            if record.state is ChainState.ACTIVE and record.goal is Goal.ABSENT
        }
        going_on = [record for record in self._before if record.operation and not record.settled]
        ended = {
            record.operation
            for record in going_on
            if record.operation in self._terms.applies and (record.id in changed or not record.let_go)
        }
        joining = {record.id for record in going_on if record.staying and record.segment in losing}
        for record in self._before:
            if record.id not in changed and (record.operation in ended or record.id in joining):
                wanted = record.goal is not Goal.FAILED and record.state is not ChainState.REMOVED
                operation = self._terms.operation if wanted else None
                self._decision.taken.append(replace(record, operation=operation))


def _weighed(record: ChainRecord, chain: ChainConfig) -> ChainRecord:
    """With the weight of the document. A bypass has none: new sessions are not shared with it."""
    if not chain.nfs:
        return replace(record, chain=replace(record.chain, weight=0), uncordoned=None)
    given = chain.weight
    if chain.canary is not None:
        given = admission.CANARY_FIRST if record.canary is None else _weight(record)
    weight, uncordoned = (0, given) if chain.cordoned else (given, None)
    if (weight, uncordoned, chain.canary) == (record.chain.weight, record.uncordoned, record.canary):
        return record  # as most do, of a thousand
    weighed = replace(record.chain, weight=weight)
    return replace(record, chain=weighed, uncordoned=uncordoned, canary=chain.canary)
