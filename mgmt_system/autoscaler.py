"""How many chains a segment shall have, from what they carry. Pure: metrics in, a decision out.

The rule is that of Kubernetes' HorizontalPodAutoscaler: so many chains that each would carry its target, the
target that wants most of them counts, and within a tolerance nothing changes. More are wanted only after all
decisions of the window before wanted more, fewer only after all of another window wanted fewer. What is not
known is never guessed: then nothing changes, and a window that was not seen as a whole does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

from catenary.autoscale import AutoscaleConfig, TargetView, Verb

STALE = 3.0
"""Intervals after which a reading is too old, and a pause between readings too long for a window."""
_ROUNDED = 1e-9


@dataclass(frozen=True)
class ChainLoad:
    """What a chain carries, by the name of the target; None is unknown."""

    name: str
    carries: Mapping[str, float | None]


@dataclass(frozen=True)
class Reading:
    """A segment at the moment `at` (s).

    `serving` are the chains that take new sessions and are well; `coming` are on their way; `others` are
    there and take none: down, or cordoned. Canaries and what cools down count nowhere. `missing` says why
    nothing is known.
    """

    at: float
    serving: Sequence[ChainLoad] = ()
    coming: int = 0
    others: int = 0
    missing: str | None = None


@dataclass(frozen=True)
class Memory:
    """What earlier decisions wanted, as (moment, chains), oldest first; without a gap since `since`."""

    since: float = inf
    wishes: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """`count` chains more (`out`) or fewer (`in`), and why. `told` is the same while the reason is."""

    verb: Verb
    count: int
    desired: int | None
    reason: str
    targets: tuple[TargetView, ...] = ()
    told: str = ""


def decide(policy: AutoscaleConfig, reading: Reading, memory: Memory, now: float) -> tuple[Verdict, Memory]:
    """What to do now, and what to remember for the next decision; `now` in s."""
    targets = tuple(_target(reading.serving, *given) for given in policy.targets.given.items())
    obstacle = _obstacle(policy, reading, targets, now)
    if obstacle is not None:
        return Verdict("hold", 0, None, obstacle, targets, "missing"), memory
    have = len(reading.serving)
    targets = tuple(target.model_copy(update={"wants": _wants(policy, have, target)}) for target in targets)
    wanted = max((target.wants or 0 for target in targets), default=0)
    wish = min(max(wanted, policy.minimum), policy.maximum)
    memory = _remember(policy, memory, now, wish)
    verdict = _verdict(policy, reading, _steady(policy, reading, memory, now), wish)
    return replace(verdict, targets=targets), memory


def _target(serving: Sequence[ChainLoad], name: str, target: float) -> TargetView:
    values = [load.carries.get(name) for load in serving]
    known = [value for value in values if value is not None]
    value = sum(known) / len(known) if known and len(known) == len(values) else None
    return TargetView(name=name, target=target, value=value)


def _obstacle(
    policy: AutoscaleConfig, reading: Reading, targets: Sequence[TargetView], now: float
) -> str | None:
    """Why nothing can be decided."""
    if reading.missing is not None:
        return reading.missing
    if now - reading.at > STALE * policy.interval:
        return f"what is known is {now - reading.at:.0f} s old"
    if len(reading.serving) + reading.coming < policy.minimum:
        return None  # whatever they carry
    unknown = [target.name for target in targets if target.value is None and reading.serving]
    return f"{' and '.join(unknown)} of some chain not known" if unknown else None


def _wants(policy: AutoscaleConfig, have: int, target: TargetView) -> int:
    """Chains that a target wants."""
    if target.value is None:
        return have
    ratio = target.value / target.target
    return have if abs(ratio - 1) <= policy.tolerance else ceil(min(have * ratio, 1e6) - _ROUNDED)


def _remember(policy: AutoscaleConfig, memory: Memory, now: float, wish: int) -> Memory:
    last = memory.wishes[-1][0] if memory.wishes else -inf
    if not 0 <= now - last <= STALE * policy.interval:  # a gap, or a clock that went back
        return Memory(now, ((now, wish),))
    longest = max(policy.out_window, policy.in_window)
    recent = tuple(item for item in memory.wishes if item[0] >= now - longest)
    return Memory(memory.since, (*recent, (now, wish)))


def _steady(policy: AutoscaleConfig, reading: Reading, memory: Memory, now: float) -> int:
    """The number of chains that windows let through: what there is, unless all of one wanted another."""

    def window(seconds: float) -> list[int]:
        return [wish for at, wish in memory.wishes if at >= now - seconds]

    have = len(reading.serving)
    least, most = min(window(policy.out_window)), max(window(policy.in_window))
    if least > have and now - memory.since >= policy.out_window:
        return least
    if most < have and now - memory.since >= policy.in_window:
        return most
    return have


def _verdict(policy: AutoscaleConfig, reading: Reading, steady: int, wish: int) -> Verdict:
    have, coming = len(reading.serving), reading.coming
    # No window holds up what must not be: too few chains, or too many.
    desired = min(max(steady, policy.minimum), policy.maximum)
    more = desired - have - coming
    room = max(0, policy.maximum - have - coming - reading.others)
    way = f"{have} -> {desired} chains"
    if more > 0 and not room:
        text = (
            f"{desired} chains are wanted, but {reading.others} that take none count among {policy.maximum}"
        )
        return Verdict("hold", 0, desired, text, told="full")
    if more > 0:
        return Verdict("out", min(more, room), desired, way, told=way)
    if desired < have and coming:
        return Verdict("hold", 0, desired, f"{way} once those on their way have come", told="coming")
    if desired < have:
        return Verdict("in", have - desired, desired, way, told=way)
    if coming:
        return Verdict("hold", 0, desired, f"{coming} on their way", told="coming")
    if wish != have:
        window = policy.out_window if wish > have else policy.in_window
        return Verdict("hold", 0, desired, f"{wish} are wanted, not yet for {window:g} s", told="window")
    return Verdict("hold", 0, desired, "as many as are wanted", told="enough")


@dataclass(frozen=True)
class Cost:
    """What the removal of a chain would cost: s of its cool-down as expected, live sessions; None: unknown.

    `age` in s.
    """

    name: str
    cooling: float | None
    sessions: float | None
    age: float


def cheapest(costs: Sequence[Cost], count: int) -> list[Cost]:
    """The chains with the shortest cool-downs; alike, those with the fewest sessions, then the youngest."""

    def order(cost: Cost) -> tuple[float, float, float]:
        return (
            inf if cost.cooling is None else cost.cooling,
            inf if cost.sessions is None else cost.sessions,
            cost.age,
        )

    return sorted(costs, key=order)[:count]
