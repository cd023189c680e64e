"""Maglev consistent hashing (Eisenbud et al., NSDI 2016, section 3.4), with weights.

The table is filled here and looked up in C: `table[index(hash)]` is a slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from catenary.errors import InvalidValue

SIZE = 65537
EMPTY = 0xFFFF
Table = npt.NDArray[np.uint16]


def fill(weights: Mapping[int, tuple[str, int]], size: int = SIZE) -> Table:
    """Fill a table of `size` (prime) entries from `{slot: (name, weight)}`.

    A slot's permutation depends on its name alone, so that a chain keeps its place in the table whatever
    the others do. Slots of weight 0 get nothing; with no weight at all every entry is `EMPTY`. A slot
    of weight w gets size * w / sum(weights) entries, give or take one.
    """
    if size < 3 or any(size % d == 0 for d in range(2, int(size**0.5) + 1)):
        raise InvalidValue(f"Maglev table size {size} is not a prime")
    table = np.full(size, EMPTY, dtype=np.uint16)
    live = {slot: named for slot, named in sorted(weights.items()) if named[1] > 0}
    if not live:
        return table
    walks = [_Walk(name, size) for name, _ in live.values()]
    taken = bytearray(size)
    view = np.frombuffer(taken, dtype=np.uint8)
    turns = _turns([weight for _, weight in live.values()], size)
    entries = [0] * size
    for turn in turns.tolist():
        entry = walks[turn].next_free(taken, view)
        taken[entry] = 1
        entries[entry] = turn
    table[:] = np.asarray(list(live), dtype=np.uint16)[entries]
    return table


def index(hash64: int, size: int = SIZE) -> int:
    """Entry of a 64-bit hash: its upper half scaled to the table (twin of `table_index` in C)."""
    return (hash64 >> 32) * size >> 32


class _Walk:
    """A slot's permutation, handed out in pieces: most of its entries are never asked for."""

    PIECE = 2048

    def __init__(self, name: str, size: int) -> None:
        self._size = size
        self._offset = _hash(name, 0x6F66667365740001) % size
        self._skip = _hash(name, 0x736B697000000001) % (size - 1) + 1
        self._at = 0
        self._piece: Iterator[int] = iter(())

    def next_free(self, taken: bytearray, view: npt.NDArray[np.uint8]) -> int:
        while True:
            for entry in self._piece:
                if not taken[entry]:
                    return entry
            steps = np.arange(self._at, self._at + self.PIECE, dtype=np.int64)
            piece = (self._offset + self._skip * steps) % self._size
            self._piece = iter(piece[view[piece] == 0].tolist())
            self._at += self.PIECE


def _turns(weights: list[int], size: int) -> npt.NDArray[np.int64]:
    """Who chooses when: `size` turns, spread evenly, each index as often as its weight asks."""
    exact = np.asarray(weights, dtype=np.float64) * size / sum(weights)
    quota = np.floor(exact).astype(np.int64)
    short = np.argsort(quota - exact, kind="stable")[: size - int(quota.sum())]
    quota[short] += 1
    owner = np.repeat(np.arange(len(weights)), quota)
    when = np.concatenate([(np.arange(q) + 0.5) / q for q in quota])
    return owner[np.argsort(when, kind="stable")]


def _hash(name: str, seed: int) -> int:
    """FNV-1a over the name with a final mix: stable over processes, unlike `hash()`."""
    value = 0xCBF29CE484222325 ^ seed
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    value ^= value >> 33
    return (value * 0xFF51AFD7ED558CCD & 0xFFFFFFFFFFFFFFFF) >> 16
