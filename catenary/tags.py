"""Tag pairs: the two VLAN IDs that name a chain on the wire (paper, section II; IEEE 802.1Q)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from catenary.errors import Conflict, InvalidValue, Unavailable

VLAN_ID_MIN = 1
VLAN_ID_MAX = 4094


def check_vlan_id(vid: int, what: str = "VLAN ID") -> int:
    """Return `vid`, or raise `InvalidValue`: 0 marks priority frames and 4095 is reserved (802.1Q)."""
    if isinstance(vid, bool) or not isinstance(vid, int) or not VLAN_ID_MIN <= vid <= VLAN_ID_MAX:
        raise InvalidValue(f"{what} {vid} is out of range: use {VLAN_ID_MIN}..{VLAN_ID_MAX}")
    return vid


@dataclass(frozen=True, order=True)
class TagPair:
    """`forward` (client to server) and `reverse` (server to client), both 1..4094 and not equal."""

    forward: int
    reverse: int

    def __post_init__(self) -> None:
        check_vlan_id(self.forward, "forward tag")
        check_vlan_id(self.reverse, "reverse tag")
        if self.forward == self.reverse:
            raise InvalidValue(f"tag pair {self} uses one VLAN ID twice: forward and reverse must differ")

    def __str__(self) -> str:
        return f"({self.forward}, {self.reverse})"

    @property
    def path(self) -> str:
        """The form used in URLs: `2-3`."""
        return f"{self.forward}-{self.reverse}"

    @property
    def ids(self) -> tuple[int, int]:
        return self.forward, self.reverse

    @classmethod
    def parse(cls, text: str) -> TagPair:
        """Read `2-3`, `2,3` or `(2, 3)`; raises `InvalidValue` that quotes the text."""
        parts = text.strip(" ()").replace("-", ",").split(",")
        try:
            forward, reverse = (int(part) for part in parts)
        except ValueError:
            raise InvalidValue(f"{text!r} is not a tag pair: write FORWARD,REVERSE such as 2,3") from None
        return cls(forward, reverse)


def check_free(pair: TagPair, in_use: Collection[int]) -> TagPair:
    """Return `pair`, or raise `Conflict` when one of its IDs is in `in_use`."""
    for vid in pair.ids:
        if vid in in_use:
            raise Conflict(f"VLAN ID {vid} of tag pair {pair} is in use: choose another")
    return pair


def allocate(in_use: Iterable[int], first: int = 2) -> TagPair:
    """The lowest free pair of IDs from `first` on, forward below reverse; `Unavailable` if none."""
    taken = frozenset(in_use)
    free = (vid for vid in range(first, VLAN_ID_MAX + 1) if vid not in taken)
    try:
        return TagPair(next(free), next(free))
    except StopIteration:
        raise Unavailable("all VLAN IDs are in use: remove a chain first") from None
