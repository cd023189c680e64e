"""Runs that are noted as `tcpdump` at each port would: one pcap a place, ns time stamps."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from catenary.session import End
from tests.unit.witness_runs import Run
from witness.recording import INTO

HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)


@lru_cache(maxsize=4096)
def frame(sender: End, receiver: End, payload: int, flags: int, vlan: int = 0, seq: int = 7) -> bytes:
    ip = (IP if sender.address.version == 4 else IPv6)(src=str(sender.address), dst=str(receiver.address))
    tag = Dot1Q(vlan=vlan) if vlan else b""
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    segment = TCP(sport=sender.port, dport=receiver.port, flags=flags, seq=seq) / (b"x" * payload)
    return bytes(ether / tag / ip / segment if vlan else ether / ip / segment)


def record(time_ns: int, raw: bytes, kept: int | None = None) -> bytes:
    """One frame of a pcap, of which `kept` bytes are there."""
    kept = len(raw) if kept is None else kept
    return struct.pack("<IIII", *divmod(time_ns, 10**9), kept, len(raw)) + raw[:kept]


@dataclass
class PcapRun(Run):
    """`tagged`: VLAN ID that NF ports see."""

    tagged: int = 0
    noted: list[tuple[str, int, bytes]] = field(default_factory=list, repr=False)

    def note(self, session: int, sender: End, place: str, way: int, payload: int, flags: int) -> None:
        key = self.key(session)
        receiver = key.low if sender == key.high else key.high
        vlan = 0 if place.endswith("outer") else self.tagged
        self.noted.append((place, way, record(self.now, frame(sender, receiver, payload, flags, vlan))))

    def write(self, folder: Path, apart: Collection[str] = ()) -> Path:
        """A pcap for each place, or, for those with one port and those `apart`, one for each way."""
        names = {"l1.outer": "master.outer", "l2.outer": "slave.outer"}
        parts: dict[str, list[bytes]] = {}
        for place in self.places:
            name = names.get(place.name, place.name)
            both = not place.name.endswith(".both") and place.name not in apart
            for suffix in ("",) if both else (".into", ".out-of"):
                parts[name + suffix] = []
        for place_name, way, raw in self.noted:
            name = names.get(place_name, place_name)
            parts[name if name in parts else name + (".into" if way == INTO else ".out-of")].append(raw)
        folder.mkdir(exist_ok=True)
        for name, frames in parts.items():
            (folder / f"{name}.pcap").write_bytes(HEADER + b"".join(frames))
        return folder
