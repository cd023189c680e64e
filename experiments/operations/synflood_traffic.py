"""Honest traffic beside a flood, over real TCP: sessions that live all the while, and new ones.

    python -m experiments.operations.synflood_traffic serve PORT
    python -m experiments.operations.synflood_traffic open ADDRESS PORT LIVE NEW_PER_S SECONDS

`open` prints a line when all that are to live do so, and at the end what became of all, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress

PAUSE_S = 3.0
"""Between two exchanges of a session that lives."""
LOST_S = 10.0
"""A session without an answer for so long is lost."""
NEW_S = 5.0
"""In which a new session must be open, and have had its first answer."""
_WORD = b"are you there?\n"
_ALIKE = 50
"""Sessions that are opened at a time, at first."""


async def serve(port: int) -> None:
    """Say again what was said, line by line."""
    server = await asyncio.start_server(_answer, port=port, family=socket.AF_INET, backlog=4096)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_WORD)
    await writer.drain()
    if await reader.readline() != _WORD:
        raise ConnectionResetError("the session has ended")


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _opened(address: str, port: int, turns: asyncio.Semaphore) -> _Ends:
    async with turns:
        reader, writer = await asyncio.open_connection(address, port)
        await _exchange(reader, writer)
    return reader, writer


async def _talk(ends: _Ends, end: float) -> bool:
    """Until `end`, by the loop's clock: was there always an answer?"""
    loop = asyncio.get_running_loop()
    try:
        while loop.time() < end:
            await asyncio.sleep(PAUSE_S)
            await asyncio.wait_for(_exchange(*ends), LOST_S)
    except (OSError, TimeoutError):
        return False
    finally:
        ends[1].close()
    return True


async def _new(address: str, port: int) -> bool:
    async def session() -> None:
        reader, writer = await asyncio.open_connection(address, port)
        try:
            await _exchange(reader, writer)
        finally:
            writer.close()

    try:
        await asyncio.wait_for(session(), NEW_S)
    except (OSError, TimeoutError):
        return False
    return True


async def open_all(address: str, port: int, live: int, rate: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    turns = asyncio.Semaphore(_ALIKE)
    all_live = await asyncio.gather(*(_opened(address, port, turns) for _ in range(live)))
    print("live", flush=True)
    end = loop.time() + seconds
    living = [loop.create_task(_talk(ends, end)) for ends in all_live]
    fresh = []
    while (now := loop.time()) < end:
        fresh.append(loop.create_task(_new(address, port)))
        await asyncio.sleep(max(0.0, end - seconds + len(fresh) / rate - now))
    kept, opened = await asyncio.gather(asyncio.gather(*living), asyncio.gather(*fresh))
    print(json.dumps({"live": live, "lost": live - sum(kept), "new": len(opened), "served": sum(opened)}))


def main(argv: list[str]) -> None:
    if argv[0] == "serve":
        asyncio.run(serve(int(argv[1])))
    else:
        address, port, live, rate, seconds = argv[1:]
        asyncio.run(open_all(address, int(port), int(live), float(rate), float(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
