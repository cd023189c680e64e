"""The self-test: this release passes it, and a program with a mistake in it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from catenary.errors import CatenaryError, InvalidValue, Unsupported
from lb_adapter import selftest
from lb_adapter.dataplane import worker
from tests import planted
from tests.vectors.mutants import MUTANTS, Mutant


def test_this_release_passes() -> None:
    for passed in (
        selftest.check_bpf(),
        selftest.check_worker("af_packet"),
        selftest.check_worker("pf_ring"),
    ):
        assert passed.frames > 250


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.by_frames], ids=lambda mutant: mutant.name)
def test_a_worker_with_a_mistake_is_refused(mutant: Mutant, tmp_path: Path) -> None:
    program = planted.worker(planted.plant(mutant, tmp_path))
    with pytest.raises(InvalidValue, match=r"fails its self-test .* at the frame '.*': expected .*; got "):
        selftest.check_worker("af_packet", program)


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("#!/bin/false\n")
    with pytest.raises(CatenaryError, match=f"open {other}"):
        selftest.check_bpf(other)
    with pytest.raises(InvalidValue, match=f"{other} can't be run: Permission denied"):
        selftest.check_worker("af_packet", other)
    other.chmod(0o755)
    with pytest.raises(InvalidValue, match=f"{other} ends in its self-test: status 1"):
        selftest.check_worker("af_packet", other)
    other.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_START_S", 0.2)
        patch.setattr(worker, "_END_S", 0.2)
        with pytest.raises(InvalidValue, match=f"{other} ends in its self-test: status -9"):
            selftest.check_worker("af_packet", other)
    with pytest.raises(Unsupported, match="is not built: run `make build`"):
        selftest.check_worker("af_packet", tmp_path / "none")
