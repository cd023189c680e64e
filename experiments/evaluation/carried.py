"""What load balancers' machines take in and let out, as their kernels count it: frames that stay are lost.

Taps can't tell that: what is lost between two of them may have been too much for a switch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from topologies.hosts import inside
from topologies.testbed import Testbed


class Frames(NamedTuple):
    """Of all ports of one machine: `came` without what its kernel had no room for, `left` with what the other
    end of the wire had none for."""

    came: int
    left: int


def counted(text: str, ports: Sequence[str]) -> Frames:
    """From /proc/net/dev."""
    rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = {name.strip(): list(map(int, numbers.split())) for name, numbers in rows.items()}
    came = sum(found[port][1] - found[port][3] for port in ports)
    return Frames(came, sum(found[port][9] + found[port][11] for port in ports))


class Carried:
    """What these load balancers of a testbed carry from now on."""

    def __init__(self, testbed: Testbed, balancers: Iterable[str]) -> None:
        self._hosts = {name: testbed.hosts[name] for name in balancers}
        self._begun = self._now()

    def lost(self) -> float:
        """Of what came since, the share that has not left, 0..1: of the machine that loses most.

        What it says of its own (probes, answers to both ends) counts as if it had come.
        """
        shares = []
        for name, frames in self._now().items():
            came, left = (now - then for now, then in zip(frames, self._begun[name], strict=True))
            shares.append(max(came - left, 0) / max(came, 1))
        return max(shares, default=0.0)

    def _now(self) -> dict[str, Frames]:
        found = {}
        for name, host in self._hosts.items():
            with inside(host):
                text = Path("/proc/thread-self/net/dev").read_text()
            found[name] = counted(text, (f"{name}-outer", f"{name}-inner"))
        return found
