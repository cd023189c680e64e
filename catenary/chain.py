"""Chains and network functions: the nouns, validated, without any behaviour."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from catenary.errors import InvalidValue
from catenary.tags import TagPair

WEIGHT_MAX = 1000
WEIGHT_DEFAULT = 100
NAME = "[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
"""What a name is, as a regular expression."""


def check_name(name: str, what: str = "name") -> str:
    """Return `name`, or raise `InvalidValue`: names stand in URLs and in logs, so they are plain."""
    if not re.fullmatch(NAME, name):
        raise InvalidValue(f"{what} {name!r} is not valid: use 1 to 40 of a-z, 0-9 and '-', not at the ends")
    return name


def check_weight(weight: int) -> int:
    """Return `weight`, or raise `InvalidValue`; 0 means cordoned: no new session."""
    if not 0 <= weight <= WEIGHT_MAX:
        raise InvalidValue(f"weight {weight} is out of range: use 0..{WEIGHT_MAX}")
    return weight


class TagMode(StrEnum):
    """What an NF sees of the tag: see "NF" in docs/ARCHITECTURE.md."""

    STRIPPED = "stripped"
    KEPT = "kept"


class ChainState(StrEnum):
    """Life of a chain at the management system, in order; `FAILED` may follow the first two."""

    REQUESTED = "requested"
    STEERED = "steered"
    ACTIVE = "active"
    COOLING = "cooling"
    DRAINED = "drained"
    REMOVED = "removed"
    FAILED = "failed"


class PairState(StrEnum):
    """Life of a tag pair at a load balancer (affinity rule 6)."""

    ACTIVE = "active"
    COOLING = "cooling"
    CLOSED = "closed"
    DRAINED = "drained"


class Condition(StrEnum):
    """What probes say of an active tag pair (affinity rule 9).

    `DOWN`: it takes no new session and keeps its own. `SHUT`: those were ended, too, and it learns nothing.
    """

    UP = "up"
    DOWN = "down"
    SHUT = "shut"


@dataclass(frozen=True)
class NetworkFunction:
    """An NF instance and the switch ports that it hangs on; one port means `tags: kept`."""

    name: str
    switch: str
    ingress: str
    egress: str
    tags: TagMode = TagMode.STRIPPED

    def __post_init__(self) -> None:
        check_name(self.name, "NF")
        if self.ingress == self.egress and self.tags is TagMode.STRIPPED:
            raise InvalidValue(
                f"NF {self.name!r} has one port ({self.ingress}), so the switch can't tell its two "
                "directions apart: set tags: kept"
            )


@dataclass(frozen=True)
class Chain:
    """One whole copy of the NF sequence: the unit that is added and removed.

    `nfs` are NF names in forward order (client to server); reverse traffic crosses them backwards. A bypass
    crosses none: it carries what the classifier of its segment does not match.
    """

    name: str
    nfs: tuple[str, ...]
    tags: TagPair
    weight: int = WEIGHT_DEFAULT

    def __post_init__(self) -> None:
        check_name(self.name, "chain")
        check_weight(self.weight)
        for nf in self.nfs:
            if self.nfs.count(nf) > 1:
                raise InvalidValue(f"chain {self.name!r} names NF {nf!r} twice")

    @property
    def bypass(self) -> bool:
        return not self.nfs
