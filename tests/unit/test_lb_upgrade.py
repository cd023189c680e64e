"""An upgrade switches in what was tested, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catenary.errors import Conflict
from lb_adapter import upgrade
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.selftest import Passed


def build(program: Path) -> None:
    """As a compiler does: another file of this name."""
    program.unlink()
    program.write_bytes(b"one")


@pytest.mark.parametrize("change", [build, lambda program: program.write_bytes(b"two"), Path.unlink])
def test_a_worker_that_is_built_anew_during_its_test_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    program = tmp_path / "worker"
    program.write_bytes(b"one")
    plane = NativeDataPlane("af_packet", pins=1024, threads=1)
    switched: list[Path] = []

    def switch(path: Path, outer: str, inner: str) -> float:
        switched.append(path)
        return 0.0

    def check(name: str, path: Path) -> Passed:
        change(path)
        return Passed(1, 0.1)

    monkeypatch.setattr(plane, "upgrade", switch)
    monkeypatch.setattr(NativeDataPlane, "adopted", lambda outer, inner: plane)
    monkeypatch.setattr(upgrade.selftest, "check_worker", check)
    with pytest.raises(Conflict, match="was changed while it was tested"):
        upgrade.upgrade(None, ("a", "b"), program)
    assert switched == []
