"""The chain set of a segment and how it changes: pure functions from one set and a request to the next.

Affinity rules 4 (order of change) and 6 (drained). `now` is seconds of the monotonic clock that the data
plane uses too, so that an adopted chain set goes on where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from catenary.chain import WEIGHT_DEFAULT, Condition, PairState, check_weight
from catenary.classifier import Rule
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from catenary.health import HealthCheck
from catenary.policy import rebalanced
from catenary.tags import TagPair, check_free

MAX_PAIRS = 1024
GENERATIONS = 1024
"""A generation has 10 bits in a pin; it wraps long after the last pin of the old one is gone."""


@dataclass(frozen=True)
class Pair:
    """A tag pair with its place in the data plane.

    `weight` is the operator's; `placed` is the one that the hash table was filled with. `since` is the
    moment at which `state` began. A `bypass` takes what the classifier does not match, and is not placed on;
    but while it has a weight all chains are down, and it takes what they would.
    """

    tags: TagPair
    slot: int
    generation: int
    weight: int
    placed: int
    state: PairState
    since: float
    bypass: bool = False
    condition: Condition = Condition.UP

    @property
    def takes(self) -> bool:
        """Is it one of those that new sessions are shared among?"""
        return self.state is PairState.ACTIVE and not self.bypass and self.condition is Condition.UP


@dataclass(frozen=True)
class ChainTable:
    """All pairs of a segment at one epoch.

    `generations` remembers the last generation of every slot ever used; `resting` the moment until which
    an ID of a forgotten pair may not be used again. `skewed`: a rebalance made `placed` differ from `weight`.
    `rules` say which traffic enters; what agrees with none goes by the `bypass`. Without rules all enters.
    `check` says how chains are probed, if they are.
    """

    epoch: int = 0
    pairs: tuple[Pair, ...] = ()
    generations: Mapping[int, int] = field(default_factory=dict)
    resting: Mapping[int, float] = field(default_factory=dict)
    skewed: bool = False
    rules: tuple[Rule, ...] = ()
    check: HealthCheck | None = None

    def find(self, tags: TagPair) -> Pair:
        """The pair with these tags, or `NotFound`."""
        for pair in self.pairs:
            if pair.tags == tags:
                return pair
        raise NotFound(f"tag pair {tags} is not known here")

    @property
    def designated(self) -> int | None:
        """The slot that carries what is no session: the lowest that takes new ones, or else the bypass."""
        return min((p.slot for p in self._takers()), default=self.bypass)

    @property
    def bypass(self) -> int | None:
        """The slot of what passes by; None while all traffic enters."""
        return next((p.slot for p in self._bypasses()), None) if self.rules else None

    def _bypasses(self) -> list[Pair]:
        return [p for p in self.pairs if p.bypass and p.state is PairState.ACTIVE]

    def checked(self) -> ChainTable:
        """The table itself, or `Conflict` if what passes by has no way, or more than one."""
        bypasses = self._bypasses()
        if self.rules and not bypasses:
            raise Conflict(
                "what the classifier does not match has no way: add a pair that is a bypass with it"
            )
        if len(bypasses) > 1:
            tags = " and ".join(str(pair.tags) for pair in bypasses)
            raise Conflict(f"tag pairs {tags} are both a bypass: one is all")
        return self

    def placement(self) -> dict[int, tuple[str, int]]:
        """What the hash table is filled from: `{slot: (name, weight)}`."""
        return {p.slot: (p.tags.path, p.placed) for p in self._takers()}

    def _takers(self) -> list[Pair]:
        taking = [p for p in self.pairs if p.takes]
        return self._bypasses() if self.open and not any(p.placed for p in taking) else taking

    @property
    def open(self) -> bool:
        """Do new sessions pass by because all chains are down?"""
        return any(p.weight for p in self._bypasses())

    def warming(self) -> bool:
        """Has slow start held a chain back that still has to get its whole weight?"""
        return not self.skewed and any(p.takes and p.placed < p.weight for p in self.pairs)

    def cooling_down(self) -> bool:
        return any(p.state in (PairState.COOLING, PairState.CLOSED) for p in self.pairs)


def change(
    table: ChainTable,
    *,
    add: Sequence[tuple[TagPair, int]] = (),
    bypass: Sequence[TagPair] = (),
    remove: Sequence[TagPair] = (),
    cancel: Sequence[TagPair] = (),
    forget: Sequence[TagPair] = (),
    rules: Sequence[Rule] | None = None,
    ask_id: int,
    now: float,
    transit: float,
) -> ChainTable:
    """Apply several adds, removes, cancels and forgets as one epoch, or raise and change nothing.

    `bypass` are pairs to add for what passes by; `rules`, if not None, are the classifier from then on.

    Adding a pair that is active with the same weight is no change, nor is a cancel for an active one, so
    that a request may be repeated.
    An ID that rests is `Unavailable`: the same call succeeds later.
    """
    result = table
    for tags in forget:
        result = _forget(result, tags, now, transit)
    for tags in remove:
        result = _remove(result, tags, now)
    for tags in cancel:
        result = _cancel(result, tags, now)
    for tags, weight in add:
        result = _add(result, tags, weight, ask_id, now)
    for tags in bypass:
        result = _add(result, tags, 0, ask_id, now, bypass=True)
    if rules is not None:
        result = replace(result, rules=tuple(rules))
    return table if result == table else replace(result.checked(), epoch=table.epoch + 1)


def _add(
    table: ChainTable, tags: TagPair, weight: int, ask_id: int, now: float, *, bypass: bool = False
) -> ChainTable:
    check_weight(weight)
    for pair in table.pairs:
        if pair.tags == tags and pair.state is PairState.ACTIVE:
            if pair.bypass != bypass:
                raise Conflict(f"tag pair {tags} is {'a' if pair.bypass else 'no'} bypass: remove it first")
            if pair.weight == weight:
                return table
            raise Conflict(
                f"tag pair {tags} is active with weight {pair.weight}, not {weight}: rebalance sets weights"
            )
    check_free(tags, {ask_id, *(vid for pair in table.pairs for vid in pair.tags.ids)})
    for vid in tags.ids:
        if table.resting.get(vid, 0.0) > now:
            left = table.resting[vid] - now
            raise Unavailable(f"VLAN ID {vid} of tag pair {tags} rests for another {left:.1f} s")
    used = {pair.slot for pair in table.pairs}
    slot = next((s for s in range(MAX_PAIRS) if s not in used), None)
    if slot is None:
        raise Conflict(f"all {MAX_PAIRS} slots are in use: remove a chain first")
    generation = (table.generations.get(slot, 0) + 1) % GENERATIONS
    pair = Pair(tags, slot, generation, weight, weight, PairState.ACTIVE, now, bypass)
    return _levelled(table, (*table.pairs, pair), {**table.generations, slot: generation})


def _remove(table: ChainTable, tags: TagPair, now: float) -> ChainTable:
    pair = table.find(tags)
    if pair.state is not PairState.ACTIVE:
        raise Conflict(f"tag pair {tags} is already {pair.state}")
    return _turned(table, pair, PairState.COOLING, now)


def _cancel(table: ChainTable, tags: TagPair, now: float) -> ChainTable:
    """Cooling -> active: only until it is closed, for then its pins are gone and late packets may be lost."""
    pair = table.find(tags)
    if pair.state is PairState.ACTIVE:
        return table
    if pair.state is not PairState.COOLING:
        raise Conflict(f"tag pair {tags} is {pair.state}: only a cool-down can be cancelled; add it again")
    return _turned(table, pair, PairState.ACTIVE, now)


def _turned(table: ChainTable, pair: Pair, state: PairState, now: float) -> ChainTable:
    turned = replace(pair, state=state, since=now)
    return _levelled(table, tuple(turned if p is pair else p for p in table.pairs), table.generations)


def _levelled(table: ChainTable, pairs: tuple[Pair, ...], generations: Mapping[int, int]) -> ChainTable:
    """Another set of pairs: what a rebalance skewed is over, for the set that it was made for is no more."""
    level = tuple(replace(p, placed=p.weight) for p in pairs)
    return replace(table, pairs=level, generations=generations, skewed=False)


def _forget(table: ChainTable, tags: TagPair, now: float, transit: float) -> ChainTable:
    pair = table.find(tags)
    if pair.state is not PairState.DRAINED:
        raise Conflict(f"tag pair {tags} is {pair.state}, not drained: it can't be forgotten yet")
    resting = {vid: until for vid, until in table.resting.items() if until > now}
    resting.update(dict.fromkeys(tags.ids, now + 2 * transit))
    return replace(table, pairs=tuple(p for p in table.pairs if p.tags != tags), resting=resting)


def advance(
    table: ChainTable, pins: Mapping[int, int], leases: Mapping[int, int], now: float, transit: float
) -> ChainTable:
    """The next steps of all cool-downs: cooling -> closed -> drained (affinity rule 6).

    `pins` and `leases` count what is in force of each slot at master and slave. Each step waits for 2 D
    after the one before it: packets placed by the table before the change are through by then, and have
    left their pins.
    """

    def step(pair: Pair) -> Pair:
        waited = now - pair.since > 2 * transit
        if not waited or pins.get(pair.slot, 0):
            return pair
        if pair.state is PairState.COOLING:
            return replace(pair, state=PairState.CLOSED, since=now)
        if pair.state is PairState.CLOSED and not leases.get(pair.slot, 0):
            return replace(pair, state=PairState.DRAINED, since=now)
        return pair

    pairs = tuple(step(pair) for pair in table.pairs)
    return table if pairs == table.pairs else replace(table, pairs=pairs, epoch=table.epoch + 1)


def closed(table: ChainTable, tags: TagPair, now: float) -> ChainTable:
    """Close a pair that cools down before its sessions are over: an order ends them.

    From here on nothing that is still under way makes a pin of it again.
    """
    pair = table.find(tags)
    if pair.state is PairState.ACTIVE:
        raise Conflict(f"tag pair {tags} is active: remove it before its sessions are ended")
    if pair.state is not PairState.COOLING:
        return table
    turned = replace(pair, state=PairState.CLOSED, since=now)
    return replace(table, pairs=tuple(turned if p is pair else p for p in table.pairs), epoch=table.epoch + 1)


def checked_by(table: ChainTable, check: HealthCheck | None) -> ChainTable:
    """Probe so from now on. Without a check nothing says that a chain is down."""
    cleared = (replace(_standing_in(p, takes=False), condition=Condition.UP) for p in table.pairs)
    after = replace(table, pairs=table.pairs if check else tuple(cleared), check=check)
    return table if after == table else replace(after, epoch=table.epoch + 1)


def judged(table: ChainTable, down: Collection[TagPair], now: float) -> ChainTable:
    """Affinity rule 9: what is down takes no new session.

    Where its own are not to stay and there is another chain for them, it is shut, until it is up: what is
    still in it teaches nothing. Where none is left and the segment fails open, the bypass is that other one.
    """
    check = table.check
    keeps, fails_open = check is None or check.on_dead == "keep", check is not None and check.fails_open
    active = [p for p in table.pairs if p.state is PairState.ACTIVE and not p.bypass]
    others = any(p.tags not in down and p.weight for p in active)
    stands_in = fails_open and not others and any(p.tags in down for p in active)

    def step(pair: Pair) -> Pair:
        if pair.bypass and pair.state is PairState.ACTIVE:
            return _standing_in(pair, takes=stands_in)
        if pair not in active or (pair.tags not in down and pair.condition is Condition.UP):
            return pair
        if pair.tags not in down:
            return replace(pair, condition=Condition.UP, since=now)
        shut = (not keeps and (others or stands_in)) or pair.condition is Condition.SHUT
        return replace(pair, condition=Condition.SHUT if shut else Condition.DOWN)

    pairs = tuple(step(pair) for pair in table.pairs)
    if pairs == table.pairs:
        return table
    return replace(_levelled(table, pairs, table.generations), epoch=table.epoch + 1)


def _standing_in(pair: Pair, *, takes: bool) -> Pair:
    """A bypass that takes what chains would that are down, or not; any other pair as it is."""
    weight = WEIGHT_DEFAULT if takes else 0
    return replace(pair, weight=weight, placed=weight) if pair.bypass else pair


def refuge(table: ChainTable, slot: int, live: Mapping[int, int]) -> Pair:
    """The pair for a session that shall leave `slot`: of those that take sessions, the least loaded."""
    takers = [p for p in table.pairs if p.takes and p.placed and p.slot != slot]
    if not takers:
        raise Conflict("no other chain takes sessions: add one first")
    return min(takers, key=lambda pair: (live.get(pair.slot, 0) / pair.placed, pair.slot))


def reweigh(table: ChainTable, weights: Iterable[tuple[TagPair, int]], live: Mapping[int, int]) -> ChainTable:
    """A re-balance: with `weights` they are set; else new sessions make up for the `live` ones (paper, II).

    Only active pairs can be weighed; nothing is changed if one of `weights` can't be.
    """
    given = dict(weights)
    for tags, weight in given.items():
        check_weight(weight)
        if table.find(tags).state is not PairState.ACTIVE:
            raise Conflict(f"tag pair {tags} is {table.find(tags).state}: only active pairs have weights")
        if table.find(tags).bypass:
            raise InvalidValue(f"tag pair {tags} is a bypass: it takes all that passes by, and has no weight")
    active = [p for p in table.pairs if p.takes]
    if given:
        placed = {p.slot: given.get(p.tags, p.weight) for p in active}
    else:
        placed = rebalanced({p.slot: p.weight for p in active}, live)
    pairs = tuple(
        replace(p, weight=given.get(p.tags, p.weight), placed=placed.get(p.slot, p.placed))
        for p in table.pairs
    )
    if pairs == table.pairs:
        return table
    return replace(table, pairs=pairs, epoch=table.epoch + 1, skewed=not given)


def adopted(table: ChainTable, now: float, slow_start: float) -> ChainTable:
    """A set that the data plane kept: it does not say why a chain is placed other than it weighs.

    One that has been there for longer than a slow start takes was rebalanced.
    Its moments are those of the daemon before, whose clock may have been another one: cool-downs wait
    anew, and nothing began later than now.
    """
    skewed = any(p.placed != p.weight and now - p.since > slow_start for p in table.pairs)

    def since(pair: Pair) -> float:
        return min(pair.since, now) if pair.state is PairState.ACTIVE else now

    pairs = tuple(replace(pair, since=since(pair)) for pair in table.pairs)
    return replace(table, pairs=pairs, skewed=skewed)


def warmed(table: ChainTable, now: float, slow_start: float) -> ChainTable:
    """Slow start: a new chain's weight grows in ten steps over `slow_start` seconds.

    The first chain needs none: there is nobody to take the load meanwhile, and shares are relative.
    A rebalance ends it.
    """
    if table.skewed:
        return table

    def placed(pair: Pair) -> int:
        tenths = 1 + int(10 * (now - pair.since) / slow_start)
        if pair.state is not PairState.ACTIVE:
            return pair.placed
        return pair.weight if tenths > 10 else -(-pair.weight * tenths // 10)

    pairs = tuple(replace(pair, placed=placed(pair)) for pair in table.pairs)
    return table if pairs == table.pairs else replace(table, pairs=pairs, epoch=table.epoch + 1)
