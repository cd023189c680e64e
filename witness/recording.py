"""What the taps noted, as arrays, and the file that it is kept in.

The dtypes are the C structs of `witness/bpf/tap.bpf.c`, whose static asserts hold the sizes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from catenary.errors import CatenaryError, InvalidValue
from catenary.session import End, SessionKey
from witness.events import Event, Pin
from witness.places import Place, PlaceKind, Side, check_places

Array = npt.NDArray[Any]
VERSION = 3
INTO, OUT_OF = 0, 1

SESSION = np.dtype(
    [
        ("low", "V16"),
        ("high", "V16"),
        ("low_port", ">u2"),
        ("high_port", ">u2"),
        ("protocol", "u2"),
        ("side", "u2"),  # 0 from the taps; see witness/sides.py
    ]
)
ORIGIN = np.dtype([("key", SESSION), ("first_ns", "u8")])
RECORD_KEY = np.dtype([("session", "u4"), ("place", "u2"), ("way", "u1"), ("from_high", "u1")])
COUNTS = np.dtype(
    [
        ("first_ns", "u8"),
        ("last_ns", "u8"),
        ("loaded", "u8"),
        ("bare", "u8"),
        ("bytes", "u8"),
        ("first_flags", "u1"),
        ("last_flags", "u1"),
        ("spare", "V6"),
    ]
)
RECORD = np.dtype([("key", RECORD_KEY), ("counts", COUNTS)])
_SIZES = {
    "SESSION": (SESSION, 40),
    "ORIGIN": (ORIGIN, 48),
    "RECORD_KEY": (RECORD_KEY, 8),
    "RECORD": (COUNTS, 48),
}
for _name, (_dtype, _size) in _SIZES.items():
    assert _dtype.itemsize == _size, _name


def session_key(raw: Any) -> SessionKey:
    """The key of one `SESSION`."""
    low, high = (End(_address(raw[side].tobytes()), int(raw[f"{side}_port"])) for side in ("low", "high"))
    return SessionKey.of(low, high, int(raw["protocol"]))


def _address(raw: bytes) -> Any:
    address = IPv6Address(raw)
    return address.ipv4_mapped or address


@dataclass(frozen=True)
class Recording:
    """All that was seen until `taken_ns` (monotonic clock, ns).

    `origins[n]` (`ORIGIN`) tells which session, and which incarnation of it, number n is; n = 0 is unused.
    `records` (`RECORD`) are in any order: packets of one session at one place, one way and from one sender.
    The taps make one record of all of them, pcaps one of each packet. `dropped` counts, by reason, packets
    that the witness did not note rightly. `chains` are NF names in forward order; `rewrites` names NFs that
    change session keys. `begun_ns`: when all taps stood. `wall_ns`: Unix time minus this clock, 0 if it is
    Unix time. `missing` tells what events and pins could not be had.
    """

    places: tuple[Place, ...]
    origins: Array
    records: Array
    taken_ns: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rewrites: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    begun_ns: int = 0
    wall_ns: int = 0
    pins: tuple[Pin, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def witness_dropped(self) -> int:
        return sum(self.dropped.values())

    def key(self, session: int) -> SessionKey:
        return session_key(self.origins[session]["key"])

    def save(self, path: Path) -> None:
        """Write a NumPy archive (`.npz`) that `load` and `catenary verify` read.

        Raises `InvalidValue` when the file can't be written.
        """
        about = {
            "version": VERSION,
            "taken_ns": self.taken_ns,
            "dropped": dict(self.dropped),
            "chains": {name: list(nfs) for name, nfs in self.chains.items()},
            "places": [asdict(place) for place in self.places],
            "rewrites": list(self.rewrites),
            "events": [asdict(event) for event in self.events],
            "begun_ns": self.begun_ns,
            "wall_ns": self.wall_ns,
            "pins": [asdict(pin) for pin in self.pins],
            "missing": list(self.missing),
        }
        try:
            with path.open("wb") as file:
                np.savez_compressed(
                    file,
                    about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
                    origins=self.origins,
                    records=self.records,
                )
        except OSError as error:
            raise InvalidValue(f"can't write recording {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `save` wrote; raises `InvalidValue` that names the file and what is wrong with it."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                about = json.loads(archive["about"].tobytes())
                if about["version"] != VERSION:
                    raise InvalidValue(f"{path} has version {about['version']}: this program reads {VERSION}")
                places = check_places([_place(item) for item in about["places"]])
                origins, records = _typed(archive["origins"], ORIGIN), _typed(archive["records"], RECORD)
                _check_range("session", records["key"]["session"], len(origins))
                _check_range("place", records["key"]["place"], len(places))
                return cls(
                    places,
                    origins,
                    records,
                    int(about["taken_ns"]),
                    about["dropped"],
                    {name: tuple(nfs) for name, nfs in about["chains"].items()},
                    tuple(about["rewrites"]),
                    tuple(Event(**item) for item in about["events"]),
                    int(about["begun_ns"]),
                    int(about["wall_ns"]),
                    tuple(Pin(**item) for item in about["pins"]),
                    tuple(about["missing"]),
                )
        except CatenaryError:
            raise
        except OSError as error:
            raise InvalidValue(f"can't read recording {path}: {error.strerror or error}") from error
        except (BadZipFile, ValueError, KeyError, TypeError) as error:
            raise InvalidValue(f"{path} is not a recording of the witness: {error}") from error


def _place(item: Mapping[str, str]) -> Place:
    return Place(item["name"], PlaceKind(item["kind"]), item["interface"], item["nf"], Side(item["side"]))


def _typed(array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype != dtype:
        raise ValueError(f"an array of {array.dtype} where {dtype} is expected")
    return array


def _check_range(what: str, numbers: Array, size: int) -> None:
    if len(numbers) and int(numbers.max()) >= size:
        raise ValueError(f"a record of {what} {int(numbers.max())}, but there are {size}")
