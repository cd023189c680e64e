"""What CATENARY_CRASH_AT asks for: the named crash point, or a later one, and only once."""

from __future__ import annotations

import os
import signal

import pytest

from mgmt_system.crash import VARIABLE, from_environment


@pytest.mark.parametrize(
    ("at", "passed"),
    [
        ("call to l1: pairs", ["call to l1: pairs"]),
        ("call to l1: pairs +0", ["call to l1: pairs"]),
        ("call to l1: pairs +2", ["call to l1: pairs", "call to l1: pairs", "store write: b is active"]),
        ("store write: a +b", []),
        ("store write: not passed +1", []),
    ],
)
def test_it_dies_at_the_point_and_not_before(
    monkeypatch: pytest.MonkeyPatch, at: str, passed: list[str]
) -> None:
    way = ["store write: a is active", "call to l1: pairs", "call to l1: pairs", "store write: b is active"]
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    crash_point = from_environment({VARIABLE: at})
    before = []
    for what in way:
        crash_point(what)
        before.append(what)
        if killed:
            break
    assert killed == ([(os.getpid(), signal.SIGKILL)] if passed else [])
    assert before == ([way[0], *passed] if passed else way)
