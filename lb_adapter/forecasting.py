"""Where a session would go that began now: the oracle's choice over what the data plane has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catenary.chain import PairState
from catenary.explanations import Candidate, SessionForecast
from catenary.session import End, SessionKey, end_text
from catenary.wire import Tags
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.core.oracle import ARP, ND
from lb_adapter.core.oracle_choice import Chosen, choose
from lb_adapter.core.oracle_classify import Ends, entry_of
from lb_adapter.core.setup import Slot
from lb_adapter.dataplane.base import Policy


@dataclass(frozen=True)
class Place:
    """What a master's data plane places new sessions by: see `dataplane.base.DataPlane`."""

    table: ChainTable
    entries: Sequence[int | None]
    live: Callable[[int], int]
    policy: Policy
    overflow: bool = False
    copying: bool = False
    """Does it place nothing, until it has copied its slave's table (affinity rule 8)?"""


def forecast(key: SessionKey, place: Place, client: End | None = None) -> SessionForecast:
    """What `choose` says in the data plane at this moment: every session that comes or goes may change it.

    A key does not tell which end is the `client`'s: without it, the one with the lower port is taken for the
    server's. Where a classifier judges otherwise from the other end, `client` of the answer says so.
    """
    pairs = {pair.slot: pair for pair in place.table.pairs}
    slots = {slot: _slot(pair) for slot, pair in pairs.items()}
    client = client or max(key.low, key.high, key=lambda end: end.port)
    server = key.low if client == key.high else key.high
    passes = _passes(key, place.table, Ends(client, server))
    if passes:
        chosen = Chosen(place.table.bypass, ())
    else:
        chosen = choose(key, place.entries, slots, place.live, "maglev" if place.overflow else place.policy)
    taker = None if chosen.slot is None or place.copying else pairs[chosen.slot]
    return SessionForecast(
        key=key.text,
        epoch=place.table.epoch,
        policy=place.policy,
        overflow=place.overflow,
        candidates=[_candidate(pairs[slot], live) for slot, live in chosen.weighed],
        tags=None if taker is None else Tags.of(taker.tags),
        reason=_reason(place) if taker is None else None,
        client=None if _passes(key, place.table, Ends(server, client)) == passes else end_text(client),
    )


def _passes(key: SessionKey, table: ChainTable, ends: Ends) -> bool:
    """Does it go past the chains? ARP and ND do so if what is no session does (core/classify.h)."""
    if table.bypass is None:
        return False
    if key.kind in (ARP, ND):
        return table.designated == table.bypass
    return entry_of(table.rules, key, ends) is None


def _slot(pair: Pair) -> Slot:
    """As far as a choice needs it."""
    return Slot(*pair.tags.ids, pair.generation, placed=pair.placed)


def _candidate(pair: Pair, live: int) -> Candidate:
    return Candidate(forward=pair.tags.forward, reverse=pair.tags.reverse, live=live, weight=pair.placed)


def _reason(place: Place) -> str:
    if place.copying:
        return "the master has no session table: it places nothing until it has copied its slave's"
    if not any(pair.state is PairState.ACTIVE for pair in place.table.pairs):
        return "no chain is active"
    return "all active chains have weight 0: uncordon one"
