"""The ring of sessions that ended, as a data plane leaves it: `struct ended`, the oldest is overwritten."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from catenary.libbpf import Map
from lb_adapter import abi

ROW = abi.dtype("ended")
SIZE = abi.ENDED * ROW.itemsize
"""Bytes of a ring."""
Rows = npt.NDArray[np.void]


class MappedRing:
    """A ring in an array map that was made with BPF_F_MMAPABLE, read without a call."""

    def __init__(self, source: Map) -> None:
        self._memory = mmap.mmap(source.fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ)

    def rows(self) -> Rows:
        return whole(self._memory[:SIZE])

    def close(self) -> None:
        self._memory.close()


def whole(raw: bytes) -> Rows:
    """Of all rows of a ring, those that are used and not just being written."""
    rows = np.frombuffer(raw, dtype=ROW)
    places = np.arange(len(rows), dtype=np.uint32)
    used = (rows["number"] != 0) & ((rows["number"] - np.uint32(1)) % np.uint32(len(rows)) == places)
    result: Rows = rows[used]
    return result
