"""Golden vectors as Python objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml
from scapy.layers import inet, inet6, ipsec, l2, sctp

from catenary.session import Address, End, SessionKey
from lb_adapter.core.oracle import FragmentKey

FOLDER = Path(__file__).parent
FLAG_BITS = "FSRPAUEC"
_CLIENT, _SERVER = "02:00:00:00:00:01", "02:00:00:00:00:02"
_WORDS: dict[str, Any] = {
    **{name: value for module in (l2, inet, inet6, ipsec, sctp) for name, value in vars(module).items()},
    "eth": l2.Ether(src=_CLIENT, dst=_SERVER),
    "back": l2.Ether(src=_SERVER, dst=_CLIENT),
    "group": l2.Ether(src=_CLIENT, dst="01:00:5e:00:00:fb"),
    "everyone": l2.Ether(src=_CLIENT, dst="ff:ff:ff:ff:ff:ff"),
}


@dataclass(frozen=True)
class Vector:
    """A frame and what it is. `key` and `fragment` are the bytes of the C structs, if any."""

    name: str
    scapy: str
    frame: bytes
    beside: int | None
    affinity: str
    forward: bool
    kind: str
    key: bytes | None
    fragment: bytes | None
    vlans: tuple[int, int]
    tcp_flags: int
    reason: str


def build(expression: str) -> bytes:
    """The frame that a scapy expression makes."""
    return bytes(eval(expression, dict(_WORDS)))


@cache
def read(path: Path) -> list[Vector]:
    return [_vector(row, path.stem) for row in yaml.safe_load(path.read_text())]


def read_all() -> list[Vector]:
    return [vector for path in sorted(FOLDER.glob("*.yaml")) for vector in read(path)]


def _vector(row: dict[str, Any], file: str) -> Vector:
    vlans = (row.get("vlans", [0, 0])[0], row.get("vlans", [0, 0])[1])
    key = SessionKey(_end(row["low"]), _end(row["high"]), row["kind"], vlans).pack() if "low" in row else None
    return Vector(
        f"{file}: {row['name']}",
        row["scapy"],
        bytes.fromhex(row["frame"]),
        row.get("beside"),
        row.get("affinity", "session"),
        row.get("forward", True),
        row["class"],
        key,
        _fragment(row["fragment"], vlans) if "fragment" in row else None,
        vlans,
        sum(1 << FLAG_BITS.index(flag) for flag in row.get("tcp_flags", "")),
        row.get("reason", ""),
    )


def _end(text: str) -> End:
    address, port = text.split()
    return End(ip_address(address), int(port))


def _fragment(text: str, vlans: tuple[int, int]) -> bytes:
    source, target, identification, protocol = text.split()
    ends: list[Address] = [ip_address(source), ip_address(target)]
    return FragmentKey(ends[0], ends[1], int(identification), int(protocol), vlans).pack()
