"""`catenary verify` on real traffic, live and by what `tcpdump` keeps of it, both at once.

The network is that of `witness_net.py`; with `nat` its NFs translate the ports of new IPv4 sessions, into
ranges of their own. `python -m topologies.namespaces python -m tests.netns.witness_verify FAULT` prints JSON.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.netns.witness_net import CHAINS, PLACES, build, rules, run
from tests.netns.witness_traffic import Load
from topologies import namespaces
from topologies.patience import PATIENCE_S

NAMES = {"l1.outer": "master.outer", "l2.outer": "slave.outer"}
RANGES = {"n1": "41000-48999", "n2": "50000-59999"}
TO_NAT = {"n1": "0xa000/0xe000", "n2": "0xc000/0xc000"}
"""The same ranges, as OpenFlow matches them."""
TAPPED = {NAMES.get(place.name, place.name): place.interface for place in PLACES}


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def translate() -> None:
    """Let n1 and n2 be NATs for what h1 opens over IPv4, and lead the answers to the one that knows them."""
    for nf, ports in RANGES.items():
        inside = ("ip", "netns", "exec", nf)
        run(*inside, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
        snat = " ".join(
            f"ip saddr 10.0.0.1 {kind} dport 80 snat to 10.0.0.1:{ports};" for kind in ("tcp", "udp")
        )
        table = f"table ip nat {{ chain post {{ type nat hook postrouting priority 100; {snat} }}; }}"
        run(*inside, "nft", table)
        for kind in ("tcp", "udp"):
            match = f"{kind},{kind}_dst={TO_NAT[nf]},in_port=l2i"
            run("ovs-ofctl", "-O", "OpenFlow13", "add-flow", "sw", f"priority=4,{match},actions=output:{nf}b")


def cross() -> None:
    """Answers over UDP to what n1 has translated go through n2."""
    match = f"udp,udp_dst={TO_NAT['n1']},in_port=l2i"
    run("ovs-ofctl", "-O", "OpenFlow13", "add-flow", "sw", f"priority=5,{match},actions=output:n2b")


def ended(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=PATIENCE_S)


def behind(dump: subprocess.Popen[str]) -> int:
    """Packets that a tcpdump was given and has not read: those it would lose when it is ended."""
    assert dump.stderr
    dump.send_signal(signal.SIGUSR1)
    captured, received, dropped = map(int, re.findall(r"(\d+) packets?", dump.stderr.readline()))
    return received - dropped - captured


@contextmanager
def dumped(folder: Path) -> Iterator[list[str]]:
    """tcpdump at every tapped port; afterwards, what each says of the packets that it dropped."""
    said: list[str] = []
    dumps: list[subprocess.Popen[str]] = []
    for place, interface in TAPPED.items():
        command = ["tcpdump", "-i", interface, "-w", str(folder / f"{place}.pcap"), "-Z", "root"]
        command += ["-s", "128", "-B", "32768", "--time-stamp-precision=nano"]
        dumps.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    try:
        for dump in dumps:
            assert dump.stderr
            until(lambda stream=dump.stderr: "listening on" in stream.readline(), "tcpdump does not listen")
        yield said
        until(lambda: not any(map(behind, dumps)), "tcpdump lags behind")
    finally:
        said += [ended(dump)[1] for dump in dumps]


@contextmanager
def live(events: Path, *options: str) -> Iterator[list[dict[str, Any]]]:
    """`catenary verify --live`, ended as Ctrl-C does; afterwards, its verdict."""
    found: list[dict[str, Any]] = []
    taps = [f"--tap={place}={interface}" for place, interface in TAPPED.items()]
    events.touch()
    command = [*verify("--live", "--for", "10m", "--events", str(events), *options), *taps]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    until(lambda: "frames seen" in process.stderr.readline(), "no taps")  # type: ignore[union-attr]
    try:
        yield found
    finally:
        output, errors = ended(process)
        assert output, errors
        found.append({**json.loads(output), "exit": process.returncode})


def verify(*options: str) -> list[str]:
    chains = [f"--chain={name}={','.join(nfs)}" for name, nfs in CHAINS.items()]
    return [sys.executable, "-m", "catenary.cli", "verify", "--json", "--in-flight=0", *chains, *options]


def judged(pcaps: Path, *options: str) -> dict[str, Any]:
    """`catenary verify` on the folder `pcaps`."""
    done = subprocess.run(verify(str(pcaps), *options), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "exit": done.returncode}


def received() -> list[int]:
    counters = Path("/sys/class/net").glob("*/statistics/rx_packets")
    return [int(path.read_text()) for path in sorted(counters)]


def quiet() -> bool:
    before = received()
    time.sleep(0.5)
    return received() == before


def note(events: Path, kind: str, text: str) -> None:
    with events.open("a") as file:
        print(json.dumps({"time": time.time(), "kind": kind, "text": text}), file=file)


def main(fault: str) -> None:
    namespaces.require_isolated()
    run("mount", "-t", "sysfs", "sysfs", "/sys")  # the counters of this network namespace
    with tempfile.TemporaryDirectory(dir=namespaces.PRIVATE) as name:
        folder = Path(name)
        (pcaps := folder / "pcaps").mkdir()
        events = folder / "events.jsonl"
        build(folder)
        for rule in rules("crossing" if fault == "crossing" else "none"):
            run("ovs-ofctl", "-O", "OpenFlow13", "add-flow", "sw", rule)
        options = ["--rewrites", "n1", "--rewrites", "n2"] if "nat" in fault else []
        if options:
            translate()
        note(events, "change", "both chains added")
        with dumped(pcaps) as drops, live(events, *options) as found:
            if fault == "nat-crossing":
                cross()
                note(events, "fault", "answers led astray")
            load = Load.run(folder)
            until(quiet, "the traffic does not end")
        result = {
            "live": found[0],
            "pcaps": judged(pcaps, "--events", str(events), *options),
            "keys": judged(pcaps)["sessions"],
            "failed": load.failed,
            "left": run("tc", "filter", "show", "dev", "l1o", "egress"),
            "dumps_dropped": sum(
                int(n) for said in drops for n in re.findall(r"(\d+) packets? dropped by k", said)
            ),
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
