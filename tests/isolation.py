"""`@isolated` runs a test that needs namespaces of its own in a pytest process inside new ones."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import ParamSpec

import pytest

from topologies import namespaces

P = ParamSpec("P")
TEST_S = 900.0
"""A whole test: many of its waits may come near to their own limit, and it still says which one failed."""


def isolated(test: Callable[P, None]) -> Callable[P, None]:
    """Run the test inside new namespaces; what it left there ends with them. It takes no costly fixtures."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        if namespaces.isolated():
            test(*args, **kwargs)
            return
        node = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", node]
        process = namespaces.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            output, _ = process.communicate(timeout=TEST_S)
        except subprocess.TimeoutExpired:
            process.kill()  # else it would go on beside the tests that follow
            output, _ = process.communicate()
        if process.returncode != 0:
            pytest.fail(f"inside its namespaces:\n{output}", pytrace=False)

    return wrapper
