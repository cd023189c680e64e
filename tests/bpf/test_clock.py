"""The programs' clock keeps pace with the monotonic one, with the rate of the tick and without it."""

from __future__ import annotations

import time

import pytest

from catenary import libbpf
from tests.bpf.test_splice import KEY, Bench, tcp

SPAN_S, TOLERANCE_MS = 0.2, 25


def seen_ms(bench: Bench) -> int:
    """When the last packet of the session was seen, by the program's clock."""
    bench.outer(tcp())
    pin = bench.plane.pin_of(KEY)
    assert pin is not None
    return pin.seen


@pytest.mark.parametrize("told", [True, False])
def test_a_second_is_a_second(monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    if not told:
        monkeypatch.setattr(libbpf, "tick_rate", lambda: 0)
    elif not libbpf.tick_rate():
        pytest.skip("this kernel tells no CONFIG_HZ, neither in /boot nor in /proc/config.gz")
    bench = Bench("master")
    try:
        begun, first = time.monotonic(), seen_ms(bench)
        while (now := time.monotonic()) - begun < SPAN_S:
            last = seen_ms(bench)
        assert abs((last - first) % 2**32 - 1000 * (now - begun)) < TOLERANCE_MS
    finally:
        bench.plane.close()
