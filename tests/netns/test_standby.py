"""A standby takes its master's place: the machine of the active one is gone, its sessions are not (rule 8).

    client 10.0.0.1 -- c1 [sw_out] l1o [active]  l1i [sw_in] l2i [slave] l2o -- 10.0.0.2 server
                                   l3o [standby] l3i

Two bridges that learn nothing stand for the switches: whose ports are down there is fenced.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from catenary import wire
from catenary.part_clients import BalancerClient
from tests.isolation import isolated
from tests.netns.pair import CLIENT, SERVER, Session, ip, setting, wire_up
from tests.netns.test_lb_process import FIRST, SECOND, changed, connected, lb, slave
from topologies.services import wait_until

TRANSIT = 0.4
TIMES = ("--lease", "1", "--transit", str(TRANSIT), "--tcp-closing", "1")
ACTIVE, STANDBY = "http://127.0.0.1:8082", "http://127.0.0.1:8084"


def bridge_up() -> None:
    """The switches of the drawing, in the place of the wires of `wire_up`."""
    wire_up()
    for bridge, ports in (("sw_out", ("l1o", "l3o")), ("sw_in", ("l1i", "l3i"))):
        ip("link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
        ip("link", "set", bridge, "up")
        for port in ports[1:]:
            ip("link", "add", port, "type", "veth", "peer", "name", f"x{port}")
            ip("link", "set", port, "up")
    # The ends of the old wires go to the bridges, and the active one gets wires of its own.
    ip("link", "set", "l1o", "name", "c1")
    ip("link", "set", "l1i", "name", "m1")
    for port in ("l1o", "l1i"):
        ip("link", "add", port, "type", "veth", "peer", "name", f"x{port}")
        ip("link", "set", port, "up")
    for bridge, ports in (("sw_out", ("c1", "xl1o", "xl3o")), ("sw_in", ("m1", "xl1i", "xl3i"))):
        for port in ports:
            ip("link", "set", port, "master", bridge)
            ip("link", "set", port, "type", "bridge_slave", "learning", "off")
            ip("link", "set", port, "up" if "3" not in port else "down")
            off = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")
            if not setting.offloads:
                subprocess.run(("ethtool", "-K", port, *off), check=True, stdout=subprocess.DEVNULL)


def lead_to(link: str, state: str) -> None:
    for side in ("o", "i"):
        ip("link", "set", f"x{link}{side}", state)


@contextmanager
def processes(*plane: str) -> Iterator[subprocess.Popen[str]]:
    """Slave, active master and its standby; the active one's process."""
    with ExitStack() as stack:
        active = lb(
            "--role",
            "master",
            "--outer",
            "l1o",
            "--inner",
            "l1i",
            "--peer",
            "http://127.0.0.1:8083",
            *TIMES,
            *plane,
        )
        others = [
            slave(*plane),
            lb(
                "--role",
                "master",
                "--outer",
                "l3o",
                "--inner",
                "l3i",
                "--peer",
                "http://127.0.0.1:8083",
                "--port",
                "8084",
                "--standby-of",
                ACTIVE,
                *TIMES,
                *plane,
            ),
        ]
        for process in (active, *others):
            stack.callback(process.wait)
            stack.callback(process.kill)
        wait_until(lambda: connected(BalancerClient(ACTIVE)), "handshake")
        yield active


def standing(client: BalancerClient) -> wire.StandbyHealth:
    found = client.health().standby
    assert found is not None
    return found


def in_step(client: BalancerClient, pins: int) -> bool:
    found = standing(client)
    return found.lag is not None and found.reason is None and client.stats().pins >= pins


def chains(client: BalancerClient) -> dict[str, wire.Tags | None]:
    return {row.key: row.tags for row in client.list_sessions(limit=1000)}


def take_the_place(*plane: str, offloads: bool) -> None:
    setting.offloads = offloads
    bridge_up()
    with processes(*plane) as active:
        client, standby = BalancerClient(ACTIVE), BalancerClient(STANDBY)
        add = [wire.PairAdd(forward=pair.forward, reverse=pair.reverse) for pair in (FIRST, SECOND)]
        changed(client, wire.Change(add=add))
        sessions = [Session(opener, family) for opener in (CLIENT, SERVER) for family in (4, 6)]
        sessions += [Session() for _ in range(20)]
        for session in sessions:
            session.talk()
        wait_until(lambda: in_step(standby, client.stats().pins), "the standby has all sessions")
        before = client.stats()
        held = chains(client)
        assert standby.stats().counters["to_chain"] == 0
        late = Session()  # it may not have reached the standby: the slave knows it
        late.talk()
        active.kill()
        lead_to("l1", "down")
        lead_to("l3", "up")
        standby.take_over(wire.TakeOverOrder())
        for session in [*sessions, late]:
            session.talk()
        wait_until(lambda: standing(standby).state == "active", "the take-over")
        now = chains(standby)
        assert {key: now.get(key) for key in held} == held, "every pin that had reached it"
        assert connected(standby)
        with Session() as new:
            new.talk()
        stats = standby.stats()
        assert (stats.counters["orphaned"], stats.counters["affinity_mismatch"]) == (0, 0)
        assert stats.peer is not None
        assert stats.peer.counters["affinity_mismatch"] == before.peer.counters["affinity_mismatch"]  # type: ignore[union-attr]
        for session in [*sessions, late]:
            session.close()


@isolated
def test_ebpf() -> None:
    take_the_place(offloads=True)


@isolated
def test_af_packet() -> None:
    take_the_place("--data-plane", "af_packet", "--threads", "1", offloads=False)
