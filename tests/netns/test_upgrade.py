"""Daemons killed and programs upgraded under traffic: nothing is lost. Programs that are wrong: refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from catenary import libbpf, wire
from catenary.part_clients import BalancerClient
from catenary.session import SessionKey
from lb_adapter import abi
from lb_adapter.dataplane import worker
from lb_adapter.dataplane.base import DataPlaneName, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.process import RIGHTS
from tests import planted
from tests.isolation import isolated
from tests.netns.pair import SERVER, SHORT, Session, setting, wire_up
from tests.netns.rights import check_rights
from tests.netns.streams import PAUSE_S, Streams, key_of
from tests.netns.test_lb_process import (
    FIRST,
    PINS,
    SECOND,
    changed,
    command,
    connected,
    filters,
    master,
    said,
    shell,
    slave,
)
from tests.netns.test_native_pair import build_stub
from tests.planted import WRONG_LAYOUT, WRONG_VERDICT
from topologies.namespaces import mount_bpffs
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

WATCHED = 600
"""Datagrams each way that a stream sends beside every event, at least."""
PLANTED = Path("/run/catenary/planted")  # inside the test's own namespace
PORTS = {"master": ("l1o", "l1i"), "slave": ("l2o", "l2i")}


@dataclass(frozen=True)
class Plane:
    """How a data plane is run such that it outlives its daemon, and upgraded."""

    name: DataPlaneName
    options: tuple[str, ...]

    def run(self, role: str) -> tuple[str, ...]:
        return (*self.options, *self.where(role)) if self.name == "ebpf" else self.options

    def where(self, role: str) -> tuple[str, ...]:
        """What `upgrade` takes to find it."""
        if self.name == "ebpf":
            return ("--pin", str(PINS / role))
        return ("--outer", PORTS[role][0], "--inner", PORTS[role][1])

    def start(self) -> list[subprocess.Popen[str]]:
        return [slave(*self.run("slave")), master(*self.run("master"))]

    def carriers(self) -> list[str]:
        """What carries the packets: it changes with every upgrade."""
        return [_carrier(self.name, *PORTS[role]) for role in PORTS]

    def pins(self, role: str, keys: list[SessionKey]) -> tuple[int, list[tuple[int, int]]]:
        """How many IPv4 sessions a load balancer holds, and slot and generation of these."""
        if self.name == "ebpf":
            table = libbpf.pinned_map(PINS / role / "pins4")
            assert table is not None
            count = sum(len(values) // 8 for _, values in table.batches())
            found = [abi.Pin.of(table.get(abi.shrink(key) or b"") or bytes(8)) for key in keys]
            libbpf.close_fd(table.fd)
        else:
            plane = NativeDataPlane.adopted(*PORTS[role])
            assert plane is not None
            count = plane.segment.lib.segment_used(plane.segment.pointer, 0)
            found = [pin for key in keys if (pin := plane.pin_of(key)) is not None]
            plane.close()
        return count, [(pin.slot, pin.generation) for pin in found]


EBPF = Plane("ebpf", ())
AF_PACKET = Plane("af_packet", ("--data-plane", "af_packet", "--threads", "2", "--keep"))
PF_RING = Plane("pf_ring", ("--data-plane", "pf_ring", "--keep"))


def _carrier(name: str, outer: str, inner: str) -> str:
    if name == "ebpf":
        return filters(outer) + filters(inner)  # with the programs' numbers
    found = worker.find(outer, inner)
    assert found is not None
    os.close(found[1])
    found[0].release()
    return str(found[0].pid)


class Bench:
    """The pair as processes, with streams of datagrams and TCP sessions of both sides through it."""

    def __init__(self, plane: Plane, stack: ExitStack) -> None:
        self.plane = plane
        self.client = BalancerClient("http://127.0.0.1:8082")
        self.daemons: list[subprocess.Popen[str]] = []
        self.gap_s = 0.0
        stack.callback(self.kill)
        self.restart()
        pairs = [wire.PairAdd(forward=p.forward, reverse=p.reverse) for p in (FIRST, SECOND)]
        changed(self.client, wire.Change(add=pairs))
        self.sessions = [Session() for _ in range(8)] + [Session(SERVER) for _ in range(8)]
        for session in self.sessions:
            stack.callback(session.close)
        self.streams = stack.enter_context(Streams())
        self.streams.run_for(100)  # the sessions begin
        self.keys = [*self.streams.keys(), *(key_of(session.near, 6) for session in self.sessions)]
        assert self.streams.settle().doubled == 0

    def restart(self) -> None:
        self.daemons += self.plane.start()
        wait_until(lambda: connected(self.client), "handshake")
        kept = RIGHTS[self.plane.name]
        for daemon in self.daemons:
            check_rights(daemon.pid, kept, kept)

    def kill(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
            daemon.communicate()
        self.daemons.clear()

    def upgrade(self) -> None:
        """Both load balancers at once."""
        self.gap_s = 0.0
        for running in [command("upgrade", *self.plane.where(role), "--json") for role in PORTS]:
            output, _ = running.communicate(timeout=PATIENCE_S)
            assert running.returncode == 0, output
            print(output, end="")
            self.gap_s += json.loads(output)["gap_s"]
        if self.plane.name != "ebpf":
            for pid in map(int, self.plane.carriers()):
                check_rights(pid, (), ())

    def pins(self) -> list[tuple[int, list[tuple[int, int]]]]:
        return [self.plane.pins(role, self.keys) for role in PORTS]

    @contextmanager
    def watched(self, what: str, *, gap: bool = False) -> Iterator[None]:
        """Something that happens in the middle of a stream, of which none is lost.

        But for an upgrade with a `gap`: what is sent in the time for which it says that nobody carried them.
        """
        before = self.pins()
        self.streams.run_for(WATCHED)
        yield
        self.streams.run_for(WATCHED)
        tally = self.streams.settle()
        print(f"{self.plane.name}: {what}: {tally}")
        assert tally.sent >= 2 * WATCHED
        allowed = WATCHED // 10 + 2 * self.gap_s / PAUSE_S if gap else 0
        assert tally.lost <= allowed, (what, tally, allowed)
        assert tally.doubled == 0, (what, tally)
        for session in self.sessions:
            session.talk()
        assert self.pins() == before, what

    def end(self) -> None:
        stats = self.client.stats()
        assert stats.counters["affinity_mismatch"] == stats.counters["drop_internal"] == 0
        for daemon in self.daemons:
            daemon.send_signal(signal.SIGTERM)
            output, _ = daemon.communicate(timeout=PATIENCE_S)
            assert daemon.returncode == 0, output
        self.daemons.clear()


@pytest.mark.parametrize("plane", [EBPF, AF_PACKET], ids=lambda plane: plane.name)
@isolated
def test_nothing_is_lost_when_daemons_are_killed_and_programs_upgraded(plane: Plane) -> None:
    wire_up()
    mount_bpffs(PINS)
    with ExitStack() as stack:
        bench = Bench(plane, stack)
        with bench.watched("nothing happens"):
            pass
        with bench.watched("SIGKILL of both daemons"):
            bench.kill()
        carriers = plane.carriers()
        with bench.watched("upgrade without daemons"):
            bench.upgrade()
        assert not set(carriers) & set(plane.carriers()), "all were replaced"
        carriers = plane.carriers()
        with bench.watched("daemons started again"):
            bench.restart()
        if plane.name != "ebpf":
            assert plane.carriers() == carriers, "adopted"
        carriers = plane.carriers()
        with bench.watched("upgrade beneath running daemons"):
            bench.upgrade()
        assert not set(carriers) & set(plane.carriers())
        with bench.watched("a change of the chain set afterwards"):
            changed(bench.client, wire.Change(add=[wire.PairAdd(forward=6, reverse=7)]))
        with Session() as late:
            late.talk()
        bench.end()
        with bench.watched("both daemons ended"):
            pass


@pytest.mark.parametrize("plane", [EBPF, AF_PACKET], ids=lambda plane: plane.name)
@isolated
def test_a_wrong_program_is_refused_and_the_old_one_goes_on(plane: Plane) -> None:
    make = planted.bpf_object if plane.name == "ebpf" else planted.worker
    verdict, layout = (
        make(planted.plant(what, PLANTED / what.file)) for what in (WRONG_VERDICT, WRONG_LAYOUT)
    )
    texts = {
        verdict: f"{verdict} fails its self-test as slave, affinity session, at the frame 'an answer while "
        "the lease is valid': expected inner port, tag 3004 (to_chain)",
        layout: "another layout than what is pinned in" if plane.name == "ebpf" else "is of another release",
    }
    wire_up()
    mount_bpffs(PINS)
    with ExitStack() as stack:
        bench = Bench(plane, stack)
        carriers = plane.carriers()
        with bench.watched("refused programs"):
            for program, text in texts.items():
                output = said("upgrade", *plane.where("slave"), "--program", str(program), status=2)
                assert text in output
                assert output.count("\n") == 1, output
        assert plane.carriers() == carriers
        bench.end()


@isolated
def test_a_successor_that_fails_leaves_its_predecessor_carrying() -> None:
    wire_up()
    with ExitStack() as stack:
        bench = Bench(AF_PACKET, stack)
        carriers = AF_PACKET.carriers()
        with bench.watched("a successor that dies as it takes over"):
            yielded().close()
        with bench.watched("a successor that is stuck"):
            late = yielded()
            assert late.recv(16) == b"", "it waits no longer"
            with pytest.raises(BrokenPipeError):
                late.send(b"taken")
            late.close()
        with bench.watched("a successor that gets one thread of two"):
            program = str(planted.threadless(PLANTED))
            output = said("upgrade", *AF_PACKET.where("master"), "--program", program, status=4)
            assert "can't start 2 threads" in output
        assert AF_PACKET.carriers() == carriers
        bench.end()


def yielded() -> socket.socket:
    """A connection to the master's worker, over which it has handed all that it has."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.settimeout(PATIENCE_S)
    link.connect("\0catenary-splice/l1o/l1i")
    link.send(b"yield")
    word, fds, _, _ = socket.recv_fds(link, 16, 129)
    assert (word, len(fds)) == (b"take", 1 + 2 * 2), "the listener, and two threads' sockets at two ports"
    for fd in fds:
        os.close(fd)
    return link


@isolated
def test_what_is_not_there_is_not_upgraded_and_half_an_upgrade_is_undone() -> None:
    wire_up()
    mount_bpffs(PINS)
    first, second = (EbpfDataPlane(PINS / name, pins=4096) for name in ("first", "second"))
    for plane in (first, second):
        plane.configure(SpliceConfig("slave", "l2o", "l2i", 4094, SHORT))
    first.attach()
    for words, text in (
        (("--pin", str(PINS / "third")), "has pinned anything"),
        (("--pin", str(PINS / "second")), "an interface of"),
        (("--outer", "l2o", "--inner", "l2i"), "no worker splices l2o and l2i"),
        ((), "say what to upgrade"),
    ):
        assert text in said("upgrade", *words, status=2)
    second.attach()
    assert "on l2o works over other tables" in said("upgrade", "--pin", str(PINS / "first"), status=2)
    before = filters("l2o"), filters("l2i")
    attach = libbpf.Program.attach

    def fails_inside(program: libbpf.Program, ifindex: int) -> None:
        if program == third.object.program("inner"):
            raise libbpf.BpfError("attach", 12)
        attach(program, ifindex)

    third = EbpfDataPlane(PINS / "second", pins=4096)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libbpf.Program, "attach", fails_inside)
        with pytest.raises(libbpf.BpfError):
            third.replace("l2o", "l2i")
    assert (filters("l2o"), filters("l2i")) == before
    facts = json.loads(said("upgrade", "--pin", str(PINS / "second"), "--json"))
    assert (facts["data_plane"], facts["outer"], facts["inner"]) == ("ebpf", "l2o", "l2i")
    assert facts["before"] == facts["after"], "the same release"
    assert filters("l2o") != before[0], "but loaded anew"
    assert (facts["daemon"], facts["gap_s"]) == (None, 0)
    shell("tc filter del dev l2i ingress")
    assert "no load balancer's program is on l2i" in said("upgrade", "--pin", str(PINS / "second"), status=2)


@isolated
def test_rings_that_cannot_be_handed_over_cost_a_moment() -> None:
    build_stub()
    setting.offloads = False
    wire_up()
    with ExitStack() as stack:
        bench = Bench(PF_RING, stack)
        with bench.watched("nothing happens"):
            pass
        with bench.watched("SIGKILL of both daemons"):
            bench.kill()
        carriers = PF_RING.carriers()
        with bench.watched("upgrade without daemons", gap=True):
            bench.upgrade()
        assert not set(carriers) & set(PF_RING.carriers())
        bench.restart()
        bench.end()
