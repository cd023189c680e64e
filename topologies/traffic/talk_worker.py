"""Both ends behind `Talks`: a program on the standard library only.

talk_worker.py '{"listen": 7000}'
talk_worker.py '{"peers": [["10.0.0.2", 7000]], "size": 1000, "interval": 0.1, "timeout": 20, "log": FILE}'
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any, TextIO

REPORT_EVERY = 0.1


class Talker:
    """One TCP session to each peer; in turns of `interval` s each says something and waits for the echo."""

    def __init__(self, options: dict[str, Any], log: TextIO) -> None:
        self._options = options
        self._log = log
        self._ends: list[tuple[str, int] | None] = [None for _ in options["peers"]]
        self._rounds = [0 for _ in options["peers"]]
        self._broken: dict[int, str] = {}

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._keep(number)) for number in range(len(self._rounds))]
        while True:
            self._report()
            await asyncio.sleep(REPORT_EVERY)
            assert tasks  # held here: nobody else does

    async def _keep(self, number: int) -> None:
        try:
            await self._talk(number, *self._options["peers"][number])
        except (OSError, TimeoutError, EOFError) as error:
            self._broken[number] = type(error).__name__

    async def _talk(self, number: int, address: str, port: int) -> None:
        limit = self._options["timeout"]
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), limit)
        self._ends[number] = writer.get_extra_info("sockname")[:2]
        while True:
            said = number.to_bytes(4) + self._rounds[number].to_bytes(4)
            said = said.ljust(self._options["size"], b".")
            writer.write(said)
            if await asyncio.wait_for(reader.readexactly(len(said)), limit) != said:
                raise EOFError("another answer than the echo")
            self._rounds[number] += 1
            await asyncio.sleep(self._options["interval"])

    def _report(self) -> None:
        broken = [self._broken.get(number) for number in range(len(self._rounds))]
        line = {"ends": self._ends, "rounds": self._rounds, "broken": broken}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # a session that breaks counts at the client
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    server = await asyncio.start_server(echo, ["0.0.0.0", "::"], port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    options = json.loads(sys.argv[1])
    if "listen" in options:
        asyncio.run(serve(options["listen"]))
        return
    with open(options["log"], "w") as log:
        asyncio.run(Talker(options, log).run())


if __name__ == "__main__":
    main()
