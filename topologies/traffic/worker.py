"""The client and the server behind `Transfers` and `ByteServer`: a program on the standard library only.

worker.py '{"urls": [...], "parallel": 8, "wait": 0, "pause": 0, "timeout": 30, "sessions": 0, "log": FILE}'
worker.py '{"listen": 8000}'
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any, TextIO
from urllib.parse import SplitResult, urlsplit

REPORT_EVERY = 0.2
_CHUNK = 65536


class ShortAnswer(Exception):
    """The server ended a session before its answer was whole."""


class BadStatus(Exception):
    """An answer other than 200."""


class Load:
    """The closed loop and its running totals."""

    def __init__(self, options: dict[str, Any], log: TextIO) -> None:
        self._options = options
        self._log = log
        self._urls: Iterator[str] = cycle(options["urls"])
        self._started = time.time()
        self._sessions = self._requests = self._bytes = self._open = self._cut = 0
        self._errors: Counter[str] = Counter()
        self._per_second: list[int] = []
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        reporter = asyncio.create_task(self._report_always())
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._options["parallel"])]
        await asyncio.gather(*self._tasks, return_exceptions=False)
        reporter.cancel()
        self._report()

    def _stop(self) -> None:
        """The first signal begins no more sessions; the second cuts the open ones."""
        if self._stopping.is_set():
            for task in self._tasks:
                task.cancel()
        self._stopping.set()

    async def _lane(self) -> None:
        limit = self._options["sessions"]
        while not self._stopping.is_set() and not (limit and self._sessions >= limit):
            self._sessions += 1
            self._open += 1
            try:
                await asyncio.wait_for(self._fetch(next(self._urls)), self._options["timeout"])
                self._requests += 1
            except (OSError, TimeoutError, ShortAnswer, BadStatus) as error:
                self._errors[type(error).__name__] += 1
                await asyncio.sleep(0.05)  # a refusing server must not be hammered
            except asyncio.CancelledError:
                self._cut += 1
                return
            finally:
                self._open -= 1
            if self._options["pause"]:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._options["pause"])

    async def _fetch(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        reader, writer = await asyncio.open_connection(host, parts.port or 80, limit=4 * _CHUNK)
        try:
            name = f"[{host}]" if ":" in host else host
            await asyncio.sleep(self._options["wait"])
            writer.write(
                f"GET {_target(parts)} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
            )
            missing = _content_length(await reader.readuntil(b"\r\n\r\n"))
            while missing > 0:
                data = await reader.read(_CHUNK)
                if not data:
                    raise ShortAnswer(url)
                missing -= len(data)
                self._count(len(data))
        except asyncio.IncompleteReadError as error:
            raise ShortAnswer(url) from error
        finally:
            writer.close()
        with suppress(ConnectionError):  # the answer is whole: how the connection ends doesn't matter
            await writer.wait_closed()

    def _count(self, size: int) -> None:
        second = int(time.time() - self._started)
        self._per_second += [0] * (second + 1 - len(self._per_second))
        self._per_second[second] += size
        self._bytes += size

    async def _report_always(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(REPORT_EVERY)

    def _report(self) -> None:
        totals = {
            "started": self._started,
            "ended": time.time(),
            "sessions": self._sessions,
            "requests": self._requests,
            "failures": self._errors.total(),
            "bytes": self._bytes,
            "open": self._open,
            "cut": self._cut,
            "errors": self._errors,
            "per_second": self._per_second,
        }
        self._log.write(json.dumps(totals) + "\n")
        self._log.flush()


def _target(parts: SplitResult) -> str:
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _content_length(head: bytes) -> int:
    """The body's length that an HTTP/1.x answer announces; raises `BadStatus` for another status than 200."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise BadStatus(status)
    headers = {
        key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    return int(headers["content-length"])


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve `GET /N`: N bytes of zeros."""
    with suppress(OSError, asyncio.IncompleteReadError):  # a client that goes away counts at the client
        request = await reader.readuntil(b"\r\n\r\n")
        size = int(request.split(b" ")[1].strip(b"/") or b"0")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        for start in range(0, size, _CHUNK):
            writer.write(bytes(min(_CHUNK, size - start)))
            await writer.drain()
        writer.close()
        await writer.wait_closed()


async def serve(port: int) -> None:
    server = await asyncio.start_server(answer, ["0.0.0.0", "::"], port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    options = json.loads(sys.argv[1])
    if "listen" in options:
        asyncio.run(serve(options["listen"]))
        return

    async def load() -> None:
        with open(options["log"], "a") as log:
            await Load(options, log).run()

    asyncio.run(load())


if __name__ == "__main__":
    main()
