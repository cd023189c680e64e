"""The pair's behaviour on the user-space data planes: the same cases as `test_pair.py`, and their own."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catenary import wire
from catenary.errors import Conflict, InvalidValue, Unsupported
from catenary.tags import TagPair
from lb_adapter.dataplane import worker
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from tests.isolation import isolated
from tests.netns import test_pair, test_sessions
from tests.netns.pair import CLIENT, SERVER, SHORT, LoadBalancers, Session, inside, ip, setting, wire_up
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

STUB = Path(__file__).parent / "libpfring.c"
STUB_FOLDER = Path("/run/catenary/pf_ring")  # inside the test's own namespace
CASES: list[Callable[[], None]] = [
    test_pair.test_sessions_of_both_sides_and_both_families_survive_every_change,
    test_pair.test_removed_chain_keeps_its_sessions_and_is_drained_when_they_are_gone,
    test_pair.test_lapsed_lease_asks_again_and_comes_back_to_its_chain,
    test_pair.test_statistics_of_the_master_include_its_slave_and_rebalance_changes_new_shares,
    test_pair.test_change_waits_for_the_slave_and_a_slave_that_starts_late_is_told_everything,
    test_pair.test_without_a_chain_traffic_is_dropped_and_counted,
    test_sessions.test_both_ends_of_a_reset_session_are_told_at_their_next_packet,
    test_sessions.test_large_frames_are_answered_too,
    test_sessions.test_a_new_connection_on_the_same_ports_works_at_once,
    test_sessions.test_what_is_left_of_a_chain_is_reset,
    test_sessions.test_busy_sessions_leave_a_chain_too,
    test_sessions.test_one_session_is_moved,
    test_sessions.test_udp_cant_be_told_and_is_moved,
    test_sessions.test_only_idle_sessions_are_let_go,
]
FIRST = TagPair(2, 3)
BULK = 64 << 20


def build_stub() -> None:
    """Make the stand-in for libpfring, and have workers find it."""
    STUB_FOLDER.mkdir(parents=True)
    library = STUB_FOLDER / "libpfring.so"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-fPIC", "-shared")
    subprocess.run(["gcc", *flags, str(STUB), "-o", str(library)], check=True)
    os.environ["LD_LIBRARY_PATH"] = str(STUB_FOLDER)


def use(name: str) -> None:
    """Run the cases of this process on that data plane; af_packet in two threads, to meet its races."""
    if name == "pf_ring":
        build_stub()
        setting.offloads = False  # PF_RING hands over frames as they are on the wire
        setting.plane = lambda: NativeDataPlane("pf_ring", pins=4096)
    else:
        setting.plane = lambda: NativeDataPlane("af_packet", pins=4096, threads=2)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
@isolated
def test_pair_behaves_alike_on_af_packet(case: Callable[[], None]) -> None:
    use("af_packet")
    case()


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.__name__.removeprefix("test_"))
@isolated
def test_pair_behaves_alike_on_pf_ring(case: Callable[[], None]) -> None:
    use("pf_ring")
    case()


def add_first(lbs: LoadBalancers) -> None:
    lbs.master_client.change(wire.Change(add=[wire.PairAdd(forward=FIRST.forward, reverse=FIRST.reverse)]))


def transfer(session: Session, size: int) -> None:
    """Send `size` random bytes each way at once, and compare what arrives."""
    data = os.urandom(1 << 20) * (size >> 20)
    ends = (session.near, session.far)
    senders = [threading.Thread(target=end.sendall, args=(data,)) for end in ends]
    digests: dict[socket.socket, str] = {}

    def receive(end: socket.socket) -> None:
        digest, left = hashlib.sha256(), size
        while left:
            part = end.recv(min(left, 1 << 20))
            assert part, "cut off"
            digest.update(part)
            left -= len(part)
        digests[end] = digest.hexdigest()

    receivers = [threading.Thread(target=receive, args=(end,)) for end in ends]
    for thread in senders + receivers:
        thread.start()
    for thread in senders + receivers:
        thread.join()
    assert set(digests.values()) == {hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(("name", "size"), [("af_packet", BULK), ("pf_ring", BULK >> 3)])
@isolated
def test_bulk_data_arrives_whole(name: str, size: int) -> None:
    use(name)
    wire_up()
    with LoadBalancers() as lbs:
        add_first(lbs)
        for family in (4, 6):
            with Session(CLIENT, family) as session:
                transfer(session, size)
        frames = lbs.counter("master", "to_chain") + lbs.counter("master", "to_outer")
        traffic = lbs.master_client.stats().pairs[0]
        assert traffic.forward_bytes >= 2 * size
        if name == "af_packet":
            assert frames < 4 * size / 4096, "frames go through whole, not cut to the link's size"
            assert traffic.forward_packets > size / 1500, "but are counted as what they stand for"


@isolated
def test_tags_of_the_user_go_through() -> None:
    """As the sender writes it in line, and as the kernel keeps it beside the frame."""
    use("af_packet")
    wire_up()
    with LoadBalancers() as lbs, packet_socket(CLIENT, "c0") as near, packet_socket(SERVER, "s0") as far:
        add_first(lbs)
        for tags in ("8100a064", "88a80064", "8100a0648100e0c8"):
            frame = bytes.fromhex("020000000002020000000001" + tags + "0800") + udp_packet()
            near.send(frame)
            assert received(far) == frame
        assert lbs.counter("master", "session_placed") == 2, "(100) and (100, 200): their IDs are the key"


def udp_packet() -> bytes:
    header = bytes.fromhex("4500002c00000000401100000a0000010a000002")
    return header + bytes.fromhex("0001000200180000") + bytes(16)


@contextmanager
def packet_socket(namespace: str, interface: str) -> Iterator[socket.socket]:
    with inside(namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.bind((interface, 3))
    with raw:
        raw.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        raw.settimeout(PATIENCE_S)
        yield raw


def received(raw: socket.socket) -> bytes:
    """The next UDP frame of the test that comes in, with the tag that the kernel took out put back."""
    while True:
        frame, control, _, (_, _, kind, _, _) = raw.recvmsg(2048, 256)
        if kind == 4 or not frame.endswith(udp_packet()):  # PACKET_OUTGOING
            continue
        for _, _, aux in control:
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", aux)
            if status & 0x10:  # TP_STATUS_VLAN_VALID
                frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame


@isolated
def test_dead_worker_is_started_again_on_its_sessions() -> None:
    use("af_packet")
    wire_up()
    with LoadBalancers() as lbs:
        add_first(lbs)
        with Session() as session:
            session.talk()
            placed = lbs.counter("master", "session_placed")
            found = worker.find("l1o", "l1i")
            assert found is not None
            os.kill(found[0].pid, 9)
            wait_until(lambda: worker.find("l1o", "l1i"), "a new worker")
            session.talk()
            assert lbs.counter("master", "session_placed") == placed, "it is pinned as before"


def plane_at(name: str = "af_packet", pins: int = 4096, threads: int = 1) -> NativeDataPlane:
    """A data plane that is configured for the slave's ports."""
    plane = NativeDataPlane("pf_ring" if name == "pf_ring" else "af_packet", pins=pins, threads=threads)
    plane.configure(SpliceConfig("slave", "l2o", "l2i", 4094, SHORT))
    return plane


@isolated
def test_another_worker_on_the_same_ports_is_refused() -> None:
    wire_up()
    first = plane_at()
    first.attach()
    for words, other in (
        ("--sessions 4096 --threads 1: ask for the same", {"pins": 8192}),
        ("--data-plane af_packet", {"name": "pf_ring"}),
        ("--threads 1: ask", {"threads": 2}),
    ):
        with pytest.raises(Conflict, match=words):
            plane_at(**other)  # type: ignore[arg-type]
    same = plane_at()
    same.attach()
    assert same.adopt() == first.adopt()
    first.close()
    same.detach()
    same.close()
    assert worker.find("l2o", "l2i") is None


@isolated
def test_no_frame_is_taken_by_two_data_planes() -> None:
    wire_up()
    kernel = EbpfDataPlane(pins=1024)
    kernel.configure(SpliceConfig("slave", "l2o", "l2i", 4094, SHORT))
    kernel.attach()
    plane = plane_at()
    with pytest.raises(Conflict, match=r"l2o has a tc filter.*`tc filter delete dev l2o ingress`"):
        plane.attach()
    kernel.detach()
    plane.attach()
    plane.detach()


@isolated
def test_interfaces_are_free_after_detach() -> None:
    wire_up()
    plane = plane_at(threads=2)
    plane.attach()
    shown = subprocess.run(["ip", "-d", "link", "show", "l2o"], capture_output=True, text=True, check=True)
    assert "promiscuity 2 " in shown.stdout
    plane.detach()
    shown = subprocess.run(["ip", "-d", "link", "show", "l2o"], capture_output=True, text=True, check=True)
    assert "promiscuity 0 " in shown.stdout
    plane.attach()
    plane.detach()
    plane.close()


@isolated
def test_pf_ring_says_what_is_missing() -> None:
    wire_up()
    with pytest.raises(Unsupported, match=r"libpfring\.so is not installed: install ntop's package pfring"):
        plane_at("pf_ring").attach()
    build_stub()
    os.environ["STUB_NO_MODULE"] = "1"
    with pytest.raises(Unsupported, match=r"kernel module is not loaded: `modprobe pf_ring`"):
        plane_at("pf_ring").attach()
    plane = NativeDataPlane("pf_ring", pins=4096)
    plane.configure(SpliceConfig("slave", "pcap:l2o", "l2i", 4094, SHORT))
    with pytest.raises(Unsupported, match="can only receive on pcap:l2o: name the interface without `pcap:`"):
        plane.attach()
    with pytest.raises(InvalidValue, match="pf_ring runs in one thread, not 2"):
        NativeDataPlane("pf_ring", threads=2)
    del os.environ["STUB_NO_MODULE"]
    plane = plane_at("pf_ring")
    ip("link", "delete", "l2o")
    with pytest.raises(InvalidValue, match="there is no interface 'l2o'"):
        plane.attach()
