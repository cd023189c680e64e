"""Mixed reads and writes in open loop: requests come when they come, however slow the earlier ones are.

A write is never in the way of another one, so each must succeed: whoever is refused counts as an error.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx

from catenary.config import ServiceConfig
from experiments.management.documents import turned

MIX: Mapping[str, float] = {
    "page of chains": 15,
    "all chains": 8,
    "one chain": 20,
    "one operation": 6,
    "history": 8,
    "health": 7,
    "status": 1.5,
    "configuration": 0.5,
    "plan": 0.2,
    "cordon or uncordon": 16,
    "rebalance": 5,
    "add chain": 5,
    "remove chain": 5,
}
"""Kinds of requests and their share; the last four write."""
LATE_S = 30.0
"""Nobody waits longer for an answer: it counts as an error."""


@dataclass(frozen=True)
class Answer:
    """What became of one request: `ms` from the moment at which it was due; `fault` is None if it is well.

    `lag`: ms after which the client turned to it. They are its own, and in `ms` as well.
    """

    kind: str
    ms: float
    fault: str | None = None
    lag: float = 0.0


@dataclass(frozen=True)
class Call:
    """`done` is called with the answer's text when it has succeeded."""

    method: str
    path: str
    body: str | None = None
    done: Callable[[str], None] = lambda text: None


def arrivals(rate: float, seconds: float, source: random.Random) -> list[tuple[float, str]]:
    """(moment, kind) of every request: evenly spaced, kinds drawn by their share."""
    moments = [number / rate for number in range(int(rate * seconds))]
    kinds = source.choices(list(MIX), list(MIX.values()), k=len(moments))
    return list(zip(moments, kinds, strict=True))


def p99(values: Sequence[float]) -> float:
    """The smallest value that 99 % of all don't exceed."""
    ranked = sorted(values)
    return ranked[-(-99 * len(ranked) // 100) - 1]


class Calls:
    """What each kind asks for, so that no two writes meet: each takes its object out and puts it back."""

    def __init__(self, config: ServiceConfig, operation: str, source: random.Random) -> None:
        self._names = list(config.chains)
        self._segments = itertools.cycle(config.segments)
        self._operation = operation
        self._source = source
        self._plan = turned(config).model_dump_json()
        used = {nf for chain in config.chains.values() for nf in chain.nfs}
        where = {config.balancers[pair.master].switch: name for name, pair in config.segments.items()}
        self._spare = deque((name, where[nf.switch]) for name, nf in config.nfs.items() if name not in used)
        # One chain in each segment: the last ones that take sessions are never asked to stop.
        last = {config.segment_of(chain): name for name, chain in config.chains.items()}
        self._cordonable = deque((name, "cordon") for name in last.values())
        self._added: deque[tuple[str, tuple[str, str]]] = deque()
        self._numbers = itertools.count(1)

    def call(self, kind: str) -> Call:
        match kind:
            case "cordon or uncordon" if self._cordonable:
                return self._cordon()
            case "add chain" if self._spare:
                return self._add()
            case "remove chain" if self._added:
                return self._remove()
            case "rebalance":
                return Call("POST", f"/v1/rebalance?segment={next(self._segments)}", "{}")
            case "plan":
                return Call("POST", "/v1/plan", self._plan)
            case "one chain":
                return Call("GET", f"/v1/chains/{self._source.choice(self._names)}")
            case _:
                return Call("GET", self._reads().get(kind, "/v1/chains?limit=50"))

    def _reads(self) -> Mapping[str, str]:
        return {
            "all chains": "/v1/chains",
            "one operation": f"/v1/operations/{self._operation}",
            "history": "/v1/history?limit=100",
            "health": "/v1/health",
            "status": "/v1/status",
            "configuration": "/v1/config",
        }

    def _cordon(self) -> Call:
        name, verb = self._cordonable.popleft()
        after = name, "uncordon" if verb == "cordon" else "cordon"
        return Call("POST", f"/v1/chains/{name}/{verb}", done=lambda text: self._cordonable.append(after))

    def _add(self) -> Call:
        spare, name = self._spare.popleft(), f"added-{next(self._numbers)}"
        nf, segment = spare
        body = f'{{"nfs": ["{nf}"], "name": "{name}", "segment": "{segment}"}}'
        return Call("POST", "/v1/chains", body, lambda text: self._added.append((name, spare)))

    def _remove(self) -> Call:
        # Its NF is not used again: it may cool down for as long as it likes.
        name, _ = self._added.popleft()
        return Call("DELETE", f"/v1/chains/{name}")


async def drive(url: str, calls: Calls, due: Sequence[tuple[float, str]]) -> list[Answer]:
    """Make all of them, each at its moment."""
    loop = asyncio.get_running_loop()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=LATE_S, limits=limits, trust_env=False) as client:
        begun = loop.time()
        tasks = []
        for moment, kind in due:
            await asyncio.sleep(begun + moment - loop.time())
            tasks.append(asyncio.create_task(_one(client, kind, calls, begun + moment)))
        return list(await asyncio.gather(*tasks))


async def _one(client: httpx.AsyncClient, kind: str, calls: Calls, due: float) -> Answer:
    clock = asyncio.get_running_loop().time
    lag = 1000 * (clock() - due)
    call = calls.call(kind)
    headers = {"Content-Type": "application/json"} if call.body is not None else {}
    try:
        answer = await client.request(call.method, call.path, content=call.body, headers=headers)
    except httpx.HTTPError as error:
        return Answer(kind, 1000 * (clock() - due), f"{type(error).__name__}: {error}", lag)
    took = 1000 * (clock() - due)
    if answer.is_error:
        return Answer(kind, took, f"{answer.status_code}: {answer.text[:200]}", lag)
    call.done(answer.text)
    return Answer(kind, took, lag=lag)


def told(answers: Sequence[Answer]) -> Iterator[str]:
    """A line a kind: how many there were, and their p99 and faults."""
    for kind in MIX:
        mine = [answer for answer in answers if answer.kind == kind]
        faults = [answer.fault for answer in mine if answer.fault]
        if mine:
            more = f", {len(faults)} errors: {faults[0]}" if faults else ""
            yield f"{kind}: {len(mine)} requests, p99 {p99([answer.ms for answer in mine]):.0f} ms{more}"
