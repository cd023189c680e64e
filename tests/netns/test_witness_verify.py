"""`catenary verify` on real traffic: live taps and real pcaps of one run give one report.

160 sessions, 20 of them opened by the server, cross the network of `witness_verify.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from tests.isolation import TEST_S
from topologies import namespaces
from topologies.patience import PATIENCE_S

INPUTS = ("live", "pcaps")
TRANSLATED = 90 + 15
"""Of the sessions that the client opens over IPv4: TCP and UDP."""


@cache
def found(fault: str) -> dict[str, Any]:
    """What both inputs say of one run."""
    command = [sys.executable, "-m", "tests.netns.witness_verify", fault]
    process = namespaces.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said, errors = process.communicate(timeout=TEST_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    result: dict[str, Any] = json.loads(said)
    assert result["left"] == "", "Ctrl-C leaves no filter"
    return result


def verdict_of(fault: str, source: str) -> dict[str, Any]:
    dropped = found(fault)["dumps_dropped"]
    if dropped and source == "pcaps":
        pytest.skip(f"tcpdump dropped {dropped} packets: this host is too busy for it")
    verdict: dict[str, Any] = found(fault)[source]
    return verdict


@pytest.mark.parametrize("source", INPUTS)
def test_a_crossing_is_found_and_told(source: str) -> None:
    """Server packets of every eighth client port take the other NF."""
    verdict = verdict_of("crossing", source)
    assert verdict["report"] == "160 sessions, 1 changes, 0 faults, 18 violations"
    assert (verdict["exit"], verdict["bypassed"], verdict["server_opened"]) == (1, 0, 20)
    lines = verdict["example"]["lines"]
    first, second = (line["text"] for line in lines if line["matters"])
    assert first.startswith("client to server, out of n1.egress")
    assert second.startswith("server to client, into n2.egress")
    assert lines[0]["text"] == "change: both chains added"
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


@pytest.mark.parametrize("source", INPUTS)
def test_nats_that_keep_their_sessions_are_no_violation(source: str) -> None:
    result = found("nat")
    if not result["dumps_dropped"]:
        assert result["keys"] == 160 + TRANSLATED, "the NATs gave each of these another key"
    assert result["failed"] == 0
    verdict = verdict_of("nat", source)
    assert verdict["report"] == "320 sessions, 1 changes, 0 faults, 0 violations", "one for each side"
    assert (verdict["bypassed"], verdict["strays"], verdict["witness_dropped"]) == (0, 0, 0)


@pytest.mark.parametrize("source", INPUTS)
def test_answers_to_the_nat_of_another_chain_are_found(source: str) -> None:
    """Over UDP, to what n1 has translated: 10 sessions, whose servers' side crosses."""
    result = found("nat-crossing")
    assert result["failed"] == 10, "the other NAT knows none of them"
    verdict = verdict_of("nat-crossing", source)
    assert verdict["report"].endswith("1 changes, 1 faults, 10 violations")
    assert verdict["bypassed"] == 0
    assert all("(server side): client to server at n1" in text for text in verdict["findings"])
    assert [line["text"] for line in verdict["example"]["lines"] if line["what"] == "event"] == [
        "change: both chains added",
        "fault: answers led astray",
    ]


@pytest.mark.parametrize(
    ("interfaces", "code", "said"),
    [
        (
            ("lo", "gone"),
            2,
            "catenary: no interface 'gone' for place 'slave.outer' in this network namespace",
        ),
        (("lo", "lo"), 2, "catenary: two places have the interface 'lo': each needs its own"),
    ],
)
def test_live_taps_that_can_not_be(interfaces: tuple[str, str], code: int, said: str) -> None:
    master, slave = interfaces
    taps = [f"--tap=master.outer={master}", f"--tap=slave.outer={slave}"]
    command = [sys.executable, "-m", "catenary.cli", "verify", "--live", "--chain=chain-1=n1", *taps]
    process = namespaces.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (code, "")
    assert errors.strip().splitlines()[-1] == said


def test_a_live_run_ends_with_its_time_and_without_traffic_it_is_nothing_to_judge() -> None:
    links = "; ".join(
        f"ip link add {name} up type veth peer name {name}x" for name in ("tap1", "tap2", "tap3")
    )
    taps = "--tap master.outer=tap1 --tap slave.outer=tap2 --tap n1.both=tap3"
    verify = f"{sys.executable} -m catenary.cli verify --live --for 0.5s --chain chain-1=n1 {taps}"
    left = "tc filter show dev tap1 egress; tc filter show dev tap3 ingress"
    script = f"{links}; {verify}; code=$?; {left}; exit $code"
    process = namespaces.popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, errors
    assert "FAILED: nothing to judge" in output
    assert output.splitlines()[-1] == "0 sessions, 0 changes, 0 faults, 0 violations", "and no filter is left"
