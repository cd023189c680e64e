"""The experiments of the paper's evaluation, by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

from catenary.errors import InvalidValue
from experiments.evaluation.experiment import Evaluation

NAMES = (
    "baseline",
    "lb-alone",
    "static-nfs",
    "snort-single",
    "injections",
    "injections-throughput",
    "warm-up",
    "cool-down",
    "swap",
    "chained-pairs",
    "passive",
    "peers",
)
"""In the order in which they are run, and reported."""


def evaluation(name: str) -> Evaluation[Any]:
    """Raises `InvalidValue` for a name that no experiment has."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
        raise InvalidValue(f"no experiment {name!r}: {hint}")
    module = importlib.import_module(f"experiments.{name.replace('-', '_')}.run")
    found: Evaluation[Any] = module.EVALUATION
    return found


def evaluations(names: Sequence[str]) -> list[Evaluation[Any]]:
    """These, or all."""
    return [evaluation(name) for name in names or NAMES]
