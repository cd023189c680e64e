"""A recording as columns, with the direction of each sighting. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from witness.places import PlaceKind
from witness.recording import COUNTS, INTO, Array, Recording

FORWARD, REVERSE = 0, 1
DIRECTIONS = ("client to server", "server to client")


@dataclass(frozen=True)
class Sightings:
    """Columns with one row a record, sorted by (session, first seen); then columns with one row a session.

    `direction` is valid where `known`: the session was seen at an outer port. `outside` says that of the
    session. `hurried` sessions began so soon after the last packet of an earlier session on the same key, or
    ended so late, that a packet in flight may count for the wrong one of the two.
    """

    session: Array
    place: Array
    way: Array
    direction: Array
    known: Array
    first_ns: Array
    last_ns: Array
    loaded: Array
    bare: Array
    bytes: Array
    begin_ns: Array
    end_ns: Array
    outside: Array
    server_opened: Array
    hurried: Array

    def of(self, session: int) -> slice:
        """The rows of one session, in order of time."""
        low, high = np.searchsorted(self.session, [session, session + 1])
        return slice(int(low), int(high))


def read(recording: Recording, gap_ns: int) -> Sightings:
    """The columns of a recording; records begun after it was taken are left out, as they may be partial."""
    kinds = np.array([place.kind for place in recording.places])
    records = recording.records[recording.records["counts"]["first_ns"] <= recording.taken_ns]
    order = np.lexsort((records["counts"]["first_ns"], records["key"]["session"]))
    records = records[order]
    key, counts = records["key"], records["counts"]
    size = len(recording.origins)
    kind = kinds[key["place"]]
    into = key["way"] == INTO
    # Whoever sends into the master's outer port, or is sent to out of it, is on the client's side.
    at_master, at_slave = kind == PlaceKind.OUTER_MASTER, kind == PlaceKind.OUTER_SLAVE
    from_client = (at_master & into) | (at_slave & ~into)
    client_high = np.zeros(size, dtype=bool)
    outside = np.zeros(size, dtype=bool)
    server_opened = np.zeros(size, dtype=bool)
    rows = np.flatnonzero(at_master | at_slave)
    sessions, earliest = np.unique(key["session"][rows], return_index=True)
    rows = rows[earliest]
    client_high[sessions] = (key["from_high"][rows] != 0) == from_client[rows]
    server_opened[sessions] = ~from_client[rows]
    outside[sessions] = True
    direction = np.where((key["from_high"] != 0) == client_high[key["session"]], FORWARD, REVERSE)
    columns = {name: counts[name].astype(np.int64) for name in COUNTS.names or ()}
    first, last = np.full(size, np.iinfo(np.int64).max), np.zeros(size, dtype=np.int64)
    np.minimum.at(first, key["session"], columns["first_ns"])
    np.maximum.at(last, key["session"], columns["last_ns"])
    return Sightings(
        session=key["session"].astype(np.int64),
        place=key["place"].astype(np.int64),
        way=key["way"].astype(np.int64),
        direction=direction,
        known=outside[key["session"]],
        **columns,
        begin_ns=first,
        end_ns=last,
        outside=outside,
        server_opened=server_opened,
        hurried=_hurried(recording.origins, first, last, gap_ns),
    )


def _hurried(origins: Array, first: Array, last: Array, gap_ns: int) -> Array:
    """Which sessions shared their key with another that ended or began less than `gap_ns` apart."""
    words = np.ascontiguousarray(origins["key"]).view("u8").reshape(len(origins), -1)
    order = np.lexsort((first, *words.T))
    before, after = order[:-1], order[1:]
    close = (words[before] == words[after]).all(axis=1) & (first[after] < last[before] + gap_ns)
    hurried = np.zeros(len(origins), dtype=bool)
    hurried[before[close]] = hurried[after[close]] = True
    return hurried
