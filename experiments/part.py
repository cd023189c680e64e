"""What a part of the experiment hands over for `summary.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.summary import Claim, Figure

Say = Callable[[str], None]
"""Tells whoever waits how far it is."""


@dataclass(frozen=True)
class Part:
    """Figures, what is claimed of them, lines to print below the table, facts of the run."""

    figures: Mapping[str, Figure]
    claims: Sequence[Claim]
    details: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
