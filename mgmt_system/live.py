"""What a new configuration can't change while chains are live, each at its key with the way out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from catenary.chain import ChainState
from catenary.config import ServiceConfig
from catenary.document import Fault
from catenary.errors import InvalidValue
from mgmt_system.records import ChainRecord

_RESTART = ", then apply this, start the pair with it, and add the chain again"


def faults(config: ServiceConfig, wanted: ServiceConfig, records: Collection[ChainRecord]) -> list[Fault]:
    """Why `wanted` can't take the place of `config`, apart from its chains."""
    live = [record for record in records if record.live]
    failed = [record for record in records if record.state is ChainState.FAILED]
    return [
        *_fixed(config, wanted),
        *_ask_ids(wanted, live),
        *_used(config, wanted, live),
        *_shown(wanted, failed),
    ]


def check_placed(records: Collection[ChainRecord], segments: Collection[str]) -> None:
    """Raises `InvalidValue` for a chain that is not removed and belongs to none of these segments."""
    for record in records:
        if record.state is not ChainState.REMOVED and record.segment not in segments:
            raise InvalidValue(
                f"chain {record.name!r} on record belongs to segment {record.segment!r}, which the network "
                f"file does not have: it has {', '.join(segments)}"
            )


def _fixed(config: ServiceConfig, wanted: ServiceConfig) -> Iterator[Fault]:
    """What does not change by a file at all."""
    if config.controller_url != wanted.controller_url:
        text = "can't be changed while the management system runs: start one with a database of its own"
        yield Fault(("controller_url",), text)


def _ask_ids(wanted: ServiceConfig, live: Collection[ChainRecord]) -> Iterator[Fault]:
    tags = {vid: record.name for record in live for vid in record.chain.tags.ids}
    for name, segment in wanted.segments.items():
        if segment.ask_id in tags:
            text = f"VLAN ID {segment.ask_id} is a tag of chain {tags[segment.ask_id]!r}: choose another"
            yield Fault(("segments", name, "ask_id"), text)


def _used(config: ServiceConfig, wanted: ServiceConfig, live: Collection[ChainRecord]) -> Iterator[Fault]:
    for (section, name), users in sorted(_users(config, live).items()):
        old, new = getattr(config, section)[name], getattr(wanted, section).get(name)
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        why = f"while it is in use by {', '.join(users[:3])}{more}: remove that first"
        if new is None:
            yield Fault((section, name), f"can't be taken away {why}")
        elif old != new:
            yield from _changed(section, name, old, new, why)


def _shown(wanted: ServiceConfig, failed: Collection[ChainRecord]) -> Iterator[Fault]:
    """A chain that failed is shown with its segment until it is removed; all else of that may change."""
    for record in failed:
        if record.segment not in wanted.segments:
            text = f"can't be taken away while it shows chain {record.name!r} (failed): remove that first"
            yield Fault(("segments", record.segment), text)


def _changed(section: str, name: str, old: Any, new: Any, why: str) -> Iterator[Fault]:
    for key in (key for key, value in old if value != getattr(new, key)):
        text = f"can't be changed {why}"
        if key in ("health", "when_lb_gone"):
            continue  # its master is told when it is applied; the other is the management system's own
        if key == "inserted" and new.inserted:
            continue  # the controller knows: it refuses while a chain is steered past the pair
        if key == "inserted":
            text = "does not change by a file: put the pair in with catenary segment insert"
        elif section == "segments" and key not in ("before", "after"):
            text += _RESTART
        yield Fault((section, name, key), text)


def _users(config: ServiceConfig, live: Collection[ChainRecord]) -> dict[tuple[str, str], list[str]]:
    """The chains that use each segment, load balancer and NF."""
    users: dict[tuple[str, str], list[str]] = {}
    for record in live:
        segment = config.segments[record.segment]
        used = [("segments", record.segment), ("balancers", segment.master), ("balancers", segment.slave)]
        used += [("nfs", nf) for nf in (*record.chain.nfs, *segment.before, *segment.after)]
        for thing in used:
            users.setdefault(thing, []).append(f"chain {record.name!r} ({record.state})")
    return users
