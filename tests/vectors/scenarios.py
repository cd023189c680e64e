"""All scenarios: decisions spelled out, a rule of affinity each."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from tests.vectors import (
    scenarios_passing,
    scenarios_places,
    scenarios_probes,
    scenarios_resets,
    scenarios_rewrites,
    scenarios_sessions,
    scenarios_sides,
    scenarios_takeover,
)
from tests.vectors.acting import Make


def _of(module: ModuleType) -> list[Callable[[Make], None]]:
    found = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    return [value for value in found if list(value.__annotations__) == ["make", "return"]]


SCENARIOS = [
    *_of(scenarios_places),
    *_of(scenarios_probes),
    *_of(scenarios_passing),
    *_of(scenarios_rewrites),
    *_of(scenarios_sessions),
    *_of(scenarios_sides),
    *_of(scenarios_resets),
    *_of(scenarios_takeover),
]
