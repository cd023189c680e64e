"""The programs' clock keeps pace with the monotonic one, with the rate of the tick and without it."""

from __future__ import annotations

import time

import pytest

from catenary import libbpf
from tests.splice_bench import KEY, Bench, tcp

SPAN_S, TOLERANCE_MS = 0.2, 25


def seen(bench: Bench) -> tuple[float, int, float]:
    """When a packet was seen, by the program's clock (ms), between two moments of the monotonic one (s)."""
    before = time.monotonic()
    bench.outer(tcp())
    after = time.monotonic()
    pin = bench.plane.pin_of(KEY)
    assert pin is not None
    return before, pin.seen, after


@pytest.mark.parametrize("told", [True, False])
def test_a_second_is_a_second(monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    if not told:
        monkeypatch.setattr(libbpf, "tick_rate", lambda: 0)
    elif not libbpf.tick_rate():
        pytest.skip("this kernel tells no CONFIG_HZ, neither in /boot nor in /proc/config.gz")
    bench = Bench("master")
    try:
        first = last = seen(bench)
        while last[0] - first[2] < SPAN_S:
            last = seen(bench)
        took = (last[1] - first[1]) % 2**32
        assert 1000 * (last[0] - first[2]) - TOLERANCE_MS < took < 1000 * (last[2] - first[0]) + TOLERANCE_MS
    finally:
        bench.plane.close()
