"""Chains whose path is cut, one after the other, under new sessions: when does the last one go into it?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from catenary import wire
from catenary.chain import Condition
from catenary.health import OnDead
from catenary.tags import TagPair
from experiments.bench.net import CLIENT, SERVER, Network, shell
from experiments.bench.pair import Pair, pair
from experiments.bench.paths import blast
from experiments.operations.plan import Plan
from experiments.operations.tags_seen import TagsSeen
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

USUAL = wire.HealthCheckModel()
FAST = wire.HealthCheckModel(interval=0.1, timeout=0.06)
ALLOWED_S = 0.2
"""s beyond `fall` intervals, from the failure to the pair's action."""
_RATE = 5000.0
"""New sessions a second: of nine chains each gets one in 2 ms."""
_SESSIONS = 1_000_000
_NEAR, _FAR = "m1", "l2i"
"""What goes into a chain is seen at the first, what came out of it at the second."""


def _most(check: wire.HealthCheckModel) -> float:
    return check.fall * check.interval + ALLOWED_S


CLAIMS = (
    Claim("chain_failover_s", at_most=round(_most(USUAL), 3)),
    Claim("chain_failover_fast_s", at_most=round(_most(FAST), 3)),
)


def measure(plan: Plan, say: Say) -> Part:
    """The longest of all, by the check as it is unless one is chosen, and by a fast one."""
    figures, details = {}, []
    for claim, check in zip(CLAIMS, (USUAL, FAST), strict=True):
        took = {policy: _falls(check, policy, plan.chain_falls) for policy in plan.policies}
        words = ", ".join(f"{policy} {max(values):.3f}" for policy, values in took.items())
        details.append(f"{claim.key}, the longest of each policy: {words} s")
        say(details[-1])
        every = [value for values in took.values() for value in values]
        probes = f"{check.fall} probes, each {check.interval:g} s"
        unit = f"s, the longest of {len(every)} (shortest {min(every):.3f}) by {probes}"
        figures[claim.key] = Figure(round(max(every), 3), unit)
    return Part(figures, CLAIMS, details)


def _falls(check: wire.HealthCheckModel, policy: OnDead, count: int) -> list[float]:
    """Seconds for each of `count` chains; one more is left at the end."""
    chains = [TagPair(2 * i, 2 * i + 1) for i in range(1, count + 2)]
    table = f"--sessions {_SESSIONS}"
    order = wire.HealthOrder(health=check.model_copy(update={"on_dead": policy}))
    with _network() as network, pair(network, master=table, slave=table, chains=chains) as lbs:
        lbs.master.put_health(order)
        wait_until(lambda: all(row.health and row.health.verdict == "up" for row in _rows(lbs)), "all are up")
        network.drop_all(network.server)
        with TagsSeen(_NEAR) as near, TagsSeen(_FAR) as far, _sessions(network, PATIENCE_S * count):
            return [_fall(lbs, tags, near, far) for tags in chains[:count]]


@contextmanager
def _network() -> Iterator[Network]:
    """With a bridge between the inner ports, that sends every frame to the other side."""
    with Network() as network:
        network.bumps(wired=False)
        shell("ip link add middle type bridge ageing_time 0 mcast_snooping 0 forward_delay 0")
        try:
            for inner, port in (("l1i", _NEAR), (_FAR, "m2")):
                network.link(inner, port)
                shell(f"ip link set {port} master middle")
            shell("ip link set middle up\nnft add table netdev cut")
            shell(
                f"nft 'add chain netdev cut near {{ type filter hook ingress device {_NEAR} priority 0; }}'"
            )
            yield network
        finally:
            shell("ip link del middle\nnft delete table netdev cut")


@contextmanager
def _sessions(network: Network, seconds: float) -> Iterator[None]:
    """New ones all the time, one a frame."""
    sender = blast(network.client, CLIENT, SERVER, sessions=_SESSIONS, seconds=seconds, rate=_RATE)
    try:
        yield
    finally:
        sender.kill()
        sender.wait()


def _fall(lbs: Pair, tags: TagPair, near: TagsSeen, far: TagsSeen) -> float:
    """Cut the chain's way to the servers, for good: from the last session's frame that came out of it to the
    last that went in."""
    carried = _row(lbs, tags).new_sessions
    wait_until(lambda: _row(lbs, tags).new_sessions > carried, "the chain takes sessions")
    shell(f"nft add rule netdev cut near vlan id {tags.forward} drop")
    wait_until(
        lambda: _row(lbs, tags).condition is not Condition.UP, "the chain's end is seen", interval=0.02
    )
    return near.last(tags.forward) - far.last(tags.forward)


def _rows(lbs: Pair) -> list[wire.PairStats]:
    return lbs.master.stats().pairs


def _row(lbs: Pair, tags: TagPair) -> wire.PairStats:
    return next(row for row in _rows(lbs) if row.forward == tags.forward)
