"""Chains die under traffic: the master takes each out of the way, and lets pass by when none is left."""

from __future__ import annotations

import time
from ipaddress import IPv4Address

from catenary import wire
from catenary.config import ChainConfig, HealthConfig, bypass_name
from tests.e2e.watching import SHORT
from tests.isolation import isolated
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import Talks

CHAINS = {"first": ("n1",), "second": ("n2",)}
HEALTH = HealthConfig(
    kind="tcp",
    client=IPv4Address("10.9.0.1"),
    server=IPv4Address("10.9.0.2"),
    interval=0.5,
    timeout=0.3,
    fall=3,
    on_dead="reset",
    when_none="fail-open",
)
"""The NFs track connections: they let no part of one pass of which they have not seen the beginning."""


def chain_of(testbed: Testbed, name: str) -> wire.ChainStatus:
    return next(item for item in testbed.management.status().chains if item.name == name)


def verdict(testbed: Testbed, chain: str) -> str | None:
    found = chain_of(testbed, chain)
    return found.health.verdict if found.health else None


def told(testbed: Testbed, chain: str) -> list[wire.HistoryEntry]:
    return list(testbed.management.history(kind="health", chain=chain))


def talk(testbed: Testbed, name: str) -> None:
    with Talks(testbed.hosts["h1"], testbed.hosts["h2"], sessions=8, name=name) as talks:
        assert talks.wait_rounds(3).failures == ()


@isolated
def test_new_sessions_leave_a_chain_that_died_and_pass_by_when_none_is_left() -> None:
    with Testbed(timeouts=SHORT) as testbed:
        (name,) = testbed.network.segments
        segments = {name: testbed.network.segments[name].model_copy(update={"health": HEALTH})}
        chains = {chain: ChainConfig(nfs=list(nfs)) for chain, nfs in CHAINS.items()}
        document = testbed.network.model_copy(update={"segments": segments, "chains": chains})
        operation = testbed.management.apply(document)
        assert operation is not None
        wait_until(lambda: testbed.management.operation(operation.id).state == "succeeded", "applied")
        wait_until(lambda: {verdict(testbed, chain) for chain in CHAINS} == {"up"}, "both chains up")
        for (nf,) in CHAINS.values():
            seen = testbed.firewalls[nf].counters()
            assert min(seen.opened, seen.established) > 0, "probes went through it, and back"

        testbed.hosts["n1"].run(["ip", "link", "set", "n1-eth0", "down"])
        cut = time.monotonic()
        wait_until(lambda: verdict(testbed, "first") == "down", "seen as down")
        took = time.monotonic() - cut
        print(f"seen as down after {took:.3f} s")
        assert took <= HEALTH.fall * HEALTH.interval + 0.2 + 0.5, "looked at through two services"
        talk(testbed, "later")
        wait_until(lambda: len(told(testbed, "first")) == 1, "told")
        testbed.kill("ms")
        testbed.restart("ms")
        bypass = bypass_name(name)
        assert chain_of(testbed, bypass).new_sessions == 0

        testbed.hosts["n2"].run(["ip", "link", "set", "n2-eth0", "down"])
        wait_until(lambda: verdict(testbed, "second") == "down", "none is left")
        talk(testbed, "passing")
        assert (chain_of(testbed, bypass).new_sessions or 0) >= 8

        for nf in ("n1", "n2"):
            testbed.hosts[nf].run(["ip", "link", "set", f"{nf}-eth0", "up"])
        wait_until(lambda: {verdict(testbed, chain) for chain in CHAINS} == {"up"}, "up again")
        wait_until(lambda: len(told(testbed, "first")) == 2, "told again")
        fell, rose = told(testbed, "first")
        assert (fell.changes["verdict"], rose.changes["verdict"]) == (("up", "down"), ("down", "up"))
        assert "its sessions are reset (on_dead: reset); new ones go to other chains" in str(fell.text)
        assert "no chain is left: new ones pass by (fail-open)" in str(told(testbed, "second")[0].text)
        passed = chain_of(testbed, bypass).new_sessions
        talk(testbed, "again")
        assert chain_of(testbed, bypass).new_sessions == passed
