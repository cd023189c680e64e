"""Real traffic past real taps: a clean run passes, and each of four breaks is found for what it is.

The network is that of `witness_net.py`: 160 sessions, 20 of them opened by the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.isolation import TEST_S
from topologies import namespaces

SESSIONS, SERVER_OPENED = 160, 20


def judged(fault: str) -> dict[str, Any]:
    """The verdict on a run broken by `fault`, with what hosts and switch say of it."""
    command = [sys.executable, "-m", "tests.netns.witness_net", fault]
    process = namespaces.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said, errors = process.communicate(timeout=TEST_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(said)
    assert (found["sessions"], found["server_opened"]) == (SESSIONS, SERVER_OPENED)
    assert found["witness_dropped"] == 0
    assert found["left"] == "", "closed taps leave no filter"
    return found


def test_a_clean_run_passes_and_every_byte_is_accounted_for() -> None:
    found = judged("none")
    assert (found["violations"], found["bypassed"], found["failed"]) == (0, 0, 0)
    assert found["shares"] == {"chain-1": 0.5, "chain-2": 0.5}
    if found["switch_dropped"] == 0:  # a busy host may overrun the switch's sockets, which it counts itself
        assert found["losses"] == []
        assert found["ok"]
        payload = found["payload"]
        assert payload["l1.outer 0"] == payload["l2.outer 1"] > 0
        assert payload["l2.outer 0"] == payload["l1.outer 1"] > 0


def test_crossing_is_found() -> None:
    """Server packets of every eighth client port take the other NF."""
    found = judged("crossing")
    assert found["violations"] == 18
    assert found["bypassed"] == 0
    assert all("client to server at n1 (chain-1)" in text for text in found["findings"])
    assert all("server to client at n2 (chain-2)" in text for text in found["findings"])


def test_a_bypass_is_found() -> None:
    """Packets of every eighth client port go past the NFs, both ways."""
    found = judged("bypass")
    assert (found["violations"], found["bypassed"]) == (0, 18)
    assert all("delivered without crossing any chain" in text for text in found["findings"])


def test_one_chain_only_is_found() -> None:
    found = judged("one-chain")
    assert (found["violations"], found["bypassed"]) == (0, 0)
    assert found["shares"] == {"chain-1": 1.0, "chain-2": 0.0}
    assert any("chain chain-2 carried 0.0% of the new sessions" in line for line in found["failures"])


@pytest.mark.parametrize("way", ["client to server", "server to client"])
def test_one_packet_in_a_hundred_dropped_is_found(way: str, loss_run: dict[str, Any]) -> None:
    """The master's bridge drops every 100th frame: the taps around it tell where."""
    wires = {"client to server": "into l1.outer", "server to client": "out of l1.outer"}
    found = [loss for loss in loss_run["losses"] if wires[way] in (loss["source"], loss["target"])]
    assert {loss["direction"] for loss in found} == {way}
    assert 0.002 < max(loss["share"] for loss in found) < 0.1
    assert (loss_run["violations"], loss_run["bypassed"]) == (0, 0)
    assert not loss_run["ok"]


@pytest.fixture(scope="module")
def loss_run() -> dict[str, Any]:
    return judged("loss")
