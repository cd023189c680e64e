"""A flood of SYNs through a pair on the eBPF plane, while a chain comes and one goes.

Each SYN is from an address and port of its own. A filter at the server drops them, so that its kernel's queue
of half-open connections is not what is measured; nobody answers, which is what fills a session table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from catenary import wire
from catenary.errors import Conflict, Unavailable
from experiments.bench.net import ADDRESS, CLIENT, MAC, SERVER, Network, built
from experiments.bench.pair import CHAINS, Pair, pair
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

RATE = 100_000
"""SYNs a second that are offered."""
NEW_PER_S = 50.0
_SENDERS = 2
"""What a frame costs up to the next queue is its sender's: one alone would be as fast as one core."""
_LOOK_S = 2.0
"""Between looks at the table, each of which goes through all of it."""
CLAIMS = (
    Claim("synflood_live_sessions_lost", at_most=0),
    Claim("synflood_new_session_success", at_least=0.95),
)
_PORT, _FIRST, _ADDRESSES = 7010, "10.128.0.0", 1 << 23
_DROP = "add table ip flood\nadd chain ip flood in { type filter hook prerouting priority -300; }\n"
_DROP += "add rule ip flood in tcp dport 9 drop\n"
_URGENT = ("nice", "-n", "-10")


@dataclass(frozen=True)
class Flood:
    """`live` sessions, a flood of `seconds`, session tables of `table` entries; `rate`: SYNs a second."""

    live: int
    seconds: int
    table: int = 1_000_000
    rate: int = RATE


FULL = Flood(live=1000, seconds=40)
QUICK = Flood(live=50, seconds=6, table=20_000, rate=20_000)


@dataclass(frozen=True)
class Seen:
    """What became of honest sessions; SYNs a second sent; the master's fullest table, its counters."""

    live: int
    lost: int
    new: int
    served: int
    rate: float
    fullest: int
    counters: dict[str, int]
    forced: list[str]


def measure(flood: Flood, say: Say) -> Part:
    """Live sessions that were lost, and the share of new ones that were served."""
    with Network() as network:
        network.bumps()
        network.server.run(["nft", "-f", "-"], stdin=_DROP)
        table = f"--sessions {flood.table}"
        with pair(network, master=table, slave=table, chains=CHAINS[:2]) as balancers:
            seen = _run(network, balancers, flood)
    figures = {
        "synflood_live_sessions_lost": Figure(seen.lost, f"sessions of {seen.live}"),
        "synflood_new_session_success": Figure(round(seen.served / seen.new, 4), f"of {seen.new} sessions"),
        "synflood_rate": Figure(round(seen.rate), f"SYN/s for {flood.seconds} s, {flood.rate} offered"),
        "synflood_table": Figure(seen.fullest, f"pins at most, of {flood.table}"),
    }
    told = {name: count for name, count in sorted(seen.counters.items()) if count}
    details = [f"changes: {', '.join(seen.forced)}", f"the master counted {told}"]
    for line in details:
        say(line)
    return Part(figures, CLAIMS, details, {"counters": told})


def _run(network: Network, balancers: Pair, flood: Flood) -> Seen:
    with _traffic(network, flood) as client:
        before = balancers.counters()[0]
        words = ("eth0", MAC[CLIENT], MAC[SERVER], _FIRST, ADDRESS[SERVER], 64, _ADDRESSES)
        command = [str(built("blast")), *map(str, (*words, flood.rate / _SENDERS, flood.seconds)), "syn"]
        senders = [network.client.popen(command, stdout=subprocess.PIPE) for _ in range(_SENDERS)]
        begun = time.monotonic()
        fullest, forced = _watch(balancers, begun, flood.seconds)
        sent = [int(sender.communicate(timeout=flood.seconds + PATIENCE_S)[0]) for sender in senders]
        said, _ = client.communicate(timeout=flood.seconds + PATIENCE_S)
        after = balancers.counters()[0]
    found = json.loads(said)
    counters = {name: after[name] - before[name] for name in after}
    return Seen(
        found["live"],
        found["lost"],
        found["new"],
        found["served"],
        sum(sent) / flood.seconds,
        fullest,
        counters,
        forced,
    )


def _watch(balancers: Pair, begun: float, seconds: float) -> tuple[int, list[str]]:
    """Add the third chain when half of the flood is over and remove the first later; the fullest table."""
    fullest, forced = 0, []
    add = wire.Change(add=[wire.PairAdd(forward=CHAINS[2].forward, reverse=CHAINS[2].reverse)])
    remove = wire.Change(remove=[wire.Tags(forward=CHAINS[0].forward, reverse=CHAINS[0].reverse)])
    waiting = [(0.5, "an add", add), (0.75, "a remove", remove)]
    while (passed := time.monotonic() - begun) < seconds:
        with suppress(Unavailable):
            fullest = max(fullest, balancers.master.stats().pins)
        if waiting and passed > waiting[0][0] * seconds:
            _, name, change = waiting.pop(0)
            forced.append(f"{name} at {passed:.0f} s {_changed(balancers, change)}")
        time.sleep(_LOOK_S)
    return fullest, forced


def _changed(balancers: Pair, change: wire.Change) -> str:
    try:
        balancers.master.change(change)
    except Conflict:
        balancers.master.change(change.model_copy(update={"force": True}))
        return "by force"
    return "as any"


@contextmanager
def _traffic(network: Network, flood: Flood) -> Iterator[subprocess.Popen[str]]:
    """Sessions that live at the client, and new ones until the flood is over."""
    program = [*_URGENT, sys.executable, "-m", "experiments.operations.synflood_traffic"]
    server = network.server.popen([*program, "serve", str(_PORT)])
    words = (ADDRESS[SERVER], _PORT, flood.live, NEW_PER_S, flood.seconds)
    try:
        listening = f":{_PORT} "
        wait_until(lambda: listening in network.server.run(["ss", "-Hltn"]), "the server")
        client = network.client.popen([*program, "open", *map(str, words)], stdout=subprocess.PIPE)
        assert client.stdout is not None, "it is a pipe"
        if client.stdout.readline() != "live\n":
            raise Unavailable(f"{flood.live} sessions could not be opened")
        yield client
    finally:
        server.kill()
        server.wait()
