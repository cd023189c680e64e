"""Every scenario of tests/vectors/scenarios.py with the oracle and the C core; and what only C can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from lb_adapter.core.check import Core
from lb_adapter.core.oracle_splice import Splice
from tests.vectors.acting import Make
from tests.vectors.mutants import met_a_rival, met_dead_mark
from tests.vectors.scenarios import SCENARIOS

EVERY = pytest.mark.parametrize("scenario", SCENARIOS, ids=[item.__name__ for item in SCENARIOS])


@EVERY
def test_oracle(scenario: Callable[[Make], None]) -> None:
    scenario(Splice)  # type: ignore[arg-type]


@EVERY
def test_c(scenario: Callable[[Make], None], core: Core) -> None:
    scenario(core.splice)  # type: ignore[arg-type]


def test_c_drops_what_meets_the_dead_mark(core: Core) -> None:
    met_dead_mark(core)


def test_c_loses_no_race(core: Core) -> None:
    met_a_rival(core)


def test_all_scenarios_are_found() -> None:
    assert len(SCENARIOS) > 40
    assert not [name for name, count in Counter(item.__name__ for item in SCENARIOS).items() if count > 1]
