"""The witness on the whole testbed, broken on purpose; `test_broken_runs.py` runs this page in namespaces.

Two chains, one firewall each; real load balancers, controller and management system. What is broken is
broken past all of them, by hand: OpenFlow rules above the controller's, or a dropper on a balancer's port.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from catenary.wire import Tags
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import ByteServer, TransferResult, Transfers, WebServer
from topologies.watching import wait_quiet
from witness.checker import judge
from witness.places import places_of
from witness.recording import Recording
from witness.taps import Taps
from witness.verdict import Thresholds, Verdict

CHAINS = {"chain-1": ("n1",), "chain-2": ("n2",)}
TAGS = {"chain-1": Tags(forward=2, reverse=3), "chain-2": Tags(forward=4, reverse=5)}
DROP = Path(__file__).parents[1] / "bpf" / "drop.bpf.o"
BYTES = 20_000
EACH = 24


@dataclass(frozen=True)
class Outcome:
    """What the witness says of a run, and what the clients say: `client` loads from h1, `server` from h2."""

    verdict: Verdict
    client: TransferResult
    server: TransferResult


Experiment = Callable[..., Outcome]
"""Takes for how long a client waits for an answer; where sessions break, that is how long it takes."""


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with Testbed() as testbed:
        for name, nfs in CHAINS.items():
            testbed.add_chain(nfs, name=name, tags=TAGS[name])
        yield testbed


@pytest.fixture(scope="module")
def experiment(testbed: Testbed) -> Iterator[Experiment]:
    """Runs 24 sessions opened by each side under the witness."""
    h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
    runs = iter(range(100))
    with WebServer(h2) as web, ByteServer(h1) as other:

        def run(timeout: float = PATIENCE_S / 2) -> Outcome:
            number = next(runs)
            loads = [
                Transfers(
                    host,
                    [server.url(path), server.url(path, 6)],
                    name=f"{host.name}-{number}",
                    parallel=EACH,
                    timeout=timeout,
                    sessions=EACH,
                )
                for host, server, path in ((h1, web, "20k"), (h2, other, str(BYTES)))
            ]
            with Taps(places_of(testbed.network)) as taps:
                for load in loads:
                    load.start()
                client, server = (load.wait(PATIENCE_S) for load in loads)
                wait_quiet(taps)
                verdict = judge(taps.snapshot(CHAINS), thresholds=Thresholds(min_share=0.2), in_flight_s=0.0)
            return Outcome(verdict, client, server)

        yield run


def _link(testbed: Testbed, source: str, target: str) -> str:
    """The port of switch `source` towards switch `target`."""
    for link in testbed.controller.topology().links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            if (near.switch, far.switch) == (source, target):
                return near.port
    raise AssertionError(f"no link between {source} and {target}")


@contextmanager
def _swapped(
    testbed: Testbed, switch: str, balancer: str, tags: tuple[int, int], middle: str
) -> Iterator[None]:
    """What `balancer` sends with the first of `tags` goes out with the second, towards switch `middle`."""
    match = f"in_port={testbed.interface(balancer, 'inner')},dl_vlan={tags[0]}"
    actions = f"set_field:{4096 + tags[1]}->vlan_vid,output:{_link(testbed, switch, middle)}"
    testbed.ovs.ofctl("add-flow", switch, f"priority=60000,cookie=0xbad,{match},actions={actions}")
    try:
        yield
    finally:
        testbed.ovs.ofctl("del-flows", switch, "cookie=0xbad/-1")


def test_unbroken(experiment: Experiment) -> None:
    outcome = experiment()
    verdict = outcome.verdict
    assert (outcome.client.failures, outcome.server.failures) == (0, 0)
    assert (len(verdict.violations), len(verdict.bypassed), verdict.witness_dropped) == (0, 0, 0)
    assert verdict.sessions == outcome.client.sessions + outcome.server.sessions == 2 * EACH
    assert verdict.server_opened == EACH
    assert min(verdict.shares().values()) > 0.2


def test_all_on_one_chain(testbed: Testbed, experiment: Experiment) -> None:
    """What belongs to chain-2 takes chain-1, both ways, so traffic flows."""
    there = TAGS["chain-2"].forward, TAGS["chain-1"].forward
    back = TAGS["chain-2"].reverse, TAGS["chain-1"].reverse
    with _swapped(testbed, "s1", "l1", there, "s3"), _swapped(testbed, "s2", "l2", back, "s3"):
        outcome = experiment()
    assert not outcome.verdict.violations
    assert outcome.verdict.shares() == {"chain-1": 1.0, "chain-2": 0.0}
    assert any(line.startswith("chain chain-2 carried 0.0%") for line in outcome.verdict.failures)


def test_one_packet_in_a_hundred_dropped(testbed: Testbed, experiment: Experiment) -> None:
    """On its way out of the master's inner port: tc, as what tc redirects passes no nftables hook."""
    port = ("dev", "l1-inner", "egress", "pref", "9")
    l1 = testbed.hosts["l1"]
    l1.run(["tc", "filter", "add", *port, "bpf", "direct-action", "obj", str(DROP), "sec", "tc"])
    try:
        outcome = experiment()
    finally:
        l1.run(["tc", "filter", "del", *port])
    verdict = outcome.verdict
    assert not verdict.violations
    assert not verdict.bypassed
    lost = [loss for loss in verdict.losses if loss.source == "into l1.outer"]
    assert sum(loss.bytes + loss.bare for loss in lost) > 0
    assert not verdict.ok
    assert any("lost between into l" in line for line in verdict.failures)


def test_crossing(testbed: Testbed, experiment: Experiment) -> None:
    """Server packets of chain-1 take chain-2, whose firewall has not seen those sessions open."""
    dropped = testbed.firewalls["n2"].counters().dropped
    with _swapped(testbed, "s2", "l2", (TAGS["chain-1"].reverse, TAGS["chain-2"].reverse), "s4"):
        outcome = experiment(timeout=5.0)
    assert outcome.client.failures > 0
    assert testbed.firewalls["n2"].counters().dropped > dropped
    assert len(outcome.verdict.violations) >= outcome.client.failures
    assert all("n2 (chain-2)" in finding.text for finding in outcome.verdict.violations)


def test_a_crossing_is_told_with_pins_epochs_and_changes(testbed: Testbed, tmp_path: Path) -> None:
    """`catenary verify --live --ask`, while chain-2, which is cordoned, gets server packets of chain-1."""
    kept, h1 = tmp_path / "run.npz", testbed.hosts["h1"]
    chains = [f"--chain={name}={','.join(nfs)}" for name, nfs in CHAINS.items()]
    options = ["--json", "--in-flight=0", "--for=10m", f"--network={testbed.network_file}", f"--save={kept}"]
    command = [sys.executable, "-m", "catenary.cli", "verify", "--live", "--ask", *options, *chains]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        while "frames seen" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        reverse = TAGS["chain-1"].reverse, TAGS["chain-2"].reverse
        with WebServer(testbed.hosts["h2"], port=8080) as web, _swapped(testbed, "s2", "l2", reverse, "s4"):
            testbed.management.cordon_chain("chain-2")
            with Transfers(h1, [web.url("4k")], name="told", parallel=1, timeout=0.5, sessions=1) as load:
                load.wait(PATIENCE_S)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        testbed.management.uncordon_chain("chain-2")
    assert process.returncode == 1, errors
    verdict = json.loads(said)
    assert (verdict["violations"], verdict["changes"], verdict["missing"]) == (1, 1, [])
    told = [f"{line['what']}: {line['text']}" for line in verdict["example"]["lines"]]
    crossed = min(number for number, line in enumerate(verdict["example"]["lines"]) if line["matters"])
    before = "\n".join(told[:crossed])
    for text in ("event: change: cordon chain-2, by ", "event: epoch: "):
        assert text in before
    for text in ("pin: l1 holds chain-1, placed in epoch ", "pin: l2 holds chain-1, learned in epoch "):
        assert text in "\n".join(told)
    again = judge(Recording.load(kept), in_flight_s=0.0)
    assert again.summary()["example"] == verdict["example"], "the recording holds all of it"


def test_and_it_recovers(experiment: Experiment) -> None:
    outcome = experiment()
    assert (outcome.client.failures, outcome.server.failures) == (0, 0)
    assert not outcome.verdict.bypassed
