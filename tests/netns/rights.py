"""What a process may do, read from the kernel: of each of its threads."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from catenary import capabilities

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def rights(pid: int) -> dict[str, set[int]]:
    """The capabilities in each set, of all threads together; `NoNewPrivs` beside them, of each."""
    threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    result = {
        name: {bit for text in threads for bit in range(64) if _field(text, name) >> bit & 1} for name in SETS
    }
    return result | {"NoNewPrivs": {_field(text, "NoNewPrivs") for text in threads}}


def _field(status: str, name: str) -> int:
    match = re.search(rf"^{name}:\s*([0-9a-f]+)$", status, re.MULTILINE)
    assert match, status
    return int(match[1], 16)


def check_rights(pid: int, names: Collection[str], bound: Collection[str]) -> None:
    """Exactly `names` are in force, and no other is within its bound: what it starts gets no more."""
    numbers, most = ({capabilities.NUMBERS[name] for name in found} for found in (names, bound))
    seen = rights(pid)
    assert seen.pop("NoNewPrivs") == {1}, pid
    assert (seen["CapEff"], seen["CapPrm"]) == (numbers, numbers), pid
    assert seen["CapInh"] | seen["CapAmb"] <= numbers, pid
    assert seen["CapBnd"] <= most, pid
