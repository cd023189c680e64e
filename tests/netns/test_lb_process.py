"""`catenary lb run` as a process: adopted after SIGKILL, interfaces given back after SIGTERM, bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from catenary import wire
from catenary.errors import CatenaryError, Unavailable
from catenary.part_clients import BalancerClient
from catenary.tags import TagPair
from tests.isolation import isolated
from tests.netns.pair import SERVER, Session, wire_up
from topologies.namespaces import mount_bpffs
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

FIRST, SECOND = TagPair(2, 3), TagPair(4, 5)
PINS = Path("/run/catenary/bpf")
PEER = ("--peer", "http://127.0.0.1:8083")
DROP = Path(__file__).parents[1] / "bpf" / "drop.bpf.o"
PROGRAM = "from catenary.cli import main; main()"


def command(*words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PROGRAM, "lb", *words]
    return subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def lb(*words: str) -> subprocess.Popen[str]:
    return command("run", *words)


def said(*words: str, status: int = 0) -> str:
    """What a `catenary lb` command prints that ends by itself."""
    process = command(*words)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, output
    return output


def slave(*words: str) -> subprocess.Popen[str]:
    return lb("--role", "slave", "--outer", "l2o", "--inner", "l2i", "--port", "8083", *words)


MASTER = ("--role", "master", "--outer", "l1o", "--inner", "l1i")


def master(*words: str) -> subprocess.Popen[str]:
    return lb(*MASTER, *PEER, "--lease", "1", "--transit", "0.5", "--tcp-closing", "1", *words)


def slave_is_up() -> bool:
    try:
        return BalancerClient("http://127.0.0.1:8083").health().status == "degraded"
    except CatenaryError:
        return False


def connected(client: BalancerClient) -> bool:
    try:
        return client.health().peer.connected
    except CatenaryError:
        return False


def changed(client: BalancerClient, change: wire.Change) -> wire.ChainSet:
    """A change that both balancers took: one whose machine stalls may be too late for the other, once."""
    done: list[wire.ChainSet] = []

    def taken() -> bool:
        with suppress(Unavailable):
            done.append(client.change(change))
        return bool(done)

    wait_until(taken, f"{change} is taken")
    return done[0]


def shell(text: str) -> str:
    return subprocess.run(text, shell=True, capture_output=True, text=True, check=True).stdout


def filters(interface: str) -> str:
    return shell(f"tc filter show dev {interface} ingress")


def state(interface: str) -> tuple[set[str], bool, str]:
    """All of an interface that a load balancer changes: flags, clsact, sysctls."""
    flags = shell(f"ip -o link show {interface}").partition("<")[2].partition(">")[0].split(",")
    clsact = "clsact" in shell(f"tc qdisc show dev {interface}")
    v4 = f"net.ipv4.conf.{interface}"
    sysctls = shell(f"sysctl net.ipv6.conf.{interface}.disable_ipv6 {v4}.forwarding {v4}.arp_ignore")
    return {"UP", "PROMISC"} & set(flags), clsact, sysctls


@isolated
def test_killed_daemons_leave_the_packets_flowing_and_are_adopted() -> None:
    wire_up()
    mount_bpffs(PINS)
    client = BalancerClient("http://127.0.0.1:8082")
    processes = [slave("--pin", str(PINS / "slave")), master("--pin", str(PINS / "master"))]
    wait_until(lambda: connected(client), "handshake")
    pairs = [wire.PairAdd(forward=p.forward, reverse=p.reverse) for p in (FIRST, SECOND)]
    before = changed(client, wire.Change(add=pairs))
    dropped = client.stats().counters["drop_no_chain"]  # the hosts' chatter before there was a chain
    sessions = [Session() for _ in range(8)] + [Session(SERVER) for _ in range(8)]
    for process in processes:
        process.kill()
        process.wait()
    for session in sessions:
        session.talk()
    with Session(SERVER) as late:
        late.talk()
    processes = [slave("--pin", str(PINS / "slave"))]
    wait_until(slave_is_up, "slave after the crash")
    with Session(SERVER) as asked:
        asked.talk()  # before its master greets it
    assert BalancerClient("http://127.0.0.1:8083").health().timeouts.lease == 1, "what it was told"
    processes.append(master("--pin", str(PINS / "master")))
    wait_until(lambda: connected(client), "handshake after the crash")
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
        assert process.wait(PATIENCE_S) == 0
    assert "outer" in filters("l1o"), "pinned: goes on without its daemon"


@isolated
def test_a_second_master_is_named_and_the_sessions_of_the_first_go_on() -> None:
    """Somebody starts another load balancer as master of the same slave."""
    wire_up()
    shell("ip link add xo type veth peer name xo2; ip link add xi type veth peer name xi2")
    client, second = BalancerClient("http://127.0.0.1:8082"), BalancerClient("http://127.0.0.1:8084")
    processes = [slave(), master()]
    wait_until(lambda: connected(client), "handshake")
    changed(client, wire.Change(add=[wire.PairAdd(forward=FIRST.forward, reverse=FIRST.reverse)]))
    session = Session()
    stray = lb("--role", "master", "--outer", "xo", "--inner", "xi", "--port", "8084", *PEER)
    wait_until(lambda: connected(second), "it greets the slave")
    wait_until(lambda: "two masters of segment" in str(client.health().peer.reason), "the first says so")
    assert second.pairs().pairs == client.pairs().pairs, "it learned what the slave has"
    with suppress(CatenaryError):
        client.change(wire.Change(remove=[wire.Tags(forward=FIRST.forward, reverse=FIRST.reverse)]))
    assert [pair.state for pair in client.pairs().pairs] == ["active"], "its chain set stays as it is"
    session.talk()
    with Session() as late:
        late.talk()
    stray.send_signal(signal.SIGTERM)
    assert stray.wait(PATIENCE_S) == 0
    processes[1].send_signal(signal.SIGTERM)
    assert processes[1].wait(PATIENCE_S) == 0
    processes[1] = master()
    wait_until(lambda: connected(client), "after a restart it is the only one")
    session.close()
    for process in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


@isolated
def test_without_pins_a_stopped_daemon_gives_its_interfaces_back() -> None:
    wire_up()
    shell("ip link set l2o down; tc qdisc add dev l2i clsact; sysctl -w net.ipv6.conf.l2i.disable_ipv6=0")
    before = state("l2o"), state("l2i")
    process = slave()
    wait_until(slave_is_up, "slave")
    assert "outer" in filters("l2o")
    assert "UP" in state("l2o")[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert (state("l2o"), state("l2i")) == before


@isolated
def test_what_a_crash_left_is_detached_by_command_and_adopted_by_the_next() -> None:
    wire_up()
    before = state("l2o"), state("l2i")
    ports = ("--outer", "l2o", "--inner", "l2i")
    process = slave()
    wait_until(slave_is_up, "slave")
    running = said("detach", *ports, status=2)
    assert f"a load balancer runs on l2o and l2i: stop it first, `kill {process.pid}`" in running
    assert f"`kill {process.pid}`" in said("run", "--role", "slave", *ports, status=2)
    process.kill()
    process.wait()
    process = slave()  # nothing was pinned: it takes over the interfaces, not the sessions
    wait_until(slave_is_up, "slave after the crash")
    process.kill()
    process.wait()
    assert "outer" in filters("l2o")
    assert said("detach", *ports) == "l2o is given back\nl2i is given back\n"
    assert (state("l2o"), state("l2i")) == before, "two crashes later it still knows how they were"
    assert "no load balancer's data plane is on l2o and l2i" in said("detach", *ports, status=2)


@isolated
def test_pinned_tables_are_adopted_without_a_daemon_and_unpinned() -> None:
    wire_up()
    mount_bpffs(PINS)
    client = BalancerClient("http://127.0.0.1:8082")
    pin, slaves = ("--pin", str(PINS / "master")), ("--pin", str(PINS / "slave"))
    before = state("l1o"), state("l1i")
    assert "has pinned anything" in said("attach", *pin, status=2)
    processes = [slave(*slaves), master(*pin)]
    wait_until(lambda: connected(client), "handshake")
    epoch = changed(client, wire.Change(add=[wire.PairAdd(forward=2, reverse=3)])).epoch
    session = Session()
    assert "stop it first" in said("attach", *pin, status=2)
    for process in processes:
        process.kill()
        process.wait()
    shell("tc qdisc del dev l1o clsact; tc qdisc del dev l1i clsact")
    facts = json.loads(said("attach", *pin, "--json"))
    assert (facts["role"], facts["outer"], facts["inner"], facts["epoch"]) == ("master", "l1o", "l1i", epoch)
    assert facts["timeouts"]["lease"] == 1
    assert facts["pairs"][0].pop("sessions") >= 1
    assert facts["pairs"] == [{"forward": 2, "reverse": 3, "state": "active", "weight": 100}]
    session.talk()
    shown = said("attach", *slaves)
    assert "slave on l2o (outer) and l2i (inner) carries packets" in shown
    assert "\n  2,3 " in shown, "a tag pair is named alike at both"
    session.talk()
    assert "holds a session table of 1000000, not 5000" in said(
        "run", *MASTER, *PEER, *pin, "--sessions", "5000", status=2
    )
    shell("tc qdisc del dev l1o clsact")  # what was noted of it is pinned, too
    assert said("detach", *pin).startswith("l1o is given back\nl1i is given back\n")
    assert not (PINS / "master").exists()
    assert (state("l1o"), state("l1i")) == before
    assert f"no load balancer's data plane is pinned in {pin[1]}" in said("detach", *pin, status=2)
    session.close()


def refused(cases: list[tuple[tuple[str, ...], str]]) -> None:
    for words, text in cases:
        process = lb(*words)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode in (2, 4), output
        assert text in output
        assert output.count("\n") == 1, output


@isolated
def test_interfaces_that_cannot_be_ports_are_refused_before_anything_is_attached() -> None:
    wire_up()
    shell("ip link set l2i mtu 1400; tc qdisc add dev l1i clsact")
    shell(f"tc filter add dev l1i ingress prio 1 handle 1 bpf direct-action object-file {DROP} section tc")
    cases = [
        (("--role", "slave", "--outer", "l2o", "--inner", "l2i"), "ip link set dev l2i mtu 1500"),
        ((*MASTER, *PEER), "l1i has a tc filter of somebody else's, 'drop'"),
    ]
    refused(cases)
    shell("tc filter del dev l1i ingress; tc filter add dev l1i ingress pref 1 u32 match u8 0 0")
    refused([((*MASTER, *PEER), "l1i has a tc filter of somebody else's, u32, where ours goes")])
    assert filters("l1o") == filters("l2o") == filters("l2i") == ""


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
    refused(cases)
    for interface in ("l1o", "l1i", "l2o", "l2i"):
        assert filters(interface) == ""
