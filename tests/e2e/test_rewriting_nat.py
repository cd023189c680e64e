"""Chains of a real source NAT: sessions keep their chain while chains come and go and tables are lost."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.e2e.rewriting import UdpTalk, begin_removal, lose_tables, mismatches
from tests.isolation import isolated
from topologies.hosts import inside
from topologies.nfs.nat import Nat
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.translated import SERVER, TIMES, TcpTalk, rewriting_testbed, sides, wait_for_exchange

POOLS = {"n1": "10.9.1.0/24", "n2": "10.9.2.0/24", "n3": "10.9.3.0/24"}


@contextmanager
def nats(pools: dict[str, str]) -> Iterator[tuple[Testbed, dict[str, Nat]]]:
    """The testbed with a NAT for each of these pools; there are no chains yet."""
    with rewriting_testbed() as testbed, ExitStack() as stack:
        yield (
            testbed,
            {n: stack.enter_context(Nat(testbed.hosts[n], *sides(n), pool)) for n, pool in pools.items()},
        )


@isolated
def test_sessions_keep_their_nat_whatever_is_lost() -> None:
    with nats(POOLS) as (testbed, routers):
        talks: list[TcpTalk | UdpTalk] = []

        def more(count: int) -> None:
            talks.extend(TcpTalk(testbed) for _ in range(count))
            talks.extend(UdpTalk(testbed) for _ in range(count // 2))

        def all_talk() -> None:
            for item in talks:
                item.talk()

        def of(name: str) -> list[TcpTalk | UdpTalk]:
            return [item for item in talks if str(item.seen_as).startswith(f"('{POOLS[name][:-4]}")]

        testbed.add_chain(["n1"], name="one")
        testbed.add_chain(["n2"], name="two")
        more(10)
        all_talk()
        testbed.add_chain(["n3"], name="three")
        more(10)
        while not all(of(name) for name in POOLS):
            assert len(talks) < 100, [item.seen_as for item in talks]
            more(2)
        all_talk()

        wait_for_exchange(testbed)
        lose_tables(testbed, "l2")
        all_talk()

        removal = begin_removal(testbed, "one")
        leaving = of("n1")
        all_talk()
        more(4)
        assert of("n1") == leaving
        for item in leaving:
            item.close()
            talks.remove(item)
        # Nothing of it is left once its UDP sessions have rested long enough; the others go on meanwhile.
        until = time.monotonic() + TIMES.udp + PATIENCE_S
        while testbed.management.operation(removal.id).state == "running":
            assert time.monotonic() < until, "not drained"
            all_talk()
            time.sleep(0.2)
        assert testbed.management.operation(removal.id).state == "succeeded"

        wait_for_exchange(testbed)
        lose_tables(testbed, "l1")
        all_talk()
        more(4)
        all_talk()
        wait_for_exchange(testbed)
        lose_tables(testbed, "l2")
        all_talk()
        counters = {name: router.counters() for name, router in routers.items()}
        assert {name: count.stray for name, count in counters.items()} == dict.fromkeys(POOLS, 0)
        assert all(count.opened for count in counters.values()), counters
        assert mismatches(testbed) == {"l1": 0, "l2": 0}
        for item in talks:
            item.close()


@isolated
def test_pools_that_overlap_raise_the_alarm() -> None:
    """The same client port of two clients in two chains: outside they are one session."""
    with nats({"n1": POOLS["n1"], "n2": POOLS["n1"]}) as (testbed, _):
        for name in ("n1", "n2"):
            testbed.hosts[name].run(["nft", "flush", "chain", "ip", "nat", "translate"])
            rule = "nft add rule ip nat translate oifname {}-eth1 snat to 10.9.1.1"
            testbed.hosts[name].run(rule.format(name).split())
            testbed.add_chain([name])
        with inside(testbed.hosts["h2"]):
            server = socket.socket(type=socket.SOCK_DGRAM)
            server.bind((SERVER, 5000))
        clients = []
        for port in range(6000, 6016):
            for host in ("h1", "h3"):
                with inside(testbed.hosts[host]):
                    client = socket.socket(type=socket.SOCK_DGRAM)
                    client.bind(("", port))
                clients.append(client)

        def alarmed() -> bool:
            for client in clients:
                client.sendto(b"hello", (SERVER, 5000))
            return mismatches(testbed)["l2"] > 0

        wait_until(alarmed, "no affinity_mismatch at the slave", interval=0.2)
        wait_until(lambda: "affinity mismatch" in testbed.services.log_tail("l2", 100_000), "no event")
        for item in (*clients, server):
            item.close()


@isolated
def test_a_nats_own_arp_comes_back_to_it() -> None:
    with nats(POOLS) as (testbed, routers):
        for name in POOLS:
            testbed.add_chain([name])
        for name, nat in routers.items():
            for port, target in ((f"{name}-eth0", "10.0.0.1"), (f"{name}-eth1", SERVER)):
                assert resolves(nat, port, target), f"{name} asked for {target} and heard nothing"


def resolves(nat: Nat, port: str, target: str) -> bool:
    """Is an ARP request of the NF's own answered? It asks once: no second answer makes up for a lost one."""
    settings = [f"net.ipv4.neigh.{port}.mcast_solicit=1", f"net.ipv4.neigh.{port}.retrans_time_ms=20000"]
    nat.host.run(["sysctl", "-qw", *settings])
    nat.host.run(["ip", "neigh", "flush", "dev", port])
    with inside(nat.host), socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.sendto(b"", (target, 9))

    def entry() -> str:
        return nat.host.run(["ip", "neigh", "show", target, "dev", port])

    wait_until(lambda: any(end in entry() for end in ("lladdr", "FAILED")), f"no end of asking for {target}")
    return "lladdr" in entry()
