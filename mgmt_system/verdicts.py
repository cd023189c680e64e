"""What the journal tells of chains that fell and rose, from what their master's probes say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from catenary import wire
from catenary.chain import ChainState, Condition, PairState
from mgmt_system.journal import Event
from mgmt_system.records import SELF, ChainRecord

PATIENCE = 2.0
"""s for which a verdict is not told yet if nothing has followed from it: that needs a call to the slave."""
_GONE = (ChainState.REMOVED, ChainState.FAILED)


class Verdicts:
    """`known` are the verdicts that were told last, by the ID of a chain's record, of all that are not up.

    They are kept with the journal, in the same write as what tells of them: so each is told once.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = dict(known)

    def learn(self, chain_set: wire.ChainSet, chains: Iterable[ChainRecord]) -> list[Event]:
        """What there is to tell since the last time. `chains` are those of the segment."""
        owners = {record.chain.tags: record for record in chains if record.state not in _GONE}
        events = []
        for pair in chain_set.pairs:
            owner = owners.get(pair.pair())
            if owner is None or pair.health is None or pair.health.verdict == "unknown":
                continue
            before, after = self.known.get(owner.id, "up"), pair.health.verdict
            if before == after or not _settled(pair, pair.health):
                continue
            self._know(owner, after)
            events.append(_event(owner, before, pair, pair.health, chain_set))
        return events

    def told(self, chains: Iterable[ChainRecord]) -> dict[str, str]:
        """What is to be kept: nothing of chains that are gone. `chains` are all."""
        if self.known:
            here = {record.id for record in chains if record.state not in _GONE}
            self.known = {key: verdict for key, verdict in self.known.items() if key in here}
        return dict(self.known)

    def _know(self, owner: ChainRecord, verdict: str) -> None:
        self.known.pop(owner.id, None)
        if verdict != "up":
            self.known[owner.id] = verdict


def _settled(pair: wire.PairView, health: wire.PairHealth) -> bool:
    """Has what follows from the verdict been done, or been waited for?"""
    follows = (health.verdict == "down") is (pair.condition is not Condition.UP)
    return follows or health.seconds >= PATIENCE


def _event(
    owner: ChainRecord, before: str, pair: wire.PairView, health: wire.PairHealth, chain_set: wire.ChainSet
) -> Event:
    check = chain_set.health
    figures = health.model_dump(include={"latency_ms", "answered_ms", "sent", "lost", "falls", "needed"})
    figures |= {"condition": pair.condition.value}
    figures |= check.model_dump(include={"fall", "rise", "on_dead", "when_none"}) if check else {}
    changes = {"verdict": (before, health.verdict), "probes": (None, figures)}
    text = "; ".join(_words(pair, health, chain_set))
    return Event("health", SELF, changes, owner.segment, owner.name, text=text)


def _words(pair: wire.PairView, health: wire.PairHealth, chain_set: wire.ChainSet) -> Iterable[str]:
    check, answered = chain_set.health or wire.HealthCheckModel(), health.answered_ms
    took = "none ever came back" if answered is None else f"the last that came back took {answered:.3g} ms"
    match health.verdict:
        case "down":
            yield f"{check.fall} probes in a row were lost, {took}"
            yield from _fell(pair, check, chain_set)
            if health.needed > check.rise:
                yield (
                    f"it fell {health.falls} times within a minute, so {health.needed} probes in a row must "
                    "come back until it is up"
                )
        case "unproven":
            yield "no probe ever came back: its traffic goes on; see that its NFs let probes pass"
        case _:
            yield f"probes come back, {took}"
            waits = pair.condition is not Condition.UP
            yield "it takes no new session yet" if waits else "it takes new sessions"


def _fell(pair: wire.PairView, check: wire.HealthCheckModel, chain_set: wire.ChainSet) -> Iterable[str]:
    """What became of its sessions, and of new ones."""
    policy = f"on_dead: {check.on_dead}"
    match pair.condition:
        case Condition.UP:
            yield "nothing was done yet: see the log of the load balancer"
            return
        case Condition.SHUT:
            yield f"its sessions {'are reset' if check.on_dead == 'reset' else 'move to others'} ({policy})"
        case Condition.DOWN if check.on_dead == "keep":
            yield f"it keeps its sessions ({policy})"
        case _:
            yield f"it keeps its sessions, for there is no other chain for them ({policy})"
    if any(_takes(other) for other in chain_set.pairs):
        yield "new ones go to other chains"
    else:
        passing = any(other.bypass and other.weight for other in chain_set.pairs)
        yield f"no chain is left: new ones {'pass by' if passing else 'are dropped'} ({check.when_none})"


def _takes(pair: wire.PairView) -> bool:
    up = pair.state is PairState.ACTIVE and pair.condition is Condition.UP
    return up and bool(pair.weight) and not pair.bypass
