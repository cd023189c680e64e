"""Sessions of random lifetimes, TCP and UDP in turns: a server and a client, on the standard library only.

    python -m experiments.management.sessions serve PORT
    python -m experiments.management.sessions open ADDRESS PORT RATE SEED

They come by themselves (Poisson, `RATE` a second) until SIGTERM, and each says a word every `WORD_S` while it
lives. Half of all lifetimes are exponential, half log-normal: most are short, a few are long.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from contextlib import suppress
from typing import Any

WORD_S = 0.25
MEAN_S = 4.0
_SIGMA = 1.0
"""Of the log-normal lifetimes: the tenth that lives longest has two fifths of all time."""


def lifetime(source: random.Random) -> float:
    """Seconds; `MEAN_S` on the average."""
    if source.random() < 0.5:
        return source.expovariate(1 / MEAN_S)
    return MEAN_S * source.lognormvariate(-(_SIGMA**2) / 2, _SIGMA)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1024):
            writer.write(data)
    writer.close()


async def serve(port: int) -> None:
    """Echo both."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Echo, local_addr=("0.0.0.0", port))
    server = await asyncio.start_server(_echo, "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


async def open_all(address: str, port: int, rate: float, seed: int) -> None:
    """Until cancelled; what lives then ends with it."""
    source = random.Random(seed)
    running: set[asyncio.Task[None]] = set()
    for number in range(10**9):
        await asyncio.sleep(source.expovariate(rate))
        session = _datagrams if number % 2 else _stream
        task = asyncio.create_task(session(address, port, lifetime(source)))
        running.add(task)
        task.add_done_callback(running.discard)


async def _stream(address: str, port: int, seconds: float) -> None:
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(address, port)
        for pause in pauses(seconds):
            writer.write(b"word")
            await reader.readexactly(4)
            await asyncio.sleep(pause)
        writer.close()


async def _datagrams(address: str, port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(address, port)
        )
        for pause in pauses(seconds):
            transport.sendto(b"word")
            await asyncio.sleep(pause)
        transport.close()


def pauses(seconds: float) -> list[float]:
    """What is between the words of a session that lives so long; the last one comes at its end."""
    whole, rest = divmod(seconds, WORD_S)
    return [*[WORD_S] * int(whole), rest, 0.0]


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        address, port, rate, seed = sys.argv[2:]
        asyncio.run(open_all(address, int(port), float(rate), int(seed)))


if __name__ == "__main__":
    main()
