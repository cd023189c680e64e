"""The worker process of a user-space splice: started, found again, given orders (native/worker.c).

It is known by an abstract socket named after its two interfaces: the name exists in this network namespace
only, once, and as long as the worker does. Whoever connects is checked by the worker, and gets the segment's
descriptor from it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable, Unsupported
from lb_adapter.dataplane.segment import NATIVE

PROGRAM = NATIVE / "worker"
_START_S, _ORDER_S, _END_S = 10.0, 30.0, 2.0
_HANG_UPS, _HANG_UP_S = 25, 0.02
_TEST = struct.Struct("=3H")


def device_interface(device: str) -> str:
    """The interface of a PF_RING device: `zc:eth1@0` is eth1."""
    return device.rpartition(":")[2].partition("@")[0]


def _address(outer: str, inner: str) -> str:
    return f"\0catenary-splice/{device_interface(outer)}/{device_interface(inner)}"


def _connect(outer: str, inner: str) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.settimeout(_ORDER_S)
    try:
        link.connect(_address(outer, inner))
    except ConnectionRefusedError:
        link.close()
        return None
    except OSError as error:
        link.close()
        raise Unavailable(f"the worker of {outer} and {inner} can't be reached: {error}") from error
    return link


class Gone(Unavailable):
    """The worker has ended, or given way to another: its place may be taken."""


@dataclass
class Worker:
    """A running worker and the connection to it; `process` if it is this process's child."""

    link: socket.socket
    pid: int
    process: subprocess.Popen[bytes] | None = None

    def go_over(self, order: bytes) -> int:
        """Have it go over its session table: `walk`, `sweep`, or `insert`, which says how many were.

        `Gone` if it has ended, or was left.
        """
        answer, _, count = self._order(order).decode().partition(" ")
        if answer == "":
            raise Gone(f"worker {self.pid} is gone")
        if answer != "ok":
            raise Unavailable(f"worker {self.pid} does not get through its session table: {answer}")
        return int(count or 0)

    @property
    def left(self) -> bool:
        """Was the connection given up, for an order took too long? The worker may be at it still.

        Its answer, late, would else be taken for that to the next order. Over another connection it
        answers when it is through.
        """
        return self.link.fileno() < 0

    def alive(self) -> bool:
        """Is it, as far as one can tell? Of one that was left, one can't."""
        if self.left:
            return True
        try:
            return self.link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except ConnectionError:
            return False

    def stop(self) -> None:
        """End it, and wait until it has given the interfaces back."""
        with suppress(Gone):  # what was wanted
            self._order(b"stop")
        self.release()
        if self.process is not None:
            self.process.wait(_ORDER_S)

    def wait(self) -> None:
        """Until it has ended, which it was told to."""
        with suppress(ConnectionError, TimeoutError):
            self.link.recv(1)
        self.release()

    def release(self) -> None:
        """Let go of it; it goes on, if it was alive."""
        self.link.close()
        if self.process is not None:
            self.process.poll()

    def _order(self, order: bytes) -> bytes:
        try:
            self.link.send(order)
            return self.link.recv(64)
        except TimeoutError:
            self.link.close()
            raise Unavailable(
                f"worker {self.pid} does not answer: `kill {self.pid}` and start again"
            ) from None
        except OSError as error:
            raise Gone(f"worker {self.pid} is gone: {error.strerror}") from error


def find(outer: str, inner: str) -> tuple[Worker, int] | None:
    """The worker that splices these interfaces and its segment's descriptor; None if there is none."""
    for _ in range(_HANG_UPS):
        link = _connect(outer, inner)
        if link is None:
            return None
        try:
            link.send(b"hello")
            text, fds, _, _ = socket.recv_fds(link, 64, 1)
            if fds:
                return Worker(link, int(text)), fds[0]
        except TimeoutError:
            link.close()
            raise Unavailable(f"the worker of {outer} and {inner} does not answer: kill it") from None
        except ConnectionError:
            pass
        # It does not trust us, or was just about to end: then the next try finds none.
        link.close()
        time.sleep(_HANG_UP_S)
    raise Unsupported(
        f"the worker of {outer} and {inner} obeys root and its own user only: run as one of them"
    )


def start(plane: str, outer: str, inner: str, segment_fd: int) -> Worker:
    """Start a worker and return when frames flow. Its own words say why it can't."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(_address(outer, inner))
        except OSError as error:
            raise Conflict(f"a worker of {outer} and {inner} has just been started by another") from error
        listener.listen(8)
        process, _ = _launch(PROGRAM, (plane, outer, inner), segment_fd, listener.fileno())
        return _met(process, outer, inner)


def succeed(program: Path, plane: str, outer: str, inner: str, segment_fd: int) -> tuple[Worker, float]:
    """Start `program` in place of the worker that runs there, and return when frames flow again.

    Beside it the seconds for which nobody carried them: they waited (af_packet), or were lost (pf_ring). If
    it fails, the worker that runs goes on.
    """
    link = _connect(outer, inner)
    if link is None:
        raise NotFound(f"no worker splices {outer} and {inner} any more: `catenary lb run` starts one")
    with link:
        link.setblocking(True)  # a timeout here would make it one that never waits, in the successor too
        process, said = _launch(program, (plane, outer, inner), segment_fd, link.fileno(), "succeed")
    return _met(process, outer, inner), int(said) / 1e6


def _met(process: subprocess.Popen[bytes], outer: str, inner: str) -> Worker:
    link = _connect(outer, inner)
    if link is None:
        raise Unavailable(
            f"worker {process.pid} ended with status {process.wait()} as soon as it carried frames"
        )
    return Worker(link, process.pid, process)


def _launch(
    program: Path, where: tuple[str, str, str], segment_fd: int, socket_fd: int, *more: str
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a worker and wait until it carries frames; what it says beside "ok"."""
    check_built(program)
    reading, writing = os.pipe()
    fds = (segment_fd, socket_fd, writing)
    try:
        process = subprocess.Popen(
            [str(program), *where, *map(str, fds), *more],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the daemon's terminal is not for it
        )
    except OSError as error:
        os.close(reading)
        raise InvalidValue(f"{program} can't be run: {error.strerror}") from error
    finally:
        os.close(writing)
    said = _read_all(reading, _START_S)
    kind, _, text = said.partition(" ")
    if kind == "ok":
        return process, text
    process.kill()
    code = process.wait()
    if kind == "invalid":
        raise InvalidValue(text)
    raise Unsupported(text or f"the worker ended with status {code} before a frame flowed")


def check_built(program: Path) -> None:
    """Raise `Unsupported` if there is no such program."""
    if not program.exists():
        raise Unsupported(f"{program} is not built: run `make build`")


class Tester:
    """A worker's binary that shows what it decides, frame by frame, over a segment of its own."""

    def __init__(self, program: Path, segment_fd: int) -> None:
        check_built(program)
        self._program = program
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.settimeout(_START_S)
        fds = (segment_fd, theirs.fileno())
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [str(program), "test", *map(str, fds)],
                    pass_fds=fds,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
            except OSError as error:
                self._link.close()
                raise InvalidValue(f"{program} can't be run: {error.strerror}") from error

    def run(self, port: int, frame: bytes, beside: tuple[int, int]) -> tuple[tuple[int, int, int], bytes]:
        """Port, VLAN ID and reason of its verdict, and the frame out; `beside`: TPID and TCI of a tag."""
        said = b""
        with suppress(ConnectionError, TimeoutError):
            self._link.send(_TEST.pack(port, *beside) + frame)
            said = self._link.recv(len(frame) + 256)
        if len(said) < _TEST.size:
            why = self._end().partition(" ")[2] or f"status {self._process.returncode}"
            raise InvalidValue(f"{self._program} ends in its self-test: {why}")
        first, second, third = _TEST.unpack_from(said)
        return (first, second, third), said[_TEST.size :]

    def _end(self) -> str:
        """End it, by force if it hangs; what it said."""
        self._link.close()
        try:
            _, words = self._process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, words = self._process.communicate()
        return words.decode(errors="replace")

    def close(self) -> None:
        self._end()


def _read_all(fd: int, timeout: float) -> str:
    """What comes through a pipe until its other end is closed, or `timeout` seconds pass without a word."""
    said = b""
    with open(fd, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], timeout)[0]:
            part = pipe.read(4096)
            if not part:
                break
            said += part
    return said.decode()
