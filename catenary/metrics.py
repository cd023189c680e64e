"""What a service tells Prometheus: metrics as data, and samples of them, which a pure function gives.

Names follow the conventions of Prometheus: `catenary_`, the service, what it is, its unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric with its labels: a counter if its name ends in `_total`, else a gauge."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        return "counter" if self.name.endswith("_total") else "gauge"

    def __call__(self, value: float, *labels: str) -> Sample:
        """A sample of it, with the values of its labels in their order."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {labels}")
        return Sample(self, labels, value)


@dataclass(frozen=True)
class Sample:
    metric: Metric
    labels: tuple[str, ...]
    value: float
