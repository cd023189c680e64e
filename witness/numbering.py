"""Packets as sessions: which end of a key is the client, which packets are one incarnation of it. Pure."""

from __future__ import annotations

import numpy as np

from catenary.session import Timeouts
from witness.recording import ORIGIN, SESSION, Array
from witness.sightings import ACK, SYN

FIN, RST = 0x01, 0x04
_TCP, _UDP = 6, 17
_NEVER = np.iinfo(np.int64).max


def group(keys: Array) -> tuple[Array, int]:
    """Of each `SESSION` a number that equal keys share, from 0, and how many there are."""
    words = np.ascontiguousarray(keys).view("u8").reshape(-1, SESSION.itemsize // 8)
    order = np.lexsort(words.T)
    changed = (words[order][1:] != words[order][:-1]).any(axis=1)
    numbers = np.zeros(len(keys), dtype=np.int64)
    numbers[order[1:]] = np.cumsum(changed)
    return numbers, int(numbers.max(initial=-1)) + 1


def clients_of(keys: Array, size: int, packets: Array, master: Array, outer: Array, into: Array) -> Array:
    """Of each key: whether its client is the high end. Arrays over packets, but for `size` keys.

    `master`, `outer`: at that port. `into`: 1 into, 0 out of, -1 not known. What is seen first at an outer
    port goes into it, unless the same sender was seen at an NF before. A SYN tells more than others.
    """
    high, time = packets["from_high"] != 0, packets["time_ns"]
    opens = packets["flags"] & (SYN | ACK) == SYN
    slot = keys * 4 + high * 2 + opens
    inside = np.full(size * 4, _NEVER)
    np.minimum.at(inside, slot[~outer], time[~outer])
    rows = np.flatnonzero(outer)
    rows = rows[np.lexsort((time[rows], ~opens[rows], keys[rows]))]
    found, first = np.unique(keys[rows], return_index=True)
    rows = rows[first]
    entered = np.where(into[rows] >= 0, into[rows] == 1, time[rows] <= inside[slot[rows]])
    client_high = np.zeros(size, dtype=bool)
    client_high[found] = high[rows] == (master[rows] == entered)
    return client_high


def incarnations(keys: Array, packets: Array, opening: Array, timeouts: Timeouts) -> tuple[Array, Array]:
    """(number of each packet's session, from 1; `ORIGIN` of each number).

    A session ends with a silence beyond the timeout of its state, or with a SYN that comes in at an outer
    port (`opening`) and has another initial sequence number. A FIN or RST after a closed connection is that
    one's, sent again and again: what it begins is closed, too.
    """
    order = np.lexsort((packets["time_ns"], keys))
    keys, packets, opening = keys[order], packets[order], opening[order]
    time, flags, high = packets["time_ns"], packets["flags"], packets["from_high"] != 0
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = keys[1:] != keys[:-1]
    gap = np.diff(time, prepend=time[:1])
    sent = {
        bit: [_so_far((flags & bit != 0) & (high == end)) for end in (False, True)] for bit in (ACK, FIN, RST)
    }
    names = ("tcp_opening", "tcp_established", "tcp_closing", "udp", "other")
    limits = tuple(int(getattr(timeouts, name) * 1e9) for name in names)
    opening_ns, established_ns, closing_ns, udp_ns, other_ns = limits
    protocol = packets["key"]["protocol"]
    tcp, silent_ns = protocol == _TCP, np.where(protocol == _UDP, udp_ns, other_ns)
    begins = fresh.copy()
    base, isn, over = 0, 0, False
    for at in map(int, np.flatnonzero(fresh | opening | (gap > min(limits)))):
        closed = False
        if not fresh[at]:
            acks, fins, resets = ([ends[at] > ends[base] for ends in sent[bit]] for bit in (ACK, FIN, RST))
            closed = over or all(fins) or any(resets)
            limit = closing_ns if closed else established_ns if all(acks) else opening_ns
            lapsed = gap[at] > (limit if tcp[at] else silent_ns[at])
            if not lapsed and not (opening[at] and int(packets["isn"][at]) != isn):
                continue
        over = bool(closed and not opening[at] and flags[at] & (FIN | RST))
        begins[at] = True
        base, isn = at, int(packets["isn"][at]) if opening[at] else 0
    numbers = np.zeros(len(keys), dtype=np.int64)
    numbers[order] = np.cumsum(begins)
    origins = np.zeros(int(begins.sum()) + 1, dtype=ORIGIN)
    origins["key"][1:] = packets["key"][begins]
    origins["first_ns"][1:] = time[begins]
    return numbers, origins


def _so_far(events: Array) -> Array:
    """How many of `events` lie before each row."""
    return np.concatenate(([0], np.cumsum(events)[:-1])) if len(events) else np.zeros(0, dtype=np.int64)
