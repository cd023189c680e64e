"""`catenary lb run` as a process: adopted after SIGKILL, interfaces given back after SIGTERM, bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from catenary import wire
from catenary.client import BalancerClient
from catenary.errors import CatenaryError
from catenary.tags import TagPair
from tests.isolation import isolated
from tests.netns.pair import SERVER, Session, wait_until, wire_up
from topologies.namespaces import mount_bpffs

FIRST, SECOND = TagPair(2, 3), TagPair(4, 5)
PINS = Path("/run/catenary/bpf")
PEER = ("--peer", "http://127.0.0.1:8083")
PROGRAM = "from catenary.cli import main; main()"


def lb(*words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PROGRAM, "lb", "run", *words]
    return subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def slave(*words: str) -> subprocess.Popen[str]:
    return lb("--role", "slave", "--outer", "l2o", "--inner", "l2i", "--port", "8083", *words)


def master(*words: str) -> subprocess.Popen[str]:
    common = ("--role", "master", "--outer", "l1o", "--inner", "l1i", *PEER)
    return lb(*common, "--lease", "1", "--transit", "0.1", "--tcp-closing", "0.2", *words)


def connected(client: BalancerClient) -> bool:
    try:
        return client.health().peer.connected
    except CatenaryError:
        return False


def filters(interface: str) -> str:
    command = ["tc", "filter", "show", "dev", interface, "ingress"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@isolated
def test_killed_daemons_leave_the_packets_flowing_and_are_adopted() -> None:
    wire_up()
    mount_bpffs(PINS)
    client = BalancerClient("http://127.0.0.1:8082")
    processes = [slave("--pin", str(PINS / "slave")), master("--pin", str(PINS / "master"))]
    wait_until(lambda: connected(client), "handshake", 30)
    pairs = [wire.PairAdd(forward=p.forward, reverse=p.reverse) for p in (FIRST, SECOND)]
    before = client.change(wire.Change(add=pairs))
    dropped = client.stats().counters["drop_no_chain"]  # the hosts' chatter before there was a chain
    sessions = [Session() for _ in range(8)] + [Session(SERVER) for _ in range(8)]
    for process in processes:
        process.kill()
        process.wait()
    for session in sessions:
        session.talk()
    with Session(SERVER) as late:
        late.talk()
    processes = [slave("--pin", str(PINS / "slave")), master("--pin", str(PINS / "master"))]
    wait_until(lambda: connected(client), "handshake after the crash", 30)
    after = client.pairs()
    assert after.pairs == before.pairs, "slots and generations too: the pins are worth something"
    assert after.epoch >= before.epoch
    for session in sessions:
        session.talk()
        session.close()
    stats = client.stats()
    assert stats.counters["affinity_mismatch"] == 0
    assert stats.counters["drop_no_chain"] == dropped
    for process in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert "outer" in filters("l1o"), "pinned: goes on without its daemon"


@isolated
def test_without_pins_a_stopped_daemon_gives_its_interfaces_back() -> None:
    wire_up()
    process = slave()
    client = BalancerClient("http://127.0.0.1:8083")

    def up() -> bool:
        try:
            return client.health().status == "degraded"
        except CatenaryError:
            return False

    wait_until(up, "slave")
    assert "outer" in filters("l2o")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert filters("l2o") == filters("l2i") == ""


@isolated
def test_bad_input_is_one_clear_line_and_attaches_nothing() -> None:
    wire_up()
    cases = [
        (("--role", "slave", "--outer", "nope0", "--inner", "l2i"), "there is no interface 'nope0'"),
        (("--role", "slave", "--outer", "l2o", "--inner", "l2o"), "are one interface, 'l2o'"),
        (("--role", "master", "--outer", "l1o", "--inner", "l1i"), "--peer URL"),
        (("--role", "slave", "--outer", "l2o", "--inner", "l2i", "--sessions", "7"), "session table of 7"),
        (("--role", "slave", "--outer", "l2o", "--inner", "l2i", "--host", "10.0.0.9"), "refusing to listen"),
        (("--role", "slave", "--outer", "l2o", "--inner", "l2i", "--pin", "/tmp/no-bpf"), "not on bpffs"),
        (("--role", "master", "--outer", "l1o", "--inner", "l1i", *PEER, "--ask-id", "4095"), "ask ID 4095"),
    ]
    for words, text in cases:
        process = lb(*words)
        output, _ = process.communicate(timeout=20)
        assert process.returncode in (2, 4), output
        assert text in output
        assert output.count("\n") == 1, output
    for interface in ("l1o", "l1i", "l2o", "l2i"):
        assert filters(interface) == ""
