"""The structs and numbers of `core/abi.h`, read by cffi from that very page: nothing is declared twice."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
from cffi import FFI

from catenary.session import End, SessionKey
from lb_adapter.core.setup import Ends, Order

CORE = Path(__file__).parent / "core"
_TYPES = "typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;\n"


def _load() -> FFI:
    """cffi knows `#define NAME number` but no other directive; the include guard is left out."""
    text = re.sub(r"/\*.*?\*/", "", (CORE / "abi.h").read_text(), flags=re.DOTALL)
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith("#") or re.fullmatch(r"#define \w+ +\d+\s*", line)
    ]
    ffi = FFI()
    ffi.cdef(_TYPES + "\n".join(lines))
    return ffi


ffi = _load()
_numbers: Any = ffi.dlopen(None)
MAX_SLOTS: int = _numbers.MAX_SLOTS
TABLE_SIZE: int = _numbers.TABLE_SIZE
MAX_OUTERS: int = _numbers.MAX_OUTERS
OUTER_TABLE: int = _numbers.OUTER_TABLE
NO_SLOT: int = _numbers.NO_SLOT
MAX_RULES: int = _numbers.MAX_RULES
TRAFFICS: int = _numbers.TRAFFICS
FOREIGN: int = _numbers.FOREIGN
KIND_ARP: int = _numbers.KIND_ARP
KIND_ND: int = _numbers.KIND_ND


_COUNTS = frozenset({"REASONS", "PIN_STATES"})


def enum(name: str) -> dict[str, int]:
    """Names and values of a C enum, in the order of their values; a closing count (`REASONS`) is left out."""
    elements = ffi.typeof(f"enum {name}").elements
    return {text: value for value, text in sorted(elements.items()) if text not in _COUNTS}


REASONS = enum("reason")
SLOT_STATES = enum("slot_state")
PIN_STATES = enum("pin_state")
VID_KINDS = enum("vid_kind")
_OVERFLOW = enum("overflow")


CAUSES: list[Any] = [name.removeprefix("CAUSE_").lower() for name in enum("cause")]
"""Of a pin, by their numbers."""
ENDINGS: list[Any] = [name.removeprefix("ENDED_").lower() for name in enum("ending")]
ENDED: int = _numbers.ENDED


def overflow(active: bool, *, roomy: bool = False) -> int:
    """The value of `config.overflow`."""
    return _OVERFLOW["OVERFLOW_NONE" if not active else "OVERFLOW_ROOMY" if roomy else "OVERFLOW_FULL"]


PIN_FIELDS = {
    "seen": (0, 32),
    "slot": (32, 10),
    "outer": (42, 6),
    "generation": (48, 10),
    "state": (58, 3),
    "fins": (61, 2),
    "dead": (63, 1),
}
"""The pin word of core/pin.h: how far each field is shifted, and its bits."""


def mask(name: str) -> int:
    """The bits of a pin word that are this field."""
    shift, bits = PIN_FIELDS[name]
    return ((1 << bits) - 1) << shift


def probe_words(ends: Ends | None) -> tuple[int, int]:
    """`config.probe`: two addresses as they lie in a key."""
    if ends is None:
        return 0, 0
    key = SessionKey.of(End(ends[0]), End(ends[1]), 0)
    return struct.unpack("=8xQ8xQ16x", key.pack())


@dataclass(frozen=True)
class Pin:
    """The fields of a pin word (core/pin.h), which a `struct pin` begins with.

    `seen` is in ms of the data plane's clock, modulo 2**32.
    """

    outer: int
    slot: int
    generation: int
    state: int
    fins: int
    dead: bool
    seen: int

    @classmethod
    def of(cls, raw: bytes) -> Pin:
        (word,) = struct.unpack_from("=Q", raw)
        fields = {name: word >> shift & (1 << bits) - 1 for name, (shift, bits) in PIN_FIELDS.items()}
        return cls(**{**fields, "dead": bool(fields["dead"])})


def shrink(key: SessionKey) -> bytes | None:
    """The bytes of `struct ipv4_key` for an IPv4 session; None for what has the full key."""
    # As bytes an IPv4 address is the mapped IPv6 one, should somebody send that (RFC 4291, 2.5.5.2).
    ends = [
        end.address.ipv4_mapped if end.address.version == 6 else end.address for end in (key.low, key.high)
    ]
    if None in ends or key.kind > 255:
        return None
    addresses = b"".join(address.packed for address in ends if address is not None)
    ports = struct.pack("!HH", key.low.port, key.high.port)
    return addresses + ports + struct.pack("=I", key.kind << 24 | key.vlans[1] << 12 | key.vlans[0])


def pack(name: str, **fields: Any) -> bytes:
    """The bytes of `struct NAME` with these fields set and the rest zero."""
    item = ffi.new(f"struct {name} *", fields)
    return bytes(ffi.buffer(item))


def unpack(name: str, raw: bytes) -> Any:
    """A copy of `raw` as `struct NAME`; its fields are attributes."""
    item = ffi.new(f"struct {name} *")
    ffi.buffer(item)[:] = raw
    return item


def mapped(name: str, descriptor: int) -> Any:
    """`struct NAME` in an array map of one row that was made with BPF_F_MMAPABLE, to read and write."""
    return ffi.from_buffer(f"struct {name} *", mmap(descriptor, ffi.sizeof(f"struct {name}")))


def sweep(order: Order) -> bytes:
    """The bytes of `struct sweep` for an order."""
    slot, generation = order.slot or (NO_SLOT, 0)
    to_slot, to_generation = order.to or (NO_SLOT, 0)
    fields: dict[str, Any] = {
        "mode": enum("sweep_mode")[f"SWEEP_{order.mode.upper()}"],
        "slot": slot,
        "generation": generation,
        "idle_ms": order.idle,
        "to_slot": to_slot,
        "to_generation": to_generation,
        "one": order.key is not None,
    }
    raw = pack("sweep", **fields)
    return raw if order.key is None else raw[: -len(order.key.pack())] + order.key.pack()


_FORMATS = {"uint8_t": "u1", "uint16_t": "u2", "uint32_t": "u4", "uint64_t": "u8"}


def dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of a struct, to read many of them at once. A `struct session_key` is its bytes."""
    kind: np.dtype[Any] = np.dtype(_format(ffi.typeof(f"struct {name}")))
    return kind


def _format(kind: Any) -> Any:
    if kind.kind == "array":
        return (_format(kind.item), (kind.length,))
    if kind.cname == "struct session_key":
        return ("u1", (ffi.sizeof(kind),))
    if kind.kind != "struct":
        return _FORMATS[kind.cname]
    return {
        "names": [name for name, _ in kind.fields],
        "formats": [_format(field.type) for _, field in kind.fields],
        "offsets": [field.offset for _, field in kind.fields],
        "itemsize": ffi.sizeof(kind),
    }
