"""The ring of sessions that ended, as a data plane leaves it: `struct ended`, the oldest is overwritten."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from catenary.libbpf import Map
from catenary.session import SessionKey
from lb_adapter import abi

ROW = abi.dtype("ended")
SIZE = abi.ENDED * ROW.itemsize
"""Bytes of a ring."""
Rows = npt.NDArray[np.void]
_PORTS = 4
"""The word of a key, of eight bytes, that tells most sessions apart."""


class MappedRing:
    """A ring in an array map that was made with BPF_F_MMAPABLE, read without a call."""

    def __init__(self, source: Map) -> None:
        self._ring = shared(mmap.mmap(source.fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ))

    def rows(self, key: SessionKey | None = None) -> Rows:
        return whole(self._ring, key)

    def close(self) -> None:
        """It is unmapped as soon as nobody reads it."""
        del self._ring


def shared(memory: Any) -> Rows:
    """All rows of a ring, which others write meanwhile."""
    return np.frombuffer(memory, dtype=ROW)


def whole(ring: Rows, key: SessionKey | None = None) -> Rows:
    """A copy of the rows, or of a session's, that are used and not written meanwhile (`write_ended`)."""
    before = ring["number"].copy()
    places = np.arange(len(ring)) if key is None else _places(ring, key)
    numbers = before[places]
    used = places[(numbers != 0) & ((numbers - np.uint32(1)) % np.uint32(len(ring)) == places)]
    rows = ring[used]
    kept: Rows = rows[ring["number"][used] == before[used]]
    return kept


def _places(ring: Rows, key: SessionKey) -> npt.NDArray[np.int64]:
    """Where rows of a session are. To copy the whole ring would take ten times as long."""
    words, wanted = _words(ring), _wanted(key)
    near = np.flatnonzero(words[:, _PORTS] == wanted[_PORTS])
    places: npt.NDArray[np.int64] = near[(words[near] == wanted).all(axis=1)]
    return places


def _words(rows: Rows) -> npt.NDArray[np.uint64]:
    words: npt.NDArray[np.uint64] = rows["key"].view(np.uint64)
    return words


def _wanted(key: SessionKey) -> npt.NDArray[np.uint64]:
    return np.frombuffer(key.pack(), dtype=np.uint64)
