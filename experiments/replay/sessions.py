"""From the packets of a capture to its sessions, each with its direction and in its order. Pure.

What a session is, is the witness's to say; here come what it leaves aside: later fragments and ICMP errors go
with the session that they belong to.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import numpy as np
from scapy.layers.inet import IP, ICMPerror, IPerror, TCPerror, UDPerror
from scapy.layers.inet6 import IPerror6, IPv6, IPv6ExtHdrFragment

from catenary.errors import InvalidValue
from catenary.session import Directed, End, SessionKey
from experiments.replay.capture import MALFORMED, Frame, Packet, unwrap
from experiments.replay.packets import corrected, fitted
from witness.frames import FRAME, OF_SESSION, UNPARSED, parse
from witness.recording import Array, session_key
from witness.sightings import ACK, SYN

MTU = 1500
GROUP, TOO_LONG, ORPHAN, OTHER_TAG = (
    "sent to many at once",
    "longer than the MTU, and not TCP",
    "a fragment or an ICMP error of no session",
    "seen again under another VLAN ID",
)
"""Why a packet is left out, besides those of `capture`."""
_HEAD = bytes(12)
_EXTENSIONS = (0, 43, 44, 60)


@dataclass(frozen=True)
class Step:
    """A packet of a session, when the capture has it (Unix time, ns), and whether the client sent it."""

    time_ns: int
    from_client: bool
    data: bytes


@dataclass(frozen=True)
class Session:
    """All packets on one key, in the order of the capture. Sessions that follow on one key are one here."""

    key: SessionKey
    client: End
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Such as `10.0.0.1:4000 -> 10.0.0.2:80/tcp`: the client's end is the left one."""
        return Directed(self.key, self.client).text


@dataclass(frozen=True)
class Split:
    """The sessions of a capture, in the order in which they begin.

    `left_out` counts frames that are not replayed, by reason; `corrected` packets whose checksums were wrong,
    `cut` those that were longer than the MTU, and became TCP segments.
    """

    sessions: tuple[Session, ...]
    frames: int
    left_out: Mapping[str, int]
    corrected: int
    cut: int

    @property
    def packets(self) -> int:
        return sum(len(session.steps) for session in self.sessions)


def split(frames: Sequence[Frame], *, mtu: int = MTU, correct: bool = True) -> Split:
    """The sessions of all `frames`: packets of at most `mtu` bytes, with right checksums if `correct`.

    Raises `InvalidValue` when there is no session.
    """
    left_out: Counter[str] = Counter()
    found = []
    for frame in frames:
        packet = unwrap(frame)
        if isinstance(packet, str):
            left_out[packet] += 1
        elif packet.group or _is_group(packet.data):
            left_out[GROUP] += 1
        else:
            found.append(packet)
    lanes = _Lanes(left_out)
    for packet, row in zip(found, _parsed(found), strict=True):
        lanes.add(packet, row)
    shaped = _Shaping(mtu, correct, left_out)
    sessions = tuple(session for lane in lanes.all.values() if (session := shaped.session(lane)).steps)
    if not sessions:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InvalidValue(f"it has no IP session to replay: of its {len(frames)} frames, {reasons}")
    sessions = tuple(sorted(sessions, key=lambda session: session.steps[0].time_ns))
    return Split(sessions, len(frames), dict(left_out), shaped.corrected, shaped.cut)


@dataclass
class _Lane:
    """What was found of one session: of each packet, who sent it and the TCP flags."""

    key: SessionKey
    packets: list[tuple[Packet, bool, int]]
    tags: dict[bool, tuple[int, ...]]

    def client_high(self) -> bool:
        """The first SYN's sender; without one, the receiver of a SYN with ACK, or else the first sender."""
        for _, from_high, flags in self.packets:
            if flags & (SYN | ACK) == SYN:
                return from_high
        _, from_high, flags = self.packets[0]
        return from_high != bool(flags & SYN)


class _Lanes:
    def __init__(self, left_out: Counter[str]) -> None:
        self.all: dict[SessionKey, _Lane] = {}
        self._left_out = left_out
        self._keys: dict[bytes, SessionKey] = {}
        self._fragments: dict[tuple[object, ...], tuple[SessionKey, bool]] = {}

    def add(self, packet: Packet, row: Any) -> None:
        """A packet, and what the witness's parser says of it."""
        if row["kind"] == UNPARSED:
            self._left_out[MALFORMED] += 1
            return
        if row["kind"] == OF_SESSION:
            key, from_high = self._key(row["key"]), bool(row["from_high"])
            if (fragment := _fragment(packet.data)) is not None:
                self._fragments[fragment] = key, from_high
        else:
            belongs = self._fragments.get(_fragment(packet.data) or ()) or _quoted(packet.data)
            if belongs is None or belongs[0] not in self.all:
                self._left_out[ORPHAN] += 1
                return
            key, from_high = belongs
        lane = self.all.setdefault(key, _Lane(key, [], {}))
        if lane.tags.setdefault(from_high, packet.vlans) != packet.vlans:
            self._left_out[OTHER_TAG] += 1
            return
        lane.packets.append((packet, from_high, int(row["flags"])))

    def _key(self, raw: Any) -> SessionKey:
        """Made once for each session: there may be millions of packets."""
        found = self._keys.get(raw.tobytes())
        if found is None:
            found = self._keys[raw.tobytes()] = session_key(raw)
        return found


class _Shaping:
    """Makes packets such as may be sent, and counts what it changed."""

    def __init__(self, mtu: int, correct: bool, left_out: Counter[str]) -> None:
        self._mtu = mtu
        self._correct = correct
        self._left_out = left_out
        self.corrected = 0
        self.cut = 0

    def session(self, lane: _Lane) -> Session:
        client_high, steps, time_ns = lane.client_high(), list[Step](), 0
        for packet, from_high, _ in lane.packets:
            time_ns = max(time_ns, packet.time_ns)  # order counts: interfaces' clocks may differ
            steps += [Step(time_ns, from_high == client_high, data) for data in self._shaped(packet.data)]
        return Session(lane.key, lane.key.high if client_high else lane.key.low, tuple(steps))

    def _shaped(self, data: bytes) -> Iterable[bytes]:
        pieces = fitted(data, self._mtu)
        if not pieces:
            self._left_out[TOO_LONG] += 1
        elif len(pieces) > 1:
            self.cut += 1
        elif self._correct:
            pieces = [corrected(data)]
            self.corrected += pieces[0] is not data
        return pieces


def _parsed(found: Sequence[Packet]) -> Iterator[Any]:
    """The witness's columns, row by row. It reads frames, so each packet becomes one again."""
    frames, at, data = np.zeros(len(found), dtype=FRAME), 0, list[bytes]()
    for number, packet in enumerate(found):
        kind = b"\x08\x00" if packet.data[0] >> 4 == 4 else b"\x86\xdd"
        size = len(_HEAD) + 2 + len(packet.data)
        frames[number] = packet.time_ns, at, size, size
        data += (_HEAD, kind, packet.data)
        at += size
    columns: Array = parse(b"".join(data), frames)
    return iter(columns)


def _is_group(data: bytes) -> bool:
    """Is the destination a multicast or the broadcast address?"""
    return data[16] >= 224 if data[0] >> 4 == 4 else data[24] == 0xFF


def _fragment(data: bytes) -> tuple[object, ...] | None:
    """What the fragments of one packet share (RFC 791, RFC 8200); None for what is no fragment."""
    if data[0] >> 4 == 4:
        if struct.unpack_from("!H", data, 6)[0] & 0x3FFF == 0:
            return None
        return data[12:20], data[9], data[4:6]
    if data[6] not in _EXTENSIONS:
        return None
    head = IPv6(data).getlayer(IPv6ExtHdrFragment)
    return None if head is None else (data[8:40], head.id)


def _quoted(data: bytes) -> tuple[SessionKey, bool] | None:
    """(session, is its high end's side the sender) of the packet that an ICMP error quotes."""
    packet = IP(data) if data[0] >> 4 == 4 else IPv6(data)
    inner = packet.getlayer(IPerror) or packet.getlayer(IPerror6)
    if inner is None:
        return None
    protocol = inner.proto if isinstance(inner, IPerror) else inner.nh
    above, ports = inner.payload, (0, 0)
    if isinstance(above, (TCPerror, UDPerror)):
        ports = above.sport, above.dport
    elif isinstance(above, ICMPerror):
        ports = above.id, above.id
    sender, target = (End(ip_address(a), p or 0) for a, p in zip((inner.src, inner.dst), ports, strict=True))
    key = SessionKey.of(sender, target, protocol)
    return key, key.high == target
