"""A capture through real chains: as a command, and past switches that break the promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from experiments.replay.capture import read
from experiments.replay.comparing import Kind, differences
from experiments.replay.scene import Pace, through
from experiments.replay.sessions import split
from tests.captures import http, mixed, write
from tests.e2e import static_chains
from tests.isolation import TEST_S, isolated
from topologies.namespaces import PRIVATE
from topologies.nfs.suricata import Suricata
from topologies.testbed import Testbed

INJECTED = 2
CHAINS = {f"chain-{number}": f"n{number}" for number in (1, 2, 3)}


def capture(sessions: int, injected: int) -> Path:
    """Also with a session of the hosts' own addresses: their kernels must not answer."""
    talks = [*mixed(sessions, injected), http("10.0.0.1", 4000, "10.0.0.2")]
    return write(PRIVATE / "traffic.pcap", talks)


@isolated
def test_a_capture_raises_the_same_alerts_through_one_chain_and_through_three_of_either_data_plane() -> None:
    argv = [sys.executable, "-m", "experiments.replay.run", "--pcap", str(capture(12, INJECTED))]
    argv += ["--dataplane", "ebpf", "af_packet"]
    argv += ["--speed", "max", "--json", "--results", str(PRIVATE / "results")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TEST_S)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["capture"]["sessions"] == 15
    single, native, frames = told["runs"]
    assert frames["setting"] == "chains=3,dataplane=af_packet"
    names = {session["session"] for session in single["sessions"]}
    for run, chains in ((single, 1), (native, 3), (frames, 3)):
        assert len(run["sessions_of_chains"]) == chains
        assert all(run["sessions_of_chains"].values()), run["sessions_of_chains"]
        assert all(len(session["chains"]) == 1 for session in run["sessions"])
        assert all(session["arrived"] == session["packets"] for session in run["sessions"])
        alerts = [alert for found in run["alerts_of_chains"].values() for alert in found]
        assert len({alert["session"] for alert in alerts} & names) == len(alerts) == INJECTED
        assert (run["foreign"], run["again"], run["failures"]) == (0, 0, [])
    # Also of the places: both data planes put each session on the same chain.
    assert [comparison["differences"] for comparison in told["comparisons"]] == [[], [], []]
    summary = json.loads((PRIVATE / "results/summary.json").read_text())
    assert summary["ok"]
    assert summary["figures"]["alerts"]["value"] == INJECTED


@isolated
def test_sessions_that_cross_chains_are_told_and_lose_their_alerts() -> None:
    sessions = split(read(capture(12, 12))).sessions
    with Testbed(services=False, nf=Suricata, nf_rate_mbit=None) as testbed:
        static_chains.install(testbed, 1, reverse_by=1)
        crossed = through(testbed, CHAINS, sessions, Pace(speed=None, wait_s=0.5), "back through another")
        static_chains.install(testbed, 1)
        whole = through(testbed, CHAINS, sessions, Pace(speed=None), "one chain")
    assert (whole.crossed, whole.shares()["chain-1"], whole.total.total()) == ((), len(sessions), 12)
    assert all(delivery.whole for delivery in whole.deliveries.values())
    assert set(crossed.crossed) == {session.name for session in sessions}
    assert crossed.total.total() == 0
    assert [difference.kind for difference in differences(whole, crossed)].count(Kind.LOST) == 12
