"""Heavy-tailed sessions over three chains, one of them at half capacity: how much the choice matters.

    client -- l1o [master] l1i == m1 [tc] a0 -- b0 [tc] m2 == l2i [slave] l2o -- server
                                         a1 -- b1
                                         a2 -- b2       (half the rate)

Each chain is a veth behind a token bucket, both ways; a program with one rule for each port and tag stands
where the switches would. Asks, hints and answers go from m2 to m1 and back past all chains.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from catenary import libbpf
from catenary.errors import Unavailable
from experiments.bench.net import ADDRESS, REDIRECT, SERVER, Network, shell
from experiments.bench.pair import ASK, CHAINS, pair
from experiments.bench.plan import Plan, Result, figure
from experiments.bench.sessions import RATES_MBIT
from experiments.part import Say
from experiments.summary import Claim
from topologies.services import CHECKOUT, wait_until

_PORT = 7100
_POLICIES = ("p2c", "maglev")
_SHAPE = "tc qdisc replace dev {link} root tbf rate {rate:g}mbit burst 32kb latency 1s"


def measure(plan: Plan, say: Say) -> Result:
    """`slowdown_ratio`: the mean slowdown under p2c over that under the plain hash, of the same sessions."""
    found: dict[str, list[float]] = {policy: [] for policy in _POLICIES}
    for number in range(plan.rounds):
        for policy in _POLICIES:
            found[policy].append(_run(policy, plan.traffic_seconds, seed=number))
        say(f"round {number + 1}: mean slowdown " + ", ".join(f"{p} {found[p][-1]:.1f}" for p in _POLICIES))
    ratios = [a / b for a, b in zip(found["p2c"], found["maglev"], strict=True)]
    means = {f"mean slowdown under {policy}": figure(found[policy], "") for policy in _POLICIES}
    runs = {"slowdown_ratio": ratios, **{f"slowdown_{policy}": found[policy] for policy in _POLICIES}}
    claims = (Claim("slowdown_ratio", at_most=0.333),)
    return Result({"slowdown_ratio": figure(ratios, "", 3)}, means, claims, runs)


def _run(policy: str, seconds: float, seed: int) -> float:
    with Network() as network:
        network.bumps(wired=False)
        with _chains(network), pair(network, master=f"--policy {policy}"):
            command = [sys.executable, "-m", "experiments.bench.sessions"]
            environment = {"PYTHONPATH": str(CHECKOUT)}
            server = network.server.popen([*command, "serve", str(_PORT)], log="server", env=environment)
            try:
                wait_until(lambda: network.server.listens(server, _PORT), "the server does not listen")
                words = ["open", ADDRESS[SERVER], str(_PORT), str(seconds), str(seed)]
                with (network.logs / "client.json").open("w+") as answer:
                    client = network.client.popen([*command, *words], stdout=answer, env=environment)
                    if client.wait() != 0:
                        raise Unavailable("the sessions' client has failed: see above")
                    answer.seek(0)
                    return float(json.load(answer)["mean_slowdown"])
            finally:
                server.kill()
                server.wait()


@contextmanager
def _chains(network: Network) -> Iterator[None]:
    """Wires, rates and rules of the drawing."""
    network.link("l1i", "m1")
    network.link("m2", "l2i")
    for number, rate in enumerate(RATES_MBIT):
        network.link(f"a{number}", f"b{number}")
        shell("\n".join(_SHAPE.format(link=f"{end}{number}", rate=rate) for end in "ab"))
    steer = libbpf.Object(REDIRECT)
    try:
        ways = steer.map("ways")
        for at, vid, to in _rules():
            key = struct.pack("=II", socket.if_nametoindex(at), vid)
            ways.set(key, struct.pack("=I", socket.if_nametoindex(to)))
        for link in ("m1", "m2", *(f"{end}{number}" for end in "ab" for number in range(len(CHAINS)))):
            steer.program("steer").attach(socket.if_nametoindex(link))
        yield
    finally:
        steer.close()


def _rules() -> Iterator[tuple[str, int, str]]:
    """(link, VLAN ID, link): where a frame goes on."""
    yield "m2", ASK, "m1"
    for number, tags in enumerate(CHAINS):
        a, b = f"a{number}", f"b{number}"
        yield "m1", tags.forward, a
        yield b, tags.forward, "m2"
        yield "m2", tags.reverse, b
        yield a, tags.reverse, "m1"
        # Past the chain: a hint from the slave, an answer from the master.
        yield "m2", tags.forward, "m1"
        yield "m1", tags.reverse, "m2"
