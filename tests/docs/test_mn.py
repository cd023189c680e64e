"""Mininet's own command brings the testbed up, with Catenary on it."""

from __future__ import annotations

import re

import pytest

from tests.conftest import missing
from tests.docs.terminals import INSIDE, Terminal, at_prompt

MN = "mn --custom topologies/testbed.py --topo testbed"


@pytest.mark.skipif(missing("e2e") is not None, reason=f"the testbed: {missing('e2e')}")
def test_the_testbed_comes_up_by_mn_and_a_chain_carries_pings(environment: dict[str, str]) -> None:
    terminal = Terminal(environment)
    try:
        _, said = at_prompt(terminal, f"{INSIDE} {MN}\n")
        assert "management system  http://127.0.0.1:8080" in said
        for command, shown in (
            ("sh catenary chain add --nf n1", r"chain-1 +main +active +n1"),
            ("h1 ping -c 1 h2", "1 received"),
            ("pingall", r"0% dropped \(6/6 received\)"),
        ):
            _, said = at_prompt(terminal, f"{command}\n")
            assert re.search(shown, said), said
    finally:
        terminal.end()
