"""`catenary lb run --data-plane af_packet`: its worker outlives it, is adopted, and ends when asked to."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Unavailable
from catenary.part_clients import BalancerClient
from lb_adapter import abi, records
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.core.setup import Order
from lb_adapter.dataplane import worker
from lb_adapter.dataplane.base import SpliceConfig, Swept
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.segment import Segment
from tests.isolation import isolated
from tests.netns.pair import ASK, SERVER, SHORT, Session, wire_up
from tests.netns.test_lb_process import (
    FIRST,
    SECOND,
    changed,
    connected,
    lb,
    master,
    said,
    slave,
    slave_is_up,
    state,
)
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

PLANE = ("--data-plane", "af_packet", "--threads", "2")


def worker_pid(outer: str, inner: str) -> int | None:
    found = worker.find(outer, inner)
    return found[0].pid if found else None


def start(*words: str) -> list[subprocess.Popen[str]]:
    return [slave(*PLANE, *words), master(*PLANE, *words)]


def end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, output


@isolated
def test_killed_daemons_leave_the_packets_flowing_and_are_adopted() -> None:
    wire_up()
    before_all = state("l1o"), state("l1i")
    client = BalancerClient("http://127.0.0.1:8082")
    processes = start()
    wait_until(lambda: connected(client), "handshake")
    pairs = [wire.PairAdd(forward=p.forward, reverse=p.reverse) for p in (FIRST, SECOND)]
    before = changed(client, wire.Change(add=pairs))
    sessions = [Session() for _ in range(8)] + [Session(SERVER) for _ in range(8)]
    workers = [worker_pid("l1o", "l1i"), worker_pid("l2o", "l2i")]
    for process in processes:
        process.kill()
        process.wait()
    for session in sessions:
        session.talk()
    with Session(SERVER) as late:
        late.talk()
    shown = said("attach", "--outer", "l1o", "--inner", "l1i")
    assert "carries packets: data plane af_packet" in shown
    assert "2 chains" in shown
    processes = [slave(*PLANE, "--keep")]
    wait_until(slave_is_up, "slave after the crash")
    with Session(SERVER) as asked:
        asked.talk()  # before its master greets it
    processes.append(master(*PLANE, "--keep"))
    wait_until(lambda: connected(client), "handshake after the crash")
    after = client.pairs()
    assert after.pairs == before.pairs, "slots and generations too: the pins are worth something"
    assert after.epoch >= before.epoch
    assert [worker_pid("l1o", "l1i"), worker_pid("l2o", "l2i")] == workers
    for session in sessions:
        session.talk()
    assert client.stats().counters["affinity_mismatch"] == 0
    end(processes)
    for session in sessions:
        session.talk()
    output, _ = slave().communicate(timeout=PATIENCE_S)
    assert "splices l2o and l2i: choose its --data-plane" in output
    processes = start()
    wait_until(lambda: connected(client), "handshake with the kept workers")
    end(processes)
    assert (worker_pid("l1o", "l1i"), worker_pid("l2o", "l2i")) == (None, None), "given back"
    assert (state("l1o"), state("l1i")) == before_all


@isolated
def test_a_worker_without_its_daemon_is_stopped_by_command() -> None:
    wire_up()
    ports = ("--outer", "l2o", "--inner", "l2i")
    before = state("l2o"), state("l2i")
    process = slave("--data-plane", "af_packet")
    wait_until(slave_is_up, "slave")
    process.kill()
    process.wait()
    found = worker.find("l2o", "l2i")
    assert found is not None
    memory = Segment(found[1])
    assert memory.threads == len(os.sched_getaffinity(0)), "a thread a core unless told otherwise"
    memory.close()
    found[0].release()
    assert "is stopped, its sessions are forgotten" in said("detach", *ports)
    assert worker_pid("l2o", "l2i") is None
    assert (state("l2o"), state("l2i")) == before
    assert "no worker splices l2o and l2i" in said("attach", *ports, status=2)


@isolated
def test_an_order_that_took_too_long_is_over_when_the_next_one_begins() -> None:
    wire_up()
    with (
        closing(NativeDataPlane("af_packet", pins=1024, threads=1)) as plane,
        pytest.MonkeyPatch.context() as patch,
    ):
        plane.configure(SpliceConfig("master", "l1o", "l1i", ASK, SHORT))
        plane.apply(ChainTable(1, (Pair(FIRST, 0, 1, 100, 100, PairState.ACTIVE, 0.0),), {0: 1}))
        plane.attach()
        pins = records.of(bytes(range(48)), bytes(8))
        pins["word"] = abi.PIN_STATES["PIN_UDP"] << 58 | 1 << 48 | plane.now_ms()
        assert plane.insert(pins) == plane.walk()[0].pins == 1
        pid, all_of_it = plane.pid, Order("delete", (0, 1))
        assert plane._worker is not None
        assert pid is not None
        patch.setattr(worker, "_ORDER_S", 0.1)
        plane._worker.link.settimeout(0.1)
        os.kill(pid, signal.SIGSTOP)
        stat = Path(f"/proc/{pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not answer"):
                plane.sweep(all_of_it)
        patch.undo()
        os.kill(pid, signal.SIGCONT)
        assert plane.walk()[0].pins == 1, "what it had not begun it never does: nobody waits for that"
        assert plane.pid == pid
        assert plane.sweep(all_of_it) == Swept(moved=1)
        plane.detach()
        assert worker_pid("l1o", "l1i") is None


@isolated
def test_bad_options_are_one_clear_line_and_start_no_worker() -> None:
    wire_up()
    ports = ("--role", "slave", "--outer", "l2o", "--inner", "l2i")
    cases = [
        ((*ports, "--data-plane", "af_packet", "--pin", "/run/x"), "--data-plane af_packet has --keep"),
        ((*ports, "--keep"), "--data-plane ebpf has --pin DIR"),
        ((*ports, "--threads", "2"), "--threads is for af_packet"),
        ((*ports, "--rewrites", "--on-full", "hash"), "--on-full hash does not go with --rewrites"),
        ((*ports, "--data-plane", "pf_ring"), "libpfring.so is not installed"),
        ((*ports[:-1], "l2o", "--data-plane", "af_packet"), "are one interface, 'l2o'"),
        ((*ports[:-1], "nope0", "--data-plane", "af_packet"), "there is no interface 'nope0'"),
        ((*ports, "--data-plane", "af_packet", "--sessions", "7"), "session table of 7"),
    ]
    for words, text in cases:
        process = lb(*words)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode in (2, 4), output
        assert text in output
        assert output.count("\n") == 1, output
        assert worker_pid("l2o", "l2i") is None
