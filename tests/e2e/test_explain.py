"""What is explained of sessions, live, ended, translated and yet to come, against what the taps saw."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

from catenary import pcap
from catenary.explanations import Explanation, SegmentExplanation, SessionStatus
from catenary.session import End, SessionKey
from catenary.wire import TimeoutsModel
from lb_adapter.core.oracle import parse
from tests.e2e.rewriting import SERVER, TcpTalk, inside, rewriting_testbed, sides, wait_for_exchange
from tests.e2e.watching import wait_quiet, watch
from tests.isolation import isolated
from topologies.nfs.nat import Nat
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from witness.recording import Recording
from witness.sightings import FORWARD, REVERSE, read

SESSIONS = int(os.environ.get("CATENARY_EXPLAINED", "24"))
"""So many of each kind; `make bench-mgmt` takes more."""
TIMES = TimeoutsModel(
    tcp_opening=600,
    tcp_established=600,
    tcp_closing=1,
    udp=600,
    other=600,
    neighbour=600,
    lease=1,
    transit=0.5,
)
"""Nothing expires, but what is closed: loads change when this test says so."""
CHAINS = {f"chain-{number}": (f"n{number}",) for number in (1, 2, 3)}
Crossed = dict[SessionKey, tuple[list[str], list[str]]]


def crossed(recording: Recording) -> Crossed:
    """The NFs at which each key was seen, from client to server and back, in the order of their sightings."""
    rows = read(recording, 0)
    seen: dict[tuple[int, int], dict[str, None]] = defaultdict(dict)
    for row in sorted(range(len(rows.session)), key=lambda row: int(rows.first_ns[row])):
        nf = recording.places[int(rows.place[row])].nf
        if nf and rows.known[row]:
            seen[int(rows.session[row]), int(rows.direction[row])][nf] = None
    sessions = {session for session, _ in seen}
    return {
        recording.key(session): (list(seen[session, FORWARD]), list(seen[session, REVERSE]))
        for session in sessions
    }


def differences(told: Iterable[Explanation], seen: Crossed, status: SessionStatus) -> list[str]:
    """What is told otherwise than the taps saw it, in either direction."""
    found = []
    for item in told:
        (segment,) = item.segments
        forward, reverse = seen[SessionKey.parse(item.key)]
        said = (segment.status, segment.nfs, segment.nfs[::-1], _hops(segment))
        if said != (status, forward, reverse, (forward, reverse)) or segment.faults:
            found.append(f"{item.summary}: said {said}, seen {forward} and {reverse} {segment.faults}")
    return found


def _hops(item: SegmentExplanation) -> tuple[list[str], list[str]]:
    """The NFs into which the rules lead, each way."""
    there, back = (
        [hop.target.partition(".")[0] for hop in hops if hop.target.endswith(("ingress", "egress"))]
        for hops in (item.forward, item.reverse)
    )
    return there, back


class Talk:
    """A connection from h1, from a port that is known before it is opened."""

    def __init__(self, testbed: Testbed, listener: socket.socket) -> None:
        self._listener = listener
        with inside(testbed.hosts["h1"]):
            self.near = socket.socket()
            self.near.bind((testbed.hosts["h1"].address(), 0))
        self.near.settimeout(PATIENCE_S)
        self.key = key_of(self.near.getsockname(), listener.getsockname())

    def open(self) -> None:
        self.near.connect(self._listener.getsockname())
        self.far, _ = self._listener.accept()
        self.far.settimeout(PATIENCE_S)
        for a, b in ((self.near, self.far), (self.far, self.near)):
            a.sendall(b"hello")
            assert b.recv(5, socket.MSG_WAITALL) == b"hello"

    def close(self) -> None:
        self.near.close()
        self.far.close()


def key_of(a: tuple[str, int], b: tuple[str, int]) -> SessionKey:
    return SessionKey.of(End(ip_address(a[0]), a[1]), End(ip_address(b[0]), b[1]), 6)


def explained(testbed: Testbed, keys: Sequence[SessionKey]) -> list[Explanation]:
    return [testbed.management.explain(key.text) for key in keys]


def status_of(testbed: Testbed, key: SessionKey) -> SessionStatus:
    return testbed.management.explain(key.text).segments[0].status


@isolated
def test_live_ended_and_coming_sessions_go_where_it_is_said(tmp_path: Path) -> None:
    with Testbed(timeouts=TIMES, nf_rate_mbit=None) as testbed, ExitStack() as stack:
        for name, nfs in CHAINS.items():
            testbed.add_chain(nfs, name=name)
        with inside(testbed.hosts["h2"]):
            server = socket.create_server((testbed.hosts["h2"].address(), 0), backlog=64)
        listener = stack.enter_context(server)
        listener.settimeout(PATIENCE_S)
        taps = stack.enter_context(watch(testbed, "main", ("n1", "n2", "n3")))

        talks = [Talk(testbed, listener) for _ in range(2 * SESSIONS)]
        for talk in talks:
            talk.open()
        coming = [Talk(testbed, listener) for _ in range(SESSIONS)]
        said = {}
        for talk in coming:
            (told,) = testbed.management.explain(talk.key.text).segments
            assert (told.status, told.master) == ("new", None)
            said[talk.key] = told
            talk.open()
        leaving, staying = talks[:SESSIONS], talks[SESSIONS:]
        for talk in leaving:
            talk.close()
        live = explained(testbed, [talk.key for talk in staying])
        capture = testbed.management.capture(
            said[coming[0].key].chain or "",
            session=coming[0].key.text,
            seconds=PATIENCE_S,
            packets=2,
        )
        records = pcap.whole_records(capture)
        next(records)
        for talk in (*staying, *coming):
            talk.near.sendall(b"once more")
        frames = [record[16:] for record in records]
        assert {parse(frame[:12] + frame[16:]).key for frame in frames} == {coming[0].key}
        last = leaving[-1].key
        wait_until(lambda: status_of(testbed, last) == "ended", "sessions that were closed do not end")
        ended = explained(testbed, [talk.key for talk in leaving])
        wait_quiet(taps)
        seen = crossed(taps.snapshot(CHAINS))

        assert differences(live, seen, "live") == []
        assert differences(ended, seen, "ended") == []
        wrong = [told for key, told in said.items() if seen[key] != (told.nfs, told.nfs[::-1])]
        assert wrong == []
        assert {tuple(told.nfs) for told in said.values()} == set(CHAINS.values())
        because = live[0].segments[0].because
        assert because[0].startswith("l1 placed it at its first packet"), because
        assert all(hop.packets for hop in live[0].segments[0].forward), live[0]
        for talk in (*staying, *coming):
            talk.close()


@isolated
def test_translated_sessions_are_told_by_both_of_their_keys() -> None:
    pools = {"n1": "10.9.1.0/24", "n2": "10.9.2.0/24"}
    with rewriting_testbed() as testbed, ExitStack() as stack:
        for name, pool in pools.items():
            stack.enter_context(Nat(testbed.hosts[name], *sides(name), pool))
            testbed.add_chain([name], name=f"chain-{name[1:]}")
        taps = stack.enter_context(watch(testbed, "main", pools))
        talks = [TcpTalk(testbed) for _ in range(SESSIONS // 2)]
        for talk in talks:
            talk.talk()
        wait_for_exchange(testbed)
        inner = [key_of(talk.near.getsockname(), talk.near.getpeername()) for talk in talks]
        outer = [key_of(talk.seen_as, (SERVER, talk.near.getpeername()[1])) for talk in talks]
        told = explained(testbed, inner + outer)
        wait_quiet(taps)
        seen = crossed(taps.snapshot({f"chain-{name[1:]}": (name,) for name in pools}))
        assert differences(told, seen, "live") == []
        chains = [item.segments[0].chain for item in told]
        assert chains[: len(inner)] == chains[len(inner) :]
        assert {"chain-1", "chain-2"} == set(chains)
        sides_told = [" ".join(item.segments[0].because) for item in told]
        assert all("on the clients' side of the chain" in text for text in sides_told[: len(inner)])
        assert all("on the servers' side of the chain" in text for text in sides_told[len(inner) :])
        for talk in talks:
            talk.close()
