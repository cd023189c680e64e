"""Sessions of chains whose NFs rewrite keys: one session for each key on each side of such an NF. Pure.

A NAT or a proxy gives a session one key on the client's side and another on the server's. Each is a session
of its own here, and each must keep to one chain. The same key on both sides names two sessions, which may
well cross different chains: so the side becomes a part of the key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from catenary.errors import InvalidValue
from witness.places import Place, PlaceKind, Side
from witness.recording import INTO, Array, Recording
from witness.sightings import clients

CLIENT, SERVER, INNER = 1, 2, 3
"""Sides: up to the first NF that rewrites, from the last one on, and those between them (3, 4, ...)."""
_NAMES = {0: "", CLIENT: "client side", SERVER: "server side"}


def side_name(side: int) -> str:
    """In words; empty where nothing is rewritten."""
    return _NAMES.get(side, "inside the chain")


def rewriting_nfs(names: Collection[str], chains: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The NFs that `names` stand for: an NF for itself, a chain for all of its NFs. Raises `InvalidValue`."""
    found: list[str] = []
    nfs = {nf for members in chains.values() for nf in members}
    for name in names:
        if name not in chains and name not in nfs:
            known = ", ".join((*chains, *sorted(nfs)))
            raise InvalidValue(f"{name!r} rewrites, but is neither a chain nor an NF of one: use {known}")
        found += chains.get(name, [name])
    return tuple(dict.fromkeys(found))


def per_side(
    recording: Recording, chains: Mapping[str, Sequence[str]], rewriting: Collection[str]
) -> Recording:
    """The recording with sessions keyed per side of the NFs `rewriting`; itself if there are none.

    Raises `InvalidValue` unless every chain has such an NF, and every NF one side in all of its chains.
    """
    if not rewriting:
        return recording
    entered, left = _sides(recording.places, chains, rewriting)
    records = recording.records
    key = records["key"]
    client_high = clients(recording, records)[1]
    forward = (key["from_high"] != 0) == client_high[key["session"]]
    near = forward == (key["way"] == INTO)
    side = np.where(near, entered[key["place"]], left[key["place"]])
    pairs, numbers = np.unique(key["session"].astype(np.int64) << 16 | side, return_inverse=True)
    origins = np.concatenate((recording.origins[:1], recording.origins[pairs >> 16]))
    origins["key"]["side"][1:] = pairs & 0xFFFF
    records = records.copy()
    records["key"]["session"] = numbers + 1
    return replace(recording, origins=origins, records=records)


def _sides(
    places: Sequence[Place], chains: Mapping[str, Sequence[str]], rewriting: Collection[str]
) -> tuple[Array, Array]:
    """Of each place: the side of what passes on the client's side of its NF, and on the server's side of it.

    They differ only at an NF with one port. NFs of no chain count as on the client's side.
    """
    sides: dict[str, tuple[int, int]] = {}
    for name, nfs in chains.items():
        total = sum(nf in rewriting for nf in nfs)
        if not total:
            raise InvalidValue(
                f"chain {name!r} has no NF that rewrites, but others have: name one of its NFs"
            )
        zone = 0
        for nf in nfs:
            before = zone
            zone += nf in rewriting
            pair = _label(before, total), _label(zone, total)
            if sides.setdefault(nf, pair) != pair:
                raise InvalidValue(
                    f"NF {nf!r} is on different sides of those that rewrite in different chains"
                )
    entered, left = (np.full(len(places), CLIENT, dtype=np.int64) for _ in range(2))
    for number, place in enumerate(places):
        near, far = sides.get(place.nf, (CLIENT, CLIENT))
        if place.kind is PlaceKind.OUTER_SLAVE:
            near = far = SERVER
        elif place.side is Side.INGRESS:
            far = near
        elif place.side is Side.EGRESS:
            near = far
        entered[number], left[number] = near, far
    return entered, left


def _label(zone: int, total: int) -> int:
    """`zone`: how many NFs that rewrite lie between here and the clients."""
    return CLIENT if zone == 0 else SERVER if zone == total else INNER + zone - 1
