"""Frames as columns: what a session is and how much of it, for all frames at once. Pure.

It says of each frame what `witness/bpf/tap.bpf.c` would; the load balancers' parser is used by neither.
"""

from __future__ import annotations

import numpy as np

from witness.recording import SESSION, Array

FRAME = np.dtype([("time_ns", "i8"), ("at", "i8"), ("kept", "i8"), ("length", "i8")])
"""Of a pcap: where a frame is in the file's bytes, how many of them, and how many it had."""
PARSED = np.dtype(
    [
        ("kind", "u1"),
        ("from_high", "u1"),
        ("flags", "u1"),
        ("payload", "u4"),
        ("isn", "u4"),
        ("key", SESSION),
    ]
)
OF_SESSION, OTHER, UNPARSED = 0, 1, 2
_IPV4, _IPV6, _CTAG, _STAG = 0x0800, 0x86DD, 0x8100, 0x88A8
_ICMP, _TCP, _UDP, _ICMPV6, _SCTP = 1, 6, 17, 58, 132
_HEADER = {_UDP: 8, _SCTP: 12, _ICMP: 8, _ICMPV6: 8}
_ECHO = {_ICMP: (0, 8), _ICMPV6: (128, 129)}
_FRAGMENT, _EXTENSIONS = 44, (0, 43, 44, 60)
_MOST_TAGS, _MOST_EXTENSIONS = 3, 8
_ROOM = 64  # zeros behind the last frame, so that no look ahead leaves the array


def parse(data: bytes, frames: Array) -> Array:
    """`PARSED` of each of `frames` (`FRAME`), which lie in `data`."""
    return _Parser(data, frames).parsed


class _Parser:
    def __init__(self, data: bytes, frames: Array) -> None:
        self._data = np.frombuffer(data + bytes(_ROOM), dtype=np.uint8)
        self._kept_end = frames["at"] + frames["kept"]
        self._wire_end = frames["at"] + frames["length"]
        self.parsed = np.zeros(len(frames), dtype=PARSED)
        self._ends = np.zeros((2, len(frames), 16), dtype=np.uint8)
        everything = np.arange(len(frames))
        kinds, at = self._ethernet(everything, frames["at"])
        found = [self._ipv4(everything[kinds == _IPV4], at), self._ipv6(everything[kinds == _IPV6], at)]
        rows, at, left, protocol = (np.concatenate(columns) for columns in zip(*found, strict=True))
        self._transport(rows, at, left, protocol)

    # -- reading -------------------------------------------------------------------------------------------

    def _byte(self, at: Array) -> Array:
        found: Array = np.take(self._data, at, mode="clip").astype(np.int64)
        return found

    def _short(self, at: Array) -> Array:
        return self._byte(at) << 8 | self._byte(at + 1)

    def _fits(self, rows: Array, at: Array, size: Array | int) -> Array:
        found: Array = at + size <= self._kept_end[rows]
        return found

    def _drop(self, rows: Array, kind: int) -> None:
        self.parsed["kind"][rows] = kind

    # -- layers --------------------------------------------------------------------------------------------

    def _ethernet(self, rows: Array, at: Array) -> tuple[Array, Array]:
        """(EtherType behind all tags, where the rest begins); the type is 0 for what belongs to no
        session."""
        kinds, behind = self._short(at + 12), at + 14
        broken = ~self._fits(rows, at, 14)
        for _ in range(_MOST_TAGS):
            tagged = (kinds == _CTAG) | (kinds == _STAG)
            broken |= tagged & ~self._fits(rows, behind, 4)
            kinds = np.where(tagged, self._short(behind + 2), kinds)
            behind = behind + 4 * tagged
        other = (self._byte(at) & 1 == 1) | ((kinds != _IPV4) & (kinds != _IPV6))
        self._drop(rows[other], OTHER)
        self._drop(rows[broken], UNPARSED)
        return np.where(other | broken, 0, kinds), behind

    def _ipv4(self, rows: Array, begins: Array) -> tuple[Array, Array, Array, Array]:
        """(rows, where L4 begins, its bytes, its protocol) of what belongs to a session."""
        at = begins[rows]
        header, length = (self._byte(at) & 15) * 4, self._short(at + 2)
        length = np.where(length == 0, self._wire_end[rows] - at, length)  # over 64 KB (BIG TCP)
        good = self._fits(rows, at, 20) & (self._byte(at) >> 4 == 4) & (header >= 20) & (length >= header)
        good &= at + length <= self._wire_end[rows]
        later = good & (self._short(at + 6) & 0x1FFF != 0)
        self._drop(rows[~good], UNPARSED)
        self._drop(rows[later], OTHER)
        rows, at, header, length = (column[good & ~later] for column in (rows, at, header, length))
        for end, offset in zip(self._ends, (12, 16), strict=True):
            end[rows, 10:12] = 0xFF
            end[rows, 12:] = self._data[(at + offset)[:, None] + np.arange(4)]
        return rows, at + header, length - header, self._byte(at + 9)

    def _ipv6(self, rows: Array, begins: Array) -> tuple[Array, Array, Array, Array]:
        at = begins[rows]
        length = self._short(at + 4)
        length = np.where(length == 0, self._wire_end[rows] - at - 40, length)
        end = at + 40 + length
        good = self._fits(rows, at, 40) & (self._byte(at) >> 4 == 6) & (end <= self._wire_end[rows])
        later = np.zeros(len(rows), dtype=bool)
        here, protocol = at + 40, self._byte(at + 6)
        for _ in range(_MOST_EXTENSIONS):
            more = good & ~later & np.isin(protocol, _EXTENSIONS)
            good &= ~more | self._fits(rows, here, 4)
            fragment = more & (protocol == _FRAGMENT)
            later |= good & fragment & (self._short(here + 2) & 0xFFF8 != 0)
            size = np.where(fragment, 8, (self._byte(here + 1) + 1) * 8)
            protocol = np.where(more, self._byte(here), protocol)
            here = here + size * more
        good &= later | (here <= end)
        self._drop(rows[~good], UNPARSED)
        self._drop(rows[good & later], OTHER)
        rows, at, here, end, protocol = (column[good & ~later] for column in (rows, at, here, end, protocol))
        for ends, offset in zip(self._ends, (8, 24), strict=True):
            ends[rows] = self._data[(at + offset)[:, None] + np.arange(16)]
        return rows, here, end - here, protocol

    def _transport(self, rows: Array, at: Array, left: Array, protocol: Array) -> None:
        """TCP, UDP and SCTP have ports, an ICMP echo an identifier; others have only their addresses."""
        tcp, icmp = protocol == _TCP, np.isin(protocol, tuple(_ECHO))
        ports = tcp | np.isin(protocol, (_UDP, _SCTP))
        header = np.where(tcp, (self._byte(at + 12) >> 4) * 4, 0)
        for number, size in _HEADER.items():
            header[protocol == number] = size
        good = (left >= header) & ~(tcp & (header < 20))
        good &= self._fits(rows, at, np.select([tcp, ports, icmp], [14, 4, 6], 0))
        kinds = self._byte(at)
        echo = np.any([(protocol == number) & np.isin(kinds, some) for number, some in _ECHO.items()], axis=0)
        self._drop(rows[icmp & good & ~echo], OTHER)
        self._drop(rows[~good], UNPARSED)
        good &= ~icmp | echo
        columns = (rows, at, left, protocol, header, tcp, ports, echo)
        rows, at, left, protocol, header, tcp, ports, echo = (column[good] for column in columns)
        found = self.parsed
        found["payload"][rows] = left - header
        found["flags"][rows] = np.where(tcp, self._byte(at + 13), 0)
        found["isn"][rows] = np.where(tcp, self._short(at + 4) << 16 | self._short(at + 6), 0)
        identifier = np.where(echo, self._short(at + 4), 0)
        source, target = (np.where(ports, self._short(at + offset), identifier) for offset in (0, 2))
        self._keys(rows, source, target, protocol)

    def _keys(self, rows: Array, source_port: Array, target_port: Array, protocol: Array) -> None:
        """The (address, port) ends, sorted as bytes."""
        source, target = (np.ascontiguousarray(end[rows]) for end in self._ends)
        (a, b), (c, d) = (
            np.ascontiguousarray(end.view(">u8").T.astype(np.uint64)) for end in (source, target)
        )
        high = (a > c) | ((a == c) & ((b > d) | ((b == d) & (source_port > target_port))))
        keys = np.zeros(len(rows), dtype=SESSION)
        keys["low"] = np.where(high[:, None], target, source).view("V16").reshape(-1)
        keys["high"] = np.where(high[:, None], source, target).view("V16").reshape(-1)
        keys["low_port"] = np.where(high, target_port, source_port)
        keys["high_port"] = np.where(high, source_port, target_port)
        keys["protocol"] = protocol
        self.parsed["key"][rows] = keys
        self.parsed["from_high"][rows] = high
