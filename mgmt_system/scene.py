"""One session in one segment: what was heard of it, and what follows from that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from catenary.config import NfAttachment, SegmentConfig
from catenary.explanations import SegmentExplanation, SessionForecast, SessionStatus
from catenary.wire import SessionEntry, Tags
from mgmt_system.journal import JournalEntry
from mgmt_system.records import ChainRecord

SKEW = 2.0
"""Seconds by which a master's clock may differ from ours."""


@dataclass(frozen=True)
class Scene:
    """A segment: its chains of all times, oldest first, and the NFs of the network by name.

    `inserted`: is its pair in the way of its traffic? None: that could not be asked.
    """

    segment: str
    config: SegmentConfig
    chains: Sequence[ChainRecord]
    nfs: Mapping[str, NfAttachment] = field(default_factory=dict)
    inserted: bool | None = True


@dataclass(frozen=True)
class Heard:
    """What was heard of a session in one segment; None: it is not known there, or could not be asked.

    `faults` say what could not. `journal` has what is near the moment from which the session has its chain.
    """

    master: SessionEntry | None = None
    slave: SessionEntry | None = None
    forecast: SessionForecast | None = None
    faults: tuple[str, ...] = ()
    journal: Sequence[JournalEntry] = ()


def status(scene: Scene, heard: Heard) -> SessionStatus:
    entry = known(scene, heard)
    if scene.inserted is False:
        return "beside"
    if entry is not None:
        if entry.ended is not None:
            return "ended"
        return "reset" if entry.state == "reset" else "closing" if entry.state == "closing" else "live"
    if heard.forecast is None or scene.inserted is None:
        return "unknown"
    return "refused" if heard.forecast.tags is None else "new"


def known(scene: Scene, heard: Heard) -> SessionEntry | None:
    """The entry that tells most: one in force, of the master first. A slave's lapsed lease is a hint only."""
    master, slave = heard.master, heard.slave
    leased = slave is not None and (slave.idle < scene.config.timeouts.lease or scene.config.rewrites)
    if master is not None and master.ended is None:
        return master
    if slave is not None and slave.ended is None and (leased or heard.forecast is None):
        return slave
    ended = [entry for entry in (master, slave) if entry is not None and entry.ended is not None]
    return ended[0] if ended else None


def carrier(scene: Scene, heard: Heard) -> ChainRecord | None:
    """The chain that carries the session, carried it, or would."""
    if scene.inserted is False:
        return next((chain for chain in scene.chains if chain.live), None)
    entry = known(scene, heard)
    tags = tags_of(scene, heard)
    return None if tags is None else named(scene.chains, tags, entry.origin.placed if entry else None)


def named(chains: Iterable[ChainRecord], tags: Tags, at: float | None) -> ChainRecord | None:
    """The chain that had these tags at a moment; None: it has them now."""
    found = [chain for chain in chains if chain.chain.tags == tags.pair() and (at is not None or chain.live)]
    begun = [chain for chain in found if at is None or chain.created <= at + SKEW]
    return next(reversed(begun or found), None)


def tags_of(scene: Scene, heard: Heard) -> Tags | None:
    """Those of the chain that `carrier` names, which may be forgotten."""
    entry = known(scene, heard)
    if entry is not None:
        return entry.tags
    return None if heard.forecast is None or not scene.inserted else heard.forecast.tags


def told(scene: Scene, heard: Heard, because: Iterable[str]) -> SegmentExplanation:
    """All but the hops of the chain."""
    chain = carrier(scene, heard)
    return SegmentExplanation(
        segment=scene.segment,
        status=status(scene, heard),
        chain=chain.name if chain else None,
        chain_state=chain.state if chain else None,
        tags=Tags.of(chain.chain.tags) if chain else tags_of(scene, heard),
        nfs=list(chain.chain.nfs) if chain else [],
        path=_path(scene.config, chain),
        because=list(because),
        faults=list(heard.faults),
        master=heard.master,
        slave=heard.slave,
        forecast=heard.forecast,
    )


def _path(config: SegmentConfig, chain: ChainRecord | None) -> list[str]:
    if chain is None:
        return []
    return [*config.before, config.master, *chain.chain.nfs, config.slave, *config.after]


def concerned(
    told: Sequence[SegmentExplanation], services: Sequence[Sequence[str]]
) -> list[SegmentExplanation]:
    """Without the segments of other services than those that know the session, if any does."""
    here = {item.segment for item in told if item.status in _KNOWN}
    mine = {name for row in services if here & set(row) for name in row} | here
    others = {name for row in services for name in row} - mine if here else set()
    return [item for item in told if item.segment not in others]


_KNOWN = ("live", "closing", "reset", "ended")
