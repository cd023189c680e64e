"""Each end of a pair, in BPF."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.splice_bench import Bench


@pytest.fixture
def master() -> Iterator[Bench]:
    bench = Bench("master")
    yield bench
    bench.plane.close()


@pytest.fixture
def slave() -> Iterator[Bench]:
    bench = Bench("slave")
    yield bench
    bench.plane.close()
