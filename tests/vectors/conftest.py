"""The planes that the vectors are held against, each made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lb_adapter.core.check import Core, build
from lb_adapter.core.splices import BpfSplice
from tests.conftest import missing
from tests.planes import Trio, choose


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Core:
    return Core(build(tmp_path_factory.mktemp("core")))


@pytest.fixture(scope="session")
def bpf() -> Iterator[dict[str, BpfSplice]]:
    reason = missing("bpf")
    if reason is not None:
        pytest.skip(reason)
    planes = {
        "master": BpfSplice(choose("master")),
        "slave": BpfSplice(choose("slave")),
        "passing": BpfSplice(choose("master", passing=True)),
    }
    yield planes
    for plane in planes.values():
        plane.close()


@pytest.fixture(scope="session")
def trios(core: Core, bpf: dict[str, BpfSplice]) -> dict[str, Trio]:
    return {role: Trio(core, plane) for role, plane in bpf.items()}
