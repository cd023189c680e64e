"""The steered chains on disk, so that a restarted controller wants exactly the rules that are installed.

One JSON file, replaced as a whole: a crash leaves the old one or the new one, never a part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catenary.chain import Chain
from catenary.config import NetworkConfig
from catenary.errors import CatenaryError, InvalidValue
from catenary.tags import TagPair
from controller.around import around_rules, fence_rules
from controller.config import network_of
from controller.network import Network, Port
from controller.steering import AskPlan, Hop, Plan, ask_rules, chain_rules
from controller.steering import Path as Hops

VERSION = 3


@dataclass(frozen=True)
class Saved:
    """What outlives the controller: the chains, the asks of the segments that have chains, when pairs were
    inserted (seconds since the epoch), the network, if one was put in the place of the file's, fenced load
    balancers, and the paths around segments."""

    chains: tuple[Plan, ...] = ()
    asks: tuple[AskPlan, ...] = ()
    inserted: Mapping[str, float] = field(default_factory=dict)
    config: NetworkConfig | None = None
    fenced: tuple[str, ...] = ()
    around: tuple[AskPlan, ...] = ()
    exchanged: tuple[str, ...] = ()
    """Load balancers where their standbys were."""


def save(path: Path, saved: Saved) -> None:
    """Write atomically; raises `CatenaryError` when the disk refuses."""
    body = {
        "version": VERSION,
        "network": saved.config.model_dump(mode="json") if saved.config else None,
        "chains": [
            {
                "name": plan.chain.name,
                "segment": plan.segment,
                "nfs": list(plan.chain.nfs),
                "tags": list(plan.chain.tags.ids),
                "legs": [_hops_out(leg) for leg in plan.legs],
                "bypass": _hops_out(plan.bypass),
            }
            for plan in saved.chains
        ],
        "asks": [_ask_out(ask) for ask in saved.asks],
        "inserted": dict(saved.inserted),
        "fenced": list(saved.fenced),
        "around": [_ask_out(path) for path in saved.around],
        "exchanged": list(saved.exchanged),
    }
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("w") as file:
            file.write(json.dumps(body))  # in one piece: that is done in C
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise CatenaryError(f"state file {path} can't be written: {error.strerror}") from error


def load(path: Path, config: NetworkConfig) -> Saved:
    """Read the file (nothing saved when there is none); raises `InvalidValue` that names file and fault.

    A chain that its network, or else `config`, does not allow is a fault too: its rules could not be told. So
    are several chains where no pair is in the way: one of them would get all traffic.
    """
    try:
        body = json.loads(path.read_text())
        if body["version"] != VERSION:
            raise InvalidValue(f"version {body['version']} is unknown, this controller reads {VERSION}")
        saved = Saved(
            tuple(_plan_in(item) for item in body["chains"]),
            tuple(map(_ask_in, body["asks"])),
            {str(segment): float(since) for segment, since in body["inserted"].items()},
            NetworkConfig.model_validate(body["network"]) if body["network"] else None,
            # A file of before there were any has none.
            tuple(map(str, body.get("fenced", ()))),
            tuple(map(_ask_in, body.get("around", ()))),
            tuple(map(str, body.get("exchanged", ()))),
        )
        network = network_of(saved.config or config).exchanged(saved.exchanged)
        for plan in saved.chains:
            chain_rules(network, plan)
        for ask in saved.asks:
            ask_rules(network, ask)
        for name in saved.fenced:
            fence_rules(network, name)
        for detour in saved.around:
            around_rules(network, detour)
        _check_plain(saved, network)
    except FileNotFoundError:
        return Saved()
    except OSError as error:
        raise InvalidValue(f"state file {path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, CatenaryError) as error:
        raise InvalidValue(
            f"state file {path} does not fit: {error}; correct it, or start the controller that wrote it. "
            "Without the file nothing is steered until the management system asks for it again, and pairs "
            "that were inserted count as not in the way"
        ) from error
    return saved


def _check_plain(saved: Saved, network: Network) -> None:
    for name, segment in network.segments.items():
        chains = [plan.chain.name for plan in saved.chains if plan.segment == name]
        if len(chains) > 1 and not segment.inserted and name not in saved.inserted:
            raise InvalidValue(
                f"segment {name!r} has chains {', '.join(chains)}, but its pair is not in the way of the "
                "traffic: write inserted: true into the network file if it is"
            )


def _plan_in(item: Any) -> Plan:
    chain = Chain(item["name"], tuple(item["nfs"]), TagPair(*item["tags"]))
    return Plan(chain, item["segment"], tuple(map(_hops_in, item["legs"])), _hops_in(item["bypass"]))


def _ask_in(item: Any) -> AskPlan:
    return AskPlan(item["segment"], _hops_in(item["bypass"]))


def _ask_out(ask: AskPlan) -> dict[str, Any]:
    return {"segment": ask.segment, "bypass": _hops_out(ask.bypass)}


def _hops_in(hops: Sequence[Sequence[str]]) -> Hops:
    return tuple(Hop(Port(*hop[:2]), Port(*hop[2:])) for hop in hops)


def _hops_out(hops: Hops) -> list[list[str]]:
    return [[hop.out.switch, hop.out.name, hop.into.switch, hop.into.name] for hop in hops]
