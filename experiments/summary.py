"""`summary.json`: the form in which every experiment writes what it measured, and on what machine.

{"name", "ok", "figures": {key: {"value", "unit", "paper"?, "runs"?, "spread"?}}, "environment": {...}, ...}
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from catenary import __version__


@dataclass(frozen=True)
class Figure:
    """A measured value (None: it could not be measured) in `unit`, and what the paper has for it.

    Where it is the median of several `runs`, these are told too, and their `spread`: (max - min) / median.
    """

    value: float | int | None
    unit: str
    paper: float | None = None
    runs: tuple[float | int, ...] = ()
    spread: float | None = None

    def plain(self) -> dict[str, Any]:
        always = ("value", "unit")
        return {key: value for key, value in asdict(self).items() if key in always or value not in (None, ())}


@dataclass(frozen=True)
class Claim:
    """What a figure must reach: `at_least`, `at_most`, or both (equal, for counts that must be 0)."""

    key: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def text(self) -> str:
        if self.at_least == self.at_most:
            return f"= {self.at_least:g}"
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g}..{self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def holds(self, figures: Mapping[str, Figure]) -> bool:
        """Whether `figures` keep it; a figure that could not be measured keeps nothing."""
        value = figures[self.key].value
        if value is None:
            return False
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


def environment(**more: Any) -> dict[str, Any]:
    """Facts of the machine that a reader needs to compare figures; `more` are the experiment's own."""
    return {
        "catenary": __version__,
        "kernel": platform.release(),
        "os": _os(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6,
        "python": platform.python_version(),
        "open_vswitch": _first_line("ovs-vswitchd", "--version"),
        "load_average": round(os.getloadavg()[0], 2),
        **more,
    }


def write(
    path: Path,
    name: str,
    *,
    ok: bool,
    figures: Mapping[str, Figure],
    environment: Mapping[str, Any],
    **more: Any,
) -> None:
    """Write one `summary.json` (replaced as a whole, so that a reader never sees half of it), with `more`."""
    content = {
        "name": name,
        "ok": ok,
        "figures": {key: figure.plain() for key, figure in figures.items()},
        "environment": dict(environment),
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(path)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _os() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown"


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else "unknown"
