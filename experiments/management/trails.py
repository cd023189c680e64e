"""The way of sessions, port by port and tag by tag: as an explanation has it, and as taps saw it."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from catenary.errors import Unavailable
from catenary.explanations import HopView, SegmentExplanation, SessionStatus
from catenary.session import End, SessionKey
from witness.frames import FRAME, OF_SESSION, parse
from witness.recording import session_key

FROM, TO = "from", "to"
Flow = tuple[SessionKey, End]
"""One direction of a session: its key, and who sends."""
Rule = tuple[str, str, int]
"""Switch, port, VLAN ID: what a rule matches."""

_ETH_P_ALL, _SOL_PACKET, _OUTGOING = 0x0003, 263, 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_PACKET_STATISTICS, _PACKET_AUXDATA = 6, 8
_AUXDATA = struct.Struct("=IIIHHHH")
_ANCILLARY = socket.CMSG_SPACE(_AUXDATA.size)
_VLAN_VALID, _CTAG, _VID = 1 << 4, 0x8100, 0x0FFF
_ROOM, _KEPT = 64 << 20, 256
_LOAD_INDEX, _JUMP_IF_EQUAL, _RETURN = (0x20, 0xFFFFF008), 0x15, 0x06


@dataclass(frozen=True)
class Sighting:
    """Frames at a port of a switch, `FROM` what hangs there or `TO` it; `tag` 0: without one."""

    port: str
    way: str
    tag: int


@dataclass(frozen=True)
class Ports:
    """The tapped ports of a segment by what hangs there, such as `n1.ingress` and `l1.inner`."""

    names: Mapping[str, str]
    master: str
    slave: str
    ask_id: int

    def nfs(self, trail: Iterable[Sighting]) -> list[str]:
        """Those that are crossed, in order."""
        owners = [self.names[item.port].partition(".")[0] for item in trail]
        return list(dict.fromkeys(name for name in owners if name not in (self.master, self.slave)))

    def asks(self, item: Sighting, tags: Collection[int]) -> bool:
        """Is it a server's frame on the bypass, or its answer? `tags` are those of its client's frames."""
        owner = self.names[item.port].partition(".")[0]
        if owner not in (self.master, self.slave):
            return False
        back = (self.slave, FROM) if item.way == FROM else (self.master, TO)
        return (owner, item.way) != back or item.tag in {self.ask_id, *tags}


@dataclass
class Seen:
    """Of each flow: where it was seen, and when first, as the number of that frame among all."""

    flows: dict[Flow, dict[Sighting, int]] = field(default_factory=lambda: defaultdict(dict))
    frames: int = 0

    def trail(self, flows: Collection[Flow]) -> list[Sighting]:
        """In the order in which a session's frames of one direction came by."""
        found = [item for flow in flows for item in self.flows.get(flow, {}).items()]
        return [sighting for sighting, _ in sorted(found, key=lambda item: item[1])]


class Taps:
    """A packet socket at all of the ports, which are interfaces here: it tells frames in their order."""

    def __init__(self, ports: Collection[str]) -> None:
        self._ports = frozenset(ports)
        self._seen = Seen()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        rows = _filter([socket.if_nametoindex(port) for port in ports])
        memory = ctypes.create_string_buffer(rows)
        attached = struct.pack("HL", len(rows) // 8, ctypes.addressof(memory))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def seen(self) -> Seen:
        """All so far. Raises `Unavailable` if a frame was lost to the taps."""
        sightings, data, rows = [], bytearray(), list[tuple[int, int, int, int]]()
        for sighting, frame, length in self._come():
            sightings.append(sighting)
            rows.append((0, len(data), len(frame), length))
            data += frame
        _, lost = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if lost:
            raise Unavailable(f"{lost} frames were lost to the taps: what was seen tells nothing")
        parsed = parse(bytes(data), np.array(rows, dtype=FRAME))
        for sighting, row in zip(sightings, parsed, strict=True):
            self._seen.frames += 1
            if row["kind"] == OF_SESSION:
                key = session_key(row["key"])
                flow = key, key.high if row["from_high"] else key.low
                self._seen.flows[flow].setdefault(sighting, self._seen.frames)
        return self._seen

    def _come(self) -> Iterator[tuple[Sighting, bytes, int]]:
        """Frames, and their lengths on the wire, until there are no more."""
        with suppress(BlockingIOError):
            while True:
                frame, ancillary, _, (port, _, kind, *_) = self._socket.recvmsg(_KEPT, _ANCILLARY)
                if port not in self._ports:
                    continue  # it came before the filter
                status, length, _, _, _, tci, _ = _AUXDATA.unpack_from(ancillary[0][2])
                ether_type, inside = struct.unpack_from("!HH", frame, 12)
                tag = tci if status & _VLAN_VALID else inside if ether_type == _CTAG else 0
                yield Sighting(port, TO if kind == _OUTGOING else FROM, tag & _VID), frame, length


def _filter(indices: Sequence[int]) -> bytes:
    """Classic BPF, rows of `struct sock_filter`: the first bytes of frames of these interfaces."""
    jumps = [(_JUMP_IF_EQUAL, len(indices) - number, 0, index) for number, index in enumerate(indices)]
    code, at = _LOAD_INDEX
    rows = [(code, 0, 0, at), *jumps, (_RETURN, 0, 0, 0), (_RETURN, 0, 0, _KEPT)]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


@dataclass(frozen=True)
class Asked:
    """A session that was asked about: how, and its flows, which are two each way where an NF translates."""

    text: str
    forward: tuple[Flow, ...]
    reverse: tuple[Flow, ...]

    @classmethod
    def of(cls, text: str, keys: Sequence[SessionKey], clients: Sequence[End]) -> Asked:
        """`clients` are the client's ends in its `keys`."""
        forward, reverse = [], []
        for key, client in zip(keys, clients, strict=True):
            forward.append((key, client))
            reverse.append((key, key.low if key.high == client else key.high))
        return cls(text, tuple(dict.fromkeys(forward)), tuple(dict.fromkeys(reverse)))


def counted(hops: Iterable[HopView]) -> dict[Rule, int]:
    """The packets of each rule."""
    return {_rule(hop): hop.packets for hop in hops}


def difference(
    asked: Asked,
    told: SegmentExplanation,
    seen: Seen,
    ports: Ports,
    status: SessionStatus,
    before: Mapping[Rule, int] | None = None,
) -> str | None:
    """What is told of a session otherwise than the taps saw it, hop by hop; None: nothing.

    `before`: what the rules had counted before the session began, if it was told of after its packets.
    """
    forward, reverse = seen.trail(asked.forward), seen.trail(asked.reverse)
    tags = {item.tag for item in forward} - {0}
    reverse = [item for item in reverse if not ports.asks(item, tags)]
    if not forward or not reverse:
        return f"{asked.text}: not seen: {forward} and {reverse}"
    nfs = ports.nfs(forward)
    pair = (told.tags.forward, told.tags.reverse) if told.tags else None
    compared = {
        "status": (told.status, status),
        "NFs": (told.nfs, nfs),
        "path": (told.path, [ports.master, *nfs, ports.slave]),
        "tags": (pair, (forward[0].tag, reverse[0].tag)),
        "hops": (_trail(told.forward, ports), forward),
        "hops back": (_trail(told.reverse, ports), reverse),
        "links": (_broken(told.forward, ports) + _broken(told.reverse, ports), []),
        "counters": (_resting([*told.forward, *told.reverse], before), []),
        "faults": (told.faults, []),
    }
    wrong = [f"{what}: said {said}, seen {real}" for what, (said, real) in compared.items() if said != real]
    return f"{asked.text}: {'; '.join(wrong)}" if wrong else None


def _rule(hop: HopView) -> Rule:
    return hop.switch, str(hop.match["in_port"]), int(hop.match["vlan"])


def _sent(hop: HopView) -> tuple[str, int]:
    """By which port frames leave, and with which tag."""
    port, tag = "", _rule(hop)[2]
    for action in hop.actions:
        name, _, value = action.partition(":")
        match name:
            case "push_vlan":
                tag = int(value)
            case "pop_vlan":
                tag = 0
            case "output":
                port = value
    return port, tag


def _trail(hops: Iterable[HopView], ports: Ports) -> list[Sighting]:
    """What follows from the rules for the ports that are tapped."""
    found = []
    for hop in hops:
        _, port, tag = _rule(hop)
        found += [Sighting(port, FROM, tag), Sighting(_sent(hop)[0], TO, _sent(hop)[1])]
    return [item for item in found if item.port in ports.names]


def _broken(hops: Sequence[HopView], ports: Ports) -> list[str]:
    """Where ends are named that the rules don't have, or the next rule is not what the last one sends to."""
    wrong = []
    for number, hop in enumerate(hops):
        switch, port, _ = _rule(hop)
        out, tag = _sent(hop)
        before, after = hops[:number][-1:], hops[number + 1 :][:1]
        source = ports.names.get(port) or ":".join([f"{one.switch}:{_sent(one)[0]}" for one in before])
        target = ports.names.get(out) or ":".join([":".join(_rule(one)[:2]) for one in after])
        if (hop.source, hop.target) != (source, target):
            wrong.append(f"{switch} {hop.source} -> {hop.target}, where it is {source} -> {target}")
        wrong += [
            f"tag {tag} before {one.switch}, which matches {_rule(one)[2]}"
            for one in after
            if _rule(one)[2] != tag
        ]
    return wrong


def _resting(hops: Iterable[HopView], before: Mapping[Rule, int] | None) -> list[str]:
    """Rules that are not there, or have counted nothing since."""
    found = []
    for hop in hops:
        moved = before is None or hop.packets > before.get(_rule(hop), 0)
        if not hop.installed or not moved:
            found.append(f"{_rule(hop)} at {hop.packets}")
    return found
