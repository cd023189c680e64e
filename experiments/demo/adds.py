"""`add_latency_ms`: how long from the request of a chain until the first session crosses its NF."""

from __future__ import annotations

import time

from catenary.errors import Unavailable
from catenary.wire import ChainRequest, OperationView
from experiments.demo.screen import Screen
from experiments.demo.story import NF_OF
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import Transfers, WebServer
from witness.events import CHANGE
from witness.recording import INTO
from witness.taps import Taps

_NFS = tuple(NF_OF.values())[1:]  # the first chain stays and carries the traffic in between
_POLL_S = 0.001
_PAUSE_S = 0.03
"""Some 200 sessions a second: often enough to tell of a new chain at once, and no load to speak of."""


def measure_adds(testbed: Testbed, taps: Taps, count: int, screen: Screen) -> tuple[float, ...]:
    """Add and remove `count` chains one after the other under short sessions: the seconds of each.

    The NFs take turns, so that one chain can drain while the next is measured. The witness's taps tell of the
    first packet, at most 1 ms late.
    """
    web = WebServer(testbed.hosts["h2"])
    clients = Transfers(
        testbed.hosts["h3"],
        [web.url("1k", 4), web.url("1k", 6)],
        name="adds",
        parallel=8,
        pause=_PAUSE_S,
        timeout=PATIENCE_S,
    )
    latencies: list[float] = []
    draining: dict[str, OperationView] = {}
    with screen.doing(f"adding {count} chains, one after the other, to measure the latency"), web, clients:
        for number in range(count):
            nf = _NFS[number % len(_NFS)]
            if nf in draining:
                testbed.management.wait(draining.pop(nf), PATIENCE_S)
            name = f"add-{number + 1}"
            latencies.append(_add(testbed, taps, name, nf))
            taps.note(CHANGE, f"remove {name}")
            draining[nf] = testbed.management.remove_chain(name)
        for operation in draining.values():
            testbed.management.wait(operation, PATIENCE_S)
        clients.stop()
    return tuple(latencies)


def _add(testbed: Testbed, taps: Taps, name: str, nf: str) -> float:
    before = _frames(taps, nf)
    taps.note(CHANGE, f"add {name}")
    begun = time.monotonic()
    operation = testbed.management.add_chain(ChainRequest(name=name, nfs=[nf]))
    while _frames(taps, nf) == before:
        if time.monotonic() - begun > PATIENCE_S:
            raise Unavailable(f"chain {name} took no session within {PATIENCE_S:g} s of its request")
        time.sleep(_POLL_S)
    latency = time.monotonic() - begun
    testbed.management.wait(operation, PATIENCE_S, poll=0.01)
    return latency


def _frames(taps: Taps, nf: str) -> int:
    """Frames of sessions that came to the NF, from either side."""
    totals = taps.totals()
    return sum(
        totals[f"{nf}.{side}", INTO].frames - totals[f"{nf}.{side}", INTO].others
        for side in ("ingress", "egress")
    )
