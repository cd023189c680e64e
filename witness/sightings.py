"""A recording as columns, with the direction of each sighting. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from witness.places import PlaceKind
from witness.recording import INTO, RECORD, RECORD_KEY, SESSION, Array, Recording

FORWARD, REVERSE = 0, 1
DIRECTIONS = ("client to server", "server to client")
SYN, RST, ACK = 0x02, 0x04, 0x10


@dataclass(frozen=True)
class Sightings:
    """Columns with one row for each session, place, way and sender, sorted by (session, first seen); then
    columns with one row a session.

    `first_reset` and `last_reset`: whether the first and the last packet was a TCP RST.
    `direction` is valid where `known`: the session was seen at an outer port. `outside` says that of the
    session. `hurried` sessions began so soon after the last packet of an earlier session on the same key, or
    ended so late, that a packet in flight may count for the wrong one of the two. `partial` ones may have
    packets before or after the recording: they were under way as it began, or began just before it ended.
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
    first_reset: Array
    last_reset: Array
    begin_ns: Array
    end_ns: Array
    outside: Array
    client_high: Array
    server_opened: Array
    hurried: Array
    partial: Array

    def of(self, session: int) -> slice:
        """The rows of one session, in order of time."""
        low, high = np.searchsorted(self.session, [session, session + 1])
        return slice(int(low), int(high))


def read(recording: Recording, gap_ns: int) -> Sightings:
    """The columns of a recording; records begun after it was taken are left out, as they may be partial."""
    records = recording.records[recording.records["counts"]["first_ns"] <= recording.taken_ns]
    records = collapse(records)
    records = records[np.lexsort((records["counts"]["first_ns"], records["key"]["session"]))]
    key, counts = records["key"], records["counts"]
    size = len(recording.origins)
    outside, client_high, server_opened = clients(recording, records)
    direction = np.where((key["from_high"] != 0) == client_high[key["session"]], FORWARD, REVERSE)
    names = ("first_ns", "last_ns", "loaded", "bare", "bytes")
    columns = {name: counts[name].astype(np.int64) for name in names}
    first, last = np.full(size, np.iinfo(np.int64).max), np.zeros(size, dtype=np.int64)
    np.minimum.at(first, key["session"], columns["first_ns"])
    np.maximum.at(last, key["session"], columns["last_ns"])
    outer = np.array([place.kind != PlaceKind.NF for place in recording.places])[key["place"]]
    opened = np.zeros(size, dtype=bool)
    opened[key["session"][outer & (key["way"] == INTO) & (counts["first_flags"] & (SYN | ACK) == SYN)]] = True
    under_way = (first < recording.begun_ns) | ((first < recording.begun_ns + gap_ns) & ~opened)
    return Sightings(
        session=key["session"].astype(np.int64),
        place=key["place"].astype(np.int64),
        way=key["way"].astype(np.int64),
        direction=direction,
        known=outside[key["session"]],
        **columns,
        first_reset=counts["first_flags"] & RST != 0,
        last_reset=counts["last_flags"] & RST != 0,
        begin_ns=first,
        end_ns=last,
        outside=outside,
        client_high=client_high,
        server_opened=server_opened,
        hurried=_hurried(recording.origins, first, last, gap_ns),
        partial=under_way | (first > recording.taken_ns - gap_ns),
    )


def clients(recording: Recording, records: Array) -> tuple[Array, Array, Array]:
    """Of each session: seen at an outer port; its client is the key's high end; its server sent first.

    Whoever sends into the master's outer port, or is sent to out of it, is on the client's side.
    """
    kinds = np.array([place.kind for place in recording.places])
    outside, client_high, server_opened = np.zeros((3, len(recording.origins)), dtype=bool)
    kind = kinds[records["key"]["place"]]
    rows = np.flatnonzero(kind != PlaceKind.NF)
    rows = rows[np.argsort(records["counts"]["first_ns"][rows], kind="stable")]
    sessions, earliest = np.unique(records["key"]["session"][rows], return_index=True)
    rows = rows[earliest]
    key = records["key"][rows]
    from_client = (kind[rows] == PlaceKind.OUTER_MASTER) == (key["way"] == INTO)
    outside[sessions] = True
    client_high[sessions] = (key["from_high"] != 0) == from_client
    server_opened[sessions] = ~from_client
    return outside, client_high, server_opened


def collapse(records: Array) -> Array:
    """At most one record for each session, place, way and sender: pcaps have one for each packet."""
    words = np.ascontiguousarray(records["key"]).view("u8").reshape(-1)
    order = np.lexsort((records["counts"]["first_ns"], words))
    words = words[order]
    begins = np.flatnonzero(np.concatenate(([True], words[1:] != words[:-1]))) if len(words) else order
    if len(begins) == len(records):
        return records
    counts = records["counts"][order]
    found = np.zeros(len(begins), dtype=RECORD)
    found["key"] = np.ascontiguousarray(words[begins]).view(RECORD_KEY)
    found["counts"] = counts[begins]
    found["counts"]["last_flags"] = counts["last_flags"][np.append(begins[1:], len(words)) - 1]
    found["counts"]["last_ns"] = np.maximum.reduceat(counts["last_ns"], begins)
    for name in ("loaded", "bare", "bytes"):
        found["counts"][name] = np.add.reduceat(counts[name], begins)
    return found


def _hurried(origins: Array, first: Array, last: Array, gap_ns: int) -> Array:
    """Which sessions shared their key with another that ended or began less than `gap_ns` apart."""
    words = np.ascontiguousarray(origins["key"]).view("u8").reshape(-1, SESSION.itemsize // 8)
    order = np.lexsort((first, *words.T))
    before, after = order[:-1], order[1:]
    close = (words[before] == words[after]).all(axis=1) & (first[after] < last[before] + gap_ns)
    hurried = np.zeros(len(origins), dtype=bool)
    hurried[before[close]] = hurried[after[close]] = True
    return hurried
