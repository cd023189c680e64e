"""What a daemon makes of a worker that ends, falls silent, or never was one."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from typer.testing import CliRunner

from catenary.errors import InvalidValue, Unavailable
from catenary.session import Timeouts
from lb_adapter import cli, records
from lb_adapter.core.setup import Order
from lb_adapter.dataplane import worker
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.worker import Gone, Worker
from topologies.patience import PATIENCE_S

PINS = records.of(bytes(range(48)) * 2, bytes(16))


def linked() -> tuple[Worker, socket.socket]:
    """A worker, and its own end of the connection."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE_S)
    return Worker(ours, 4711), theirs


def obedient() -> tuple[Worker, list[bytes]]:
    """One that says "ok" to all orders, and what it was ordered."""
    running, theirs = linked()
    orders: list[bytes] = []

    def obey() -> None:
        with theirs:
            while order := theirs.recv(64):
                orders.append(order)
                theirs.send(b"ok 2" if order == b"insert" else b"ok")

    threading.Thread(target=obey, daemon=True).start()
    return running, orders


def dead() -> Worker:
    running, theirs = linked()
    theirs.close()
    return running


@pytest.fixture
def plane() -> Iterator[NativeDataPlane]:
    with closing(NativeDataPlane("af_packet", pins=1024, threads=1)) as made:
        yield made


ORDERS: list[Callable[[NativeDataPlane], object]] = [
    lambda plane: plane.walk(),
    lambda plane: plane.sweep(Order("delete", (0, 1))),
    lambda plane: plane.insert(PINS),
    lambda plane: plane.take_in(PINS),
]


def test_what_finds_no_room_is_not_counted_as_written(plane: NativeDataPlane) -> None:
    many = records.of(b"".join(number.to_bytes(48, "big") for number in range(3000)), bytes(8 * 3000))
    many["word"] = 1 << 58
    written = plane.insert(many)
    assert 1024 <= written < 3000
    assert written == sum(len(batch) for batch in plane.export(None))
    assert plane.insert(many[:1]) == 1, "it is there: written in place"
    plane._worker, _ = obedient()
    assert plane.insert(many[:2]) == 2, "as the worker says"


@pytest.mark.parametrize(("number", "said"), list(enumerate((b"walk", b"sweep", b"insert", b"insert"))))
def test_an_order_to_a_dead_worker_goes_to_the_next_one(
    plane: NativeDataPlane, monkeypatch: pytest.MonkeyPatch, number: int, said: bytes
) -> None:
    fresh, orders = obedient()
    plane._worker = dead()
    monkeypatch.setattr(plane, "_start_worker", lambda: fresh)
    ORDERS[number](plane)
    assert orders == [said]


@pytest.mark.parametrize("order", ORDERS)
def test_a_second_worker_that_dies_is_an_error_that_passes(
    plane: NativeDataPlane, monkeypatch: pytest.MonkeyPatch, order: Callable[[NativeDataPlane], object]
) -> None:
    plane._worker = dead()
    monkeypatch.setattr(plane, "_start_worker", dead)
    with pytest.raises(Unavailable, match="worker 4711 is gone"):
        order(plane)


def test_a_worker_that_hangs_up_is_gone_at_each_moment() -> None:
    """Before the order it is a broken pipe, after it an answer of no bytes, unread a reset."""
    running, theirs = linked()
    threading.Thread(target=lambda: (theirs.recv(64), theirs.close()), daemon=True).start()
    for _ in range(2):
        with pytest.raises(Gone):
            running.go_over(b"walk")
    running.stop()


def test_a_worker_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    silent, theirs = linked()
    silent.link.settimeout(0.01)
    with closing(theirs):
        with pytest.raises(Unavailable, match="worker 4711 does not answer"):
            silent.go_over(b"walk")
        assert theirs.recv(64) == b"walk"
        with pytest.raises(BrokenPipeError):
            theirs.send(b"ok")
        with pytest.raises(Gone):
            silent.go_over(b"walk")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(0.01)
    monkeypatch.setattr(worker, "_connect", lambda outer, inner: ours)
    with closing(theirs), pytest.raises(Unavailable, match="worker of a and b does not answer"):
        worker.find("a", "b")


class Slow:
    """A worker that takes its time over an order, and obeys one after the other, as the real one does."""

    def __init__(self, plane: NativeDataPlane) -> None:
        self.plane = plane
        self.patience = 0.05
        self.goes_on = threading.Event()
        self.swept: list[int] = []
        """Slots of the sweeps: what was ordered, read when each ended."""
        self.links: queue.Queue[socket.socket] = queue.Queue()
        threading.Thread(target=self._serve, daemon=True).start()

    def connect(self, outer: str = "a", inner: str = "b") -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(self.patience)
        self.links.put(theirs)
        return ours

    def _serve(self) -> None:
        while True:
            with self.links.get() as link, suppress(BrokenPipeError):  # who asked may have hung up
                while order := link.recv(64):
                    self._obey(link, order)

    def _obey(self, link: socket.socket, order: bytes) -> None:
        if order == b"hello":
            socket.send_fds(link, [b"4711"], [self.plane.segment.fd])
            return
        assert self.goes_on.wait(PATIENCE_S)
        segment = self.plane.segment
        if order == b"sweep":
            self.swept.append(int(segment.order.slot))
        if order == b"walk":
            segment.walked[0].pins += 1
        link.send(b"ok")


def test_the_next_order_begins_when_the_one_that_took_too_long_has_ended(
    plane: NativeDataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(plane)
    monkeypatch.setattr(worker, "_connect", slow.connect)
    plane.configure(SpliceConfig("master", "a", "b", 4094, Timeouts()), outer=1, inner=2)
    plane._worker = Worker(slow.connect(), 4711)
    with pytest.raises(Unavailable, match="worker 4711 does not answer"):
        plane.sweep(Order("delete", (5, 1)))
    for _ in range(2):
        with pytest.raises(Unavailable, match="worker of a and b does not answer"):
            plane.sweep(Order("delete", (7, 1)))
        with pytest.raises(Unavailable, match="worker of a and b does not answer"):
            plane.insert(PINS)
        staged = plane.segment.lib.segment_staged(plane.segment.pointer)
        assert (plane.segment.order.slot, staged.count) == (5, 0), "the worker may be at it"
    slow.patience = PATIENCE_S
    slow.goes_on.set()
    for walks in (1, 2):
        assert plane.walk()[0].pins == walks, "its own answer, not the last order's"
    plane.sweep(Order("delete", (7, 1)))
    assert slow.swept == [5, 7]


def test_a_segment_with_a_bad_name_is_refused_before_anything_is_attached() -> None:
    command = ["lb", "run", "--role", "slave", "--outer", "lo", "--inner", "lo", "--segment", "Main 1"]
    refused = CliRunner().invoke(cli.app, command).exception
    assert isinstance(refused, InvalidValue)
    assert "segment 'Main 1' is not valid" in refused.detail
