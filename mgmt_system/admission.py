"""May a request be accepted? Pure: the request, all records and the network in; a new record or an error out.

All refusals are made here, before anything is written, so that a bad request changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from catenary.chain import WEIGHT_DEFAULT, Chain, ChainState, NetworkFunction, TagMode
from catenary.config import ServiceConfig
from catenary.errors import Conflict, InvalidValue, NotFound
from catenary.tags import TagPair, allocate
from mgmt_system.records import ChainRecord, Goal, Then

CANARY_FIRST = 1
"""Weight of a canary until it is active, and gets its share."""
_MADE_UP = re.compile(r"chain-([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Segment:
    """What admission must know of a segment: its ask ID, and how long IDs rest (2 D, in seconds)."""

    name: str
    ask_id: int
    rest: float


@dataclass(frozen=True)
class Network:
    """The NFs and segments of the network file; `fixed` NFs stand around the pair of a segment."""

    nfs: Mapping[str, NetworkFunction]
    segments: Mapping[str, Segment]
    fixed: Mapping[str, str] = field(default_factory=dict)


def facts(config: ServiceConfig) -> Network:
    """What admission must know of a configuration."""
    segments = {
        name: Segment(name, segment.ask_id, rest=2 * segment.timeouts.transit)
        for name, segment in config.segments.items()
    }
    return Network({name: nf.nf(name) for name, nf in config.nfs.items()}, segments, config.fixed)


@dataclass(frozen=True)
class Wanted:
    """A request for a chain; what is None is chosen here."""

    nfs: tuple[str, ...]
    name: str | None = None
    tags: TagPair | None = None
    weight: int = WEIGHT_DEFAULT
    segment: str | None = None
    canary: int | None = None


def admit(
    wanted: Wanted, records: Collection[ChainRecord], network: Network, operation: str, now: float
) -> ChainRecord:
    """The record of the new chain, state requested; `operation` is the ID of its operation.

    Raises `InvalidValue` (unknown NF or segment, tag out of range) or `Conflict` (name, NF or tag in use).
    """
    return Register(records, network, now).admit(wanted, operation)


class Register:
    """What chains on record hold: names, NFs, VLAN IDs. Many are admitted in the time of one look at all.

    `note` adds a chain, or what became of one.
    """

    def __init__(self, records: Collection[ChainRecord], network: Network, now: float) -> None:
        self._network = network
        self._now = now
        self._named: dict[str, ChainRecord] = {}
        self._crossed: dict[str, ChainRecord] = {}
        self._tagged: dict[int, ChainRecord] = {}
        self._resting: dict[int, float] = {}
        self._asks = {segment.ask_id: segment for segment in network.segments.values()}
        self._names: list[str] = []
        for record in records:
            self.note(record)

    def note(self, record: ChainRecord) -> None:
        chain = record.chain
        self._names.append(chain.name)
        if record.live:
            self._named[chain.name] = record
            for nf in chain.nfs:
                self._crossed[nf] = record
            for vid in chain.tags.ids:
                self._tagged[vid] = record
        elif record.state is ChainState.REMOVED and (over := self._rests_until(record)) > self._now:
            # Affinity rule 6: no late packet may meet a new chain.
            self._resting |= dict.fromkeys(chain.tags.ids, over)

    def _rests_until(self, record: ChainRecord) -> float:
        segment = self._network.segments.get(record.segment)
        return record.changed + (segment.rest if segment else 0)

    def admit(self, wanted: Wanted, operation: str) -> ChainRecord:
        """As the function `admit`; the new chain is noted."""
        segment = choose_segment(wanted.segment, self._network)
        for nf in wanted.nfs:
            if nf not in self._network.nfs:
                raise InvalidValue(f"unknown NF {nf!r}: this network has {_list(self._network.nfs)}")
        name = wanted.name or self._made_up()
        if name in self._named:
            raise Conflict(f"chain {name!r} exists: choose another name, or remove that chain first")
        self._check_nfs(wanted.nfs)
        weight = wanted.weight if wanted.canary is None else CANARY_FIRST
        chain = Chain(name, wanted.nfs, self._choose_tags(wanted.tags), weight)
        state, now = ChainState.REQUESTED, self._now
        record = ChainRecord(
            operation,
            chain,
            segment.name,
            state,
            Goal.PRESENT,
            now,
            now,
            operation=operation,
            canary=wanted.canary,
        )
        self.note(record)
        return record

    def _made_up(self) -> str:
        """A name does not come back at once: the number is above all that are on record."""
        numbers = (int(match[1]) for name in self._names if (match := _MADE_UP.fullmatch(name)))
        return f"chain-{1 + max(numbers, default=0)}"

    def _check_nfs(self, nfs: tuple[str, ...]) -> None:
        """Without the tag a switch can't tell two chains apart behind an NF: such an NF serves one."""
        for nf in nfs:
            if nf in self._network.fixed:
                raise Conflict(
                    f"NF {nf!r} stands fixed at segment {self._network.fixed[nf]!r}: it can't be part of a "
                    "chain too; use another NF"
                )
            record = self._crossed.get(nf)
            if record and self._network.nfs[nf].tags is TagMode.STRIPPED:
                raise Conflict(
                    f"NF {nf!r} is used by chain {record.name!r} ({record.state}): an NF with tags "
                    "stripped serves one chain; use another NF or remove that chain first"
                )

    def _choose_tags(self, wanted: TagPair | None) -> TagPair:
        """Tags are unique over all segments: two segments may share a switch."""
        if wanted is None:
            return allocate(self._tagged.keys() | self._asks.keys() | self._resting.keys())
        for vid in wanted.ids:
            if user := self._user(vid):
                raise Conflict(f"VLAN ID {vid} of tag pair {wanted} is in use by {user}: choose another")
            if vid in self._resting:
                raise Conflict(
                    f"VLAN ID {vid} of tag pair {wanted} was in use until just now and rests for another "
                    f"{self._resting[vid] - self._now:.1f} s: wait, or choose another"
                )
        return wanted

    def _user(self, vid: int) -> str | None:
        if record := self._tagged.get(vid):
            return f"chain {record.name!r} of segment {record.segment!r}"
        segment = self._asks.get(vid)
        return f"segment {segment.name!r} (its ask ID)" if segment else None


@dataclass(frozen=True)
class Deadline:
    """What is left of a chain `seconds` after it was let go is ended so. `now` is since the epoch."""

    now: float
    seconds: float
    then: Then


def both_or_none(deadline: float | None, then: Then | None) -> None:
    """Raises `InvalidValue` for a deadline without what becomes of sessions then, or the reverse."""
    if (deadline is None) != (then is None):
        raise InvalidValue(
            "a deadline goes with what shall become of the sessions that are left: say both, such as "
            "--deadline 60s --then reset, or --then rebalance"
        )


def no_refuge(segment: str) -> str:
    """Why the sessions of a chain in this segment can't be rebalanced, and the fix: `it is in ...`."""
    return (
        f"segment {segment!r}, whose chains rewrite: no other one can go on with its sessions; "
        "use --then reset"
    )


def dismiss(
    name: str,
    records: Collection[ChainRecord],
    operation: str,
    *,
    force: bool,
    deadline: Deadline | None = None,
) -> ChainRecord:
    """The record of a chain once its removal is accepted; `operation` is the ID of the removal.

    A removal under way takes a deadline, or another one unless it has come, and goes on as the operation
    that it is.
    Raises `NotFound` (unknown) or `Conflict` (already on its way out; the last active one, unless `force`).
    """
    record = find(name, records)
    leaves = record.goal is Goal.ABSENT and record.state is not ChainState.FAILED
    if leaves and record.operation and deadline is not None:
        return record if record.due(deadline.now) else leaving(record, record.operation, deadline)
    if record.goal is not Goal.PRESENT and record.state is not ChainState.FAILED:
        raise Conflict(f"chain {name!r} is already being removed: it is {record.state}")
    if record.live:
        check_entered(record)
    if record.serving and record.chain.weight and not _others(record, records) and not force:
        raise Conflict(
            f"chain {name!r} is the last active one of segment {record.segment!r}: without it traffic is "
            "dropped; add another chain first, or use --force (?force=true)"
        )
    after = leaving(record, operation, deadline)
    if not force and unserved(records, [other if other.id != record.id else after for other in records]):
        raise Conflict(
            f"chain {name!r} is the only one of segment {record.segment!r} that is to take sessions: without "
            "it traffic is dropped; cancel the removal of another or add one first, or use --force "
            "(?force=true)"
        )
    return after


def leaving(record: ChainRecord, operation: str, deadline: Deadline | None) -> ChainRecord:
    """The record of a chain that shall leave. What is let go later has its time from then on."""
    after = replace(record, goal=Goal.ABSENT, operation=operation, deadline=None, grace=None, then=None)
    if deadline is None:
        return after
    after = replace(after, then=deadline.then)
    if record.state in (ChainState.COOLING, ChainState.DRAINED):
        return replace(after, deadline=deadline.now + deadline.seconds)
    return replace(after, grace=deadline.seconds)


def unserved(before: Iterable[ChainRecord], after: Iterable[ChainRecord]) -> set[str]:
    """Segments that lose the last chain that takes sessions, or that was to take the place of those."""
    able = [record for record in before if record.chain.weight]
    # One that was taken back and leaves again is on record as cooling, and may be active at its master.
    carried = {it.segment for it in able if it.carrying}
    kept = {it.segment for it in after if it.chain.weight and it.staying}
    return (carried & {it.segment for it in able if it.staying}) - kept


def recall(name: str, records: Collection[ChainRecord], operation: str, now: float) -> ChainRecord:
    """The record of a chain whose removal is to be cancelled; `operation` is the ID of the cancel.

    Raises `NotFound` (unknown) or `Conflict` (not on its way out, or too far on it).
    """
    record = find(name, records)
    if record.goal is not Goal.ABSENT:
        raise Conflict(f"chain {name!r} is {record.state}, and nobody is removing it")
    if record.state in (ChainState.DRAINED, ChainState.FAILED):
        raise Conflict(f"chain {name!r} is {record.state}: too late to cancel its removal; add it again")
    if record.state is ChainState.ACTIVE:  # the master may have been told already
        record = record.become(ChainState.COOLING, now)
    return replace(record, goal=Goal.PRESENT, operation=operation)


def cordon(name: str, records: Collection[ChainRecord], *, force: bool) -> ChainRecord:
    """The record of a chain that takes no new sessions from now on, and keeps its live ones.

    Raises `NotFound` (unknown) or `Conflict` (not active; the last one that takes sessions, unless `force`).
    """
    record = _serving(name, records)
    if record.uncordoned is not None:
        return record
    if not _others(record, records) and not force:
        raise Conflict(
            f"chain {name!r} is the last of segment {record.segment!r} that takes sessions: without it new "
            "ones are dropped; add another chain first, or use --force (?force=true)"
        )
    return replace(record, chain=replace(record.chain, weight=0), uncordoned=record.chain.weight)


def uncordon(name: str, records: Collection[ChainRecord]) -> ChainRecord:
    """The record of a chain that has its weight back; raises `NotFound` or `Conflict` (not active)."""
    record = _serving(name, records)
    if record.uncordoned is None:
        return record
    return replace(record, chain=replace(record.chain, weight=record.uncordoned), uncordoned=None)


def reweigh(weights: Mapping[TagPair, int], records: Collection[ChainRecord]) -> list[ChainRecord]:
    """The chains of these tag pairs with their new weights; raises `NotFound` if no active one has a pair."""
    if not weights:
        return []
    serving = {record.chain.tags: record for record in records if record.serving}
    for tags in weights:
        if tags in serving:
            check_entered(serving[tags])
        else:
            known = ", ".join(str(pair) for pair in serving) or "none"
            raise NotFound(f"no active chain has tag pair {tags}: active pairs are {known}")
        if serving[tags].canary is not None:
            name, share = serving[tags].name, serving[tags].canary
            raise Conflict(f"canary {name!r} gets {share} % whatever it weighs: promote or withdraw it first")
    return [
        replace(serving[tags], chain=replace(serving[tags].chain, weight=weight), uncordoned=None)
        for tags, weight in weights.items()
    ]


def rebalanced(weighed: Collection[ChainRecord], segment: str | None, network: Network) -> str:
    """The segment that is meant: the one named, that of these chains, or the only one; or `InvalidValue`."""
    segments = {record.segment for record in weighed} | ({segment} if segment else set())
    if len(segments) > 1:
        raise InvalidValue(f"rebalance one segment at a time: these are {', '.join(sorted(segments))}")
    return choose_segment(next(iter(segments), None), network).name


def with_weight(record: ChainRecord, wanted: ChainRecord) -> ChainRecord:
    """The record with another one's weight and share: its state may have changed since that was decided."""
    chain = replace(record.chain, weight=wanted.chain.weight)
    return replace(record, chain=chain, uncordoned=wanted.uncordoned, canary=wanted.canary)


def adopter(segment: str, records: Collection[ChainRecord]) -> ChainRecord:
    """The chain that carries all of a segment whose pair is to be inserted; raises `Conflict` without one."""
    for record in records:
        if record.segment == segment and record.serving and record.chain.weight:
            return record
    raise Conflict(
        f"segment {segment!r} has no active chain to go on with: add the one that carries its traffic"
    )


def _others(record: ChainRecord, records: Collection[ChainRecord]) -> list[ChainRecord]:
    """The other chains of its segment that take new sessions."""
    serving = [other for other in records if other.serving and other.chain.weight]
    return [other for other in serving if other.segment == record.segment and other.id != record.id]


def check_entered(record: ChainRecord) -> ChainRecord:
    """Return the record, or raise `Conflict` if it is of a bypass: that follows the configuration alone."""
    if record.chain.bypass:
        raise Conflict(
            f"chain {record.name!r} carries what passes by segment {record.segment!r}: it comes and goes "
            "with the classifier of its service, by catenary apply"
        )
    return record


def check_place(record: ChainRecord, segment: str) -> None:
    """Raises `Conflict` for a chain that is not in the segment where its name was found."""
    if record.segment != segment:
        raise Conflict(
            f"chain {record.name!r} was removed, and has come again to segment {record.segment!r}: look at "
            "it, and decide afresh"
        )


def _serving(name: str, records: Collection[ChainRecord]) -> ChainRecord:
    record = check_entered(find(name, records))
    if not record.serving:
        state = "being removed" if record.goal is Goal.ABSENT else record.state
        raise Conflict(f"chain {name!r} is {state}: only an active chain can be cordoned or uncordoned")
    return record


def find(name: str, records: Collection[ChainRecord]) -> ChainRecord:
    """The chain of this name that is not removed; raises `NotFound`."""
    for record in records:
        if record.name == name and record.state is not ChainState.REMOVED:
            return record
    raise unknown(name, records)


def unknown(name: str, records: Collection[ChainRecord]) -> NotFound:
    """The error that names the chains there are."""
    known = sorted(record.name for record in records if record.state is not ChainState.REMOVED)
    return NotFound(f"unknown chain {name!r}: there {'is ' + _list(known) if known else 'is no chain'}")


def choose_segment(name: str | None, network: Network) -> Segment:
    """The segment of this name, or the only one; raises `InvalidValue`."""
    if name is None and len(network.segments) == 1:
        return next(iter(network.segments.values()))
    if name is None:
        raise InvalidValue(f"this network has several segments, name one: {_list(network.segments)}")
    if name not in network.segments:
        raise InvalidValue(f"unknown segment {name!r}: this network has {_list(network.segments)}")
    return network.segments[name]


def _list(names: Collection[str]) -> str:
    return ", ".join(names) if names else "none"
