"""What is explained of sessions, against what the taps saw: live, ended, translated, and yet to come."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address

from catenary.errors import Unavailable
from catenary.explanations import SegmentExplanation, SessionStatus
from catenary.session import End, SessionKey
from catenary.wire import TimeoutsModel
from experiments.management.plan import Plan, Say
from experiments.part import Part
from experiments.summary import Claim, Figure
from topologies.hosts import inside
from topologies.nfs.nat import Nat
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.translated import SERVER, TcpTalk, rewriting_testbed, sides, wait_for_exchange
from topologies.watching import wait_quiet, watch
from witness.recording import Recording
from witness.sightings import FORWARD, REVERSE, read

CLAIMS = (
    Claim("explain_differs", at_least=0, at_most=0),
    Claim("foretold_differs", at_least=0, at_most=0),
)
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
"""Nothing expires, but what is closed: loads change when it is said here."""
CHAINS = {f"chain-{number}": (f"n{number}",) for number in (1, 2, 3)}
POOLS = {"n1": "10.9.1.0/24", "n2": "10.9.2.0/24"}
"""Addresses to which each NF translates."""
Crossed = dict[SessionKey, tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Comparison:
    """Sessions of one kind: all answers about them, and those that say otherwise than the taps saw it."""

    sessions: int
    told: Sequence[SegmentExplanation]
    differences: Sequence[str]


def measure(plan: Plan, say: Say) -> Part:
    """`explain_differs`, and `foretold_differs` of sessions that were opened only then: wrong answers."""
    found: dict[str, Comparison] = {}
    with Testbed(timeouts=TIMES, nf_rate_mbit=None) as testbed, ExitStack() as stack:
        compared, _ = plain(testbed, plan.compared, stack)
    found |= compared
    _report(compared, say)
    with rewriting_testbed() as testbed, ExitStack() as stack:
        found["translated"] = translated(testbed, plan.compared, stack)
    _report({"translated": found["translated"]}, say)
    new = found.pop("new")
    kinds = ", ".join(f"{item.sessions} {kind}" for kind, item in found.items())
    wrong = [difference for item in found.values() for difference in item.differences]
    figures = {
        "explain_differs": Figure(len(wrong), f"of the answers about {kinds} sessions"),
        "foretold_differs": Figure(len(new.differences), f"of {new.sessions} sessions, opened afterwards"),
    }
    return Part(figures, CLAIMS, [*wrong, *new.differences])


def _report(found: dict[str, Comparison], say: Say) -> None:
    for kind, item in found.items():
        say(f"{item.sessions} {kind} sessions compared, {len(item.differences)} wrong answers")


def plain(testbed: Testbed, count: int, stack: ExitStack) -> tuple[dict[str, Comparison], list[Talk]]:
    """So many live ones, ended ones, and new ones that are then opened. The last ones, all open still.

    What must end afterwards is on the stack.
    """
    for name, nfs in CHAINS.items():
        testbed.add_chain(nfs, name=name)
    with inside(testbed.hosts["h2"]):
        server = socket.create_server((testbed.hosts["h2"].address(), 0), backlog=64)
    listener = stack.enter_context(server)
    listener.settimeout(PATIENCE_S)
    taps = stack.enter_context(watch(testbed, "main", [nf for nfs in CHAINS.values() for nf in nfs]))

    def talk() -> Talk:
        made = Talk(testbed, listener)
        stack.callback(made.close)
        return made

    leaving, staying, coming = ([talk() for _ in range(count)] for _ in range(3))
    for each in (*leaving, *staying):
        each.open()
    new = []
    for each in coming:
        new.append(explained(testbed, each.key))
        each.open()
    for each in leaving:
        each.close()
    live = [explained(testbed, each.key) for each in staying]
    for each in (*staying, *coming):
        each.near.sendall(b"once more")
    last = leaving[-1].key
    wait_until(lambda: explained(testbed, last).status == "ended", "sessions that were closed do not end")
    ended = [explained(testbed, each.key) for each in leaving]
    wait_quiet(taps)
    seen = crossed(taps.snapshot(CHAINS))
    found = {
        "live": _compared(staying, live, seen, "live"),
        "ended": _compared(leaving, ended, seen, "ended"),
        "new": _compared(coming, new, seen, "new"),
    }
    return found, coming


def translated(testbed: Testbed, count: int, stack: ExitStack) -> Comparison:
    """So many sessions through NFs that translate, each told by both of its keys."""
    for name, pool in POOLS.items():
        stack.enter_context(Nat(testbed.hosts[name], *sides(name), pool))
        testbed.add_chain([name], name=f"chain-{name[1:]}")
    taps = stack.enter_context(watch(testbed, "main", POOLS))
    talks = []
    for _ in range(count):
        talks.append(TcpTalk(testbed))
        stack.callback(talks[-1].close)
        talks[-1].talk()
    wait_for_exchange(testbed)
    keys = [key_of(talk.near.getsockname(), talk.near.getpeername()) for talk in talks]
    keys += [key_of(talk.seen_as, (SERVER, talk.near.getpeername()[1])) for talk in talks]
    told = [explained(testbed, key) for key in keys]
    wait_quiet(taps)
    seen = crossed(taps.snapshot({f"chain-{name[1:]}": (name,) for name in POOLS}))
    return Comparison(count, told, differences(keys, told, seen, "live"))


class Talk:
    """A connection from h1, from a port that is known before it is opened."""

    def __init__(self, testbed: Testbed, listener: socket.socket) -> None:
        self._listener = listener
        with inside(testbed.hosts["h1"]):
            self.near = socket.socket()
            self.near.bind((testbed.hosts["h1"].address(), 0))
        self.near.settimeout(PATIENCE_S)
        self.far: socket.socket | None = None
        self.key = key_of(self.near.getsockname(), listener.getsockname())

    def open(self) -> None:
        """With a word each way."""
        self.near.connect(self._listener.getsockname())
        self.far, _ = self._listener.accept()
        self.far.settimeout(PATIENCE_S)
        for a, b in ((self.near, self.far), (self.far, self.near)):
            a.sendall(b"hello")
            if b.recv(5, socket.MSG_WAITALL) != b"hello":
                raise Unavailable(f"session {self.key.text} is cut")

    def close(self) -> None:
        self.near.close()
        if self.far is not None:
            self.far.close()


def key_of(a: tuple[str, int], b: tuple[str, int]) -> SessionKey:
    return SessionKey.of(End(ip_address(a[0]), a[1]), End(ip_address(b[0]), b[1]), socket.IPPROTO_TCP)


def explained(testbed: Testbed, key: SessionKey) -> SegmentExplanation:
    (segment,) = testbed.management.explain(key.text).segments
    return segment


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


def _compared(
    talks: Sequence[Talk], told: Sequence[SegmentExplanation], seen: Crossed, status: SessionStatus
) -> Comparison:
    keys = [talk.key for talk in talks]
    return Comparison(len(talks), told, differences(keys, told, seen, status))


def differences(
    keys: Sequence[SessionKey], told: Sequence[SegmentExplanation], seen: Crossed, status: SessionStatus
) -> list[str]:
    """What is told of each of the keys otherwise than the taps saw it, in either direction."""
    found = []
    for key, item in zip(keys, told, strict=True):
        forward, reverse = seen.get(key, ([], []))
        said = (item.status, item.nfs, item.nfs[::-1], _hops(item))
        if not forward or said != (status, forward, reverse, (forward, reverse)) or item.faults:
            found.append(f"{key.text}: said {said}, seen {forward} and {reverse} {item.faults}")
    return found


def _hops(item: SegmentExplanation) -> tuple[list[str], list[str]]:
    """The NFs into which the rules lead, each way."""
    there, back = (
        [hop.target.partition(".")[0] for hop in hops if hop.target.endswith(("ingress", "egress"))]
        for hops in (item.forward, item.reverse)
    )
    return there, back
