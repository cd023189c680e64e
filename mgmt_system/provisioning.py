"""Whence chains come: a provisioner makes the NFs of a copy ready, and takes them away again.

Both calls may be repeated: what is ready or gone already is well. They may take their time, and raise
`CatenaryError`; `stop` must do even where `start` left half of it. `cancelled`: does nobody wait any more?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Cancelled = Callable[[], bool]


class Provisioner(Protocol):
    def start(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        """Returns when these NFs carry traffic."""

    def stop(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        """No chain has these NFs any more."""


class StaticPool:
    """NFs that stand ready all the time."""

    def start(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        pass

    def stop(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        pass
