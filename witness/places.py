"""Where taps stand: one place is one port, seen from the switch that it hangs on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from catenary.config import NetworkConfig
from catenary.errors import InvalidValue


class PlaceKind(StrEnum):
    OUTER_MASTER = "outer_master"
    OUTER_SLAVE = "outer_slave"
    NF = "nf"


class Side(StrEnum):
    """Which side of its NF a port is on; `BOTH` is an NF with one port."""

    INGRESS = "ingress"
    EGRESS = "egress"
    BOTH = "both"


_OUTER = {"master.outer": PlaceKind.OUTER_MASTER, "slave.outer": PlaceKind.OUTER_SLAVE}


@dataclass(frozen=True)
class Place:
    """A tapped port. `interface` is its switch-side end; `nf` and `side` belong to kind `NF` only."""

    name: str
    kind: PlaceKind
    interface: str
    nf: str = ""
    side: Side = Side.BOTH

    def __post_init__(self) -> None:
        if (self.kind is PlaceKind.NF) != bool(self.nf):
            raise InvalidValue(f"place {self.name!r} is of kind {self.kind} but names NF {self.nf!r}")


def check_places(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return `places`, or raise `InvalidValue`: names and interfaces unique, each outer port once."""
    for attribute in ("name", "interface"):
        values = [getattr(place, attribute) for place in places]
        for value in values:
            if values.count(value) > 1:
                raise InvalidValue(f"two places have the {attribute} {value!r}: each needs its own")
    for kind in (PlaceKind.OUTER_MASTER, PlaceKind.OUTER_SLAVE):
        if sum(place.kind is kind for place in places) != 1:
            raise InvalidValue(f"a run is judged between two load balancers: name one place of kind {kind}")
    return tuple(places)


def place_named(name: str, interface: str) -> Place:
    """The place that a name stands for: `master.outer`, `slave.outer`, `NF.ingress`, `NF.egress`, `NF.both`.

    Raises `InvalidValue` that quotes any other.
    """
    owner, _, port = name.rpartition(".")
    if name in _OUTER:
        return Place(name, _OUTER[name], interface)
    if not owner or port not in list(Side):
        raise InvalidValue(
            f"{name!r} is no place: use {', '.join(_OUTER)}, or NF.ingress, NF.egress, NF.both "
            "such as n1.ingress"
        )
    return Place(name, PlaceKind.NF, interface, owner, Side(port))


def places_of(
    network: NetworkConfig, segment: str = "main", named: Collection[str] = ()
) -> tuple[Place, ...]:
    """The places of a segment: its LBs' outer ports, and the ports of the NFs that its chains may have.

    These are the `named` ones, and, in a network of one segment, all others that don't stand fixed: fixed
    NFs, and those of other segments, are crossed beside any chain.
    """
    if segment not in network.segments:
        raise InvalidValue(f"no segment {segment!r}: the network has {', '.join(sorted(network.segments))}")
    ends = network.segments[segment]
    master, slave = network.balancers[ends.master], network.balancers[ends.slave]
    places = [
        Place(f"{ends.master}.outer", PlaceKind.OUTER_MASTER, master.outer),
        Place(f"{ends.slave}.outer", PlaceKind.OUTER_SLAVE, slave.outer),
    ]
    fixed = {nf for config in network.segments.values() for nf in config.before + config.after}
    for name, nf in network.nfs.items():
        if name in named or (name not in fixed and len(network.segments) == 1):
            places += nf_places(name, nf.ingress, nf.egress)
    return check_places(places)


def nf_places(name: str, ingress: str, egress: str) -> Iterable[Place]:
    """The places of one NF: two, or one when its ports are the same."""
    if ingress == egress:
        return [Place(f"{name}.both", PlaceKind.NF, ingress, name, Side.BOTH)]
    return [
        Place(f"{name}.ingress", PlaceKind.NF, ingress, name, Side.INGRESS),
        Place(f"{name}.egress", PlaceKind.NF, egress, name, Side.EGRESS),
    ]
