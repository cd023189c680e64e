"""Sessions of heavy-tailed sizes in open loop, over real TCP: a server and a client.

    python -m experiments.bench.sessions serve PORT
    python -m experiments.bench.sessions open ADDRESS PORT SECONDS SEED

They arrive by themselves (Poisson), however slow the earlier ones are; the sizes follow a bounded Pareto
distribution. The slowdown of a session is its time over the time that it would take alone on a whole chain.
The server keeps little data in flight, so that sessions share a chain's queue and don't fill it.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import struct
import sys
from collections.abc import Callable

RATES_MBIT = (40.0, 40.0, 20.0)
"""Capacities of the three chains."""
LOAD = 0.75
"""Of all chains together; by a third each, the half chain gets 1.25 times what it can carry."""
SHAPE, SMALLEST, LARGEST = 1.2, 8_000, 2_000_000
"""Of the bounded Pareto distribution; bytes."""
_ALONE_S = 0.002
"""What a session takes beside its bytes: opening, the request, the wait for a core."""
_IN_FLIGHT = 16_384
_PATIENCE_S = 60.0


def mean_size() -> float:
    """Of the distribution, bytes."""
    a, low, high = SHAPE, float(SMALLEST), float(LARGEST)
    whole = 1 - math.pow(low / high, a)
    return math.pow(low, a) / whole * a / (a - 1) * (math.pow(low, 1 - a) - math.pow(high, 1 - a))


def size_of(uniform: float) -> int:
    """The size at a quantile (0..1) of the distribution."""
    ratio = math.pow(SMALLEST / LARGEST, SHAPE)
    return int(SMALLEST / math.pow(1 - uniform * (1 - ratio), 1 / SHAPE))


def slowdown(seconds: float, size: int) -> float:
    return seconds / (_ALONE_S + size * 8e-6 / max(RATES_MBIT))


def arrivals(seconds: float, seed: int) -> list[tuple[float, int]]:
    """(moment, size) of every session."""
    source = random.Random(seed)
    rate = LOAD * sum(RATES_MBIT) / 8e-6 / mean_size()
    found = []
    at = source.expovariate(rate)
    while at < seconds:
        found.append((at, size_of(source.random())))
        at += source.expovariate(rate)
    return found


async def serve(port: int) -> None:
    """Answer each connection with as many bytes as its first eight say."""
    server = await asyncio.start_server(_answer, port=port, family=socket.AF_INET, backlog=4096)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_FLIGHT)
    try:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
        writer.write(bytes(size))
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return  # the client has given up, and counts it
    finally:
        writer.close()


async def open_all(address: str, port: int, seconds: float, seed: int) -> list[float]:
    """The slowdown of every session."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    tasks = []
    for at, size in arrivals(seconds, seed):
        await asyncio.sleep(max(0.0, begun + at - loop.time()))
        tasks.append(asyncio.create_task(_session(address, port, size, loop.time)))
    return await asyncio.wait_for(asyncio.gather(*tasks), _PATIENCE_S)


async def _session(address: str, port: int, size: int, clock: Callable[[], float]) -> float:
    begun = clock()
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(struct.pack("!Q", size))
    await reader.readexactly(size)
    took = clock() - begun
    writer.close()
    return slowdown(took, size)


def main() -> None:
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        address, port, seconds, seed = sys.argv[2:]
        found = asyncio.run(open_all(address, int(port), float(seconds), int(seed)))
        print(json.dumps({"sessions": len(found), "mean_slowdown": sum(found) / max(1, len(found))}))


if __name__ == "__main__":
    main()
