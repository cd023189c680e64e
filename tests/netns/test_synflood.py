"""A flood of SYNs fills a small session table: who lives goes on, who is new is served."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from catenary import wire
from catenary.errors import Conflict
from catenary.tags import TagPair
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from tests.isolation import isolated
from tests.netns.pair import CLIENT, SERVER, LoadBalancers, Session, inside, wire_up
from tests.netns.test_pair import FIRST, SECOND, add, remove
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

TABLE = 1024
THIRD = TagPair(6, 7)


@dataclass
class Flood:
    """SYNs of the client's side to a host that is not there, each of an address and port of its own."""

    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, out: socket.socket) -> None:
        source = random.Random(1)
        frame = bytearray(bytes(Ether(dst="02:00:00:00:00:99") / IP(dst="10.0.0.99") / TCP(dport=9)))
        while not self.stop.is_set():
            frame[26:30] = source.randbytes(4)  # no one looks at checksums on the way
            frame[26] = 11
            frame[34:36] = source.randbytes(2)
            out.send(frame)
            self.sent += 1


@contextmanager
def flood() -> Iterator[Flood]:
    with inside(CLIENT):
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        out.bind(("c0", 0))
    made = Flood()
    thread = threading.Thread(target=made.run, args=(out,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        thread.join(PATIENCE_S)
        out.close()


def change(lbs: LoadBalancers, wanted: wire.Change) -> None:
    """By force, if the table overflows: then what has no pin may move, and nobody who talks has none."""
    try:
        lbs.master_client.change(wanted)
    except Conflict:
        lbs.master_client.change(wanted.model_copy(update={"force": True}))


@isolated
def test_a_flood_of_syns_costs_no_live_session_and_keeps_no_new_one_out() -> None:
    wire_up()
    with LoadBalancers(plane=lambda: EbpfDataPlane(pins=TABLE)) as lbs, ExitStack() as stack:
        lbs.master_client.change(add(FIRST, SECOND))
        live = [stack.enter_context(Session(opener)) for opener in (CLIENT, SERVER) for _ in range(20)]
        for session in live:
            session.talk()
        with flood() as attack:
            wait_until(lambda: lbs.counter("master", "evicted") > TABLE, "the table was full of SYNs")
            for wanted in (add(THIRD), remove(FIRST)):
                change(lbs, wanted)
                for session in live:
                    session.talk()
                for opener in (CLIENT, SERVER):
                    with Session(opener) as late:
                        late.talk()
        assert attack.sent > 2 * TABLE
        counters = lbs.master_client.stats().counters
        assert (counters["affinity_mismatch"], lbs.counter("slave", "affinity_mismatch")) == (0, 0)
        for session in live:
            session.talk()
