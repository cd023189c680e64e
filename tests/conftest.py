"""What all tests share: a test's folder is its marker, and tests that need what this host lacks say so.

Only a missing kernel feature, program or permission skips a test; anything else is a failure.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from catenary import capabilities
from topologies.patience import PATIENCE_S

TESTS = Path(__file__).parent
ROOT = TESTS.parent
NEEDS_ROOT = ("bpf", "netns", "e2e")

# A busy machine is slow at times: that is no fault of the example that was under way.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# A shell without job control has its background jobs ignore SIGINT, and all that these start ignores it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, and skip with a reason what this host can't run."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        item.add_marker(getattr(pytest.mark, folder))
        reason = missing(folder) if folder in NEEDS_ROOT else None
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@cache
def missing(folder: str) -> str | None:
    """Why the tests of `folder` can't run on this host, or None."""
    if os.geteuid() != 0:
        return "needs root"
    probes = [(["unshare", "-n", "-m", "true"], "network and mount namespaces")]
    if folder == "bpf":
        probes.append((["bpftool", "prog", "list"], "the bpf() system call"))
    else:
        probes.append((["unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "clsact"], "tc clsact"))
    for command, feature in probes:
        if shutil.which(command[0]) is None:
            return f"needs {command[0]}: run `make install`"
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return f"needs {feature}, which this kernel or container refuses"
    return None


@pytest.fixture
def unique() -> str:
    """A short name that no other test, run or user of this host has: 8 hexadecimal digits."""
    return uuid.uuid4().hex[:8]


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """A service that runs within a test sets up its log: that ends with the test."""
    root, config = logging.getLogger(), structlog.get_config()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    structlog.configure(**config)


@pytest.fixture(autouse=True)
def own_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that runs within a test would give up what all tests after it need."""
    monkeypatch.setattr(capabilities, "keep", lambda *names, programs=False: None)


Eventually = Callable[..., None]


@pytest.fixture
def eventually() -> Eventually:
    """`eventually(condition, timeout)`: wait for a condition instead of sleeping; fails with `what`."""

    def wait(condition: Callable[[], object], timeout: float = PATIENCE_S, what: str = "") -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what or condition} did not hold within {timeout:g} s")
            time.sleep(0.01)

    return wait


@pytest.fixture
def netns(unique: str) -> Iterator[str]:
    """A network namespace of this test's own, by name, with its loopback up; gone afterwards."""
    name = f"catenary-{unique}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
