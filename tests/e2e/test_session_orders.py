"""Orders about sessions through the whole testbed, with firewalls that keep state as NFs."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from catenary import wire
from catenary.wire import TimeoutsModel
from tests.e2e.watching import judged
from tests.isolation import isolated
from topologies.hosts import inside
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.watching import wait_quiet, watch

TIMES = TimeoutsModel(
    tcp_opening=2, tcp_established=600, tcp_closing=1, udp=600, other=2, neighbour=2, lease=1, transit=0.5
)
DEADLINE_S = 4.0


def connect(testbed: Testbed) -> tuple[socket.socket, socket.socket]:
    """A connection from h1 to h2."""
    h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
    with inside(h2):
        listener = socket.create_server((h2.address(), 0))
    with inside(h1):
        near = socket.socket()
    with listener:
        near.settimeout(PATIENCE_S)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    far.settimeout(PATIENCE_S)
    return near, far


def talks(near: socket.socket, far: socket.socket) -> bool:
    try:
        for a, b in ((near, far), (far, near)):
            a.sendall(b"hello")
            if b.recv(5, socket.MSG_WAITALL) != b"hello":
                return False
    except ConnectionResetError:
        return False
    return True


def told(end: socket.socket) -> bool:
    try:
        end.sendall(b"anybody there?")
        end.recv(1)
    except ConnectionResetError:
        return True
    return False


def key_of(near: socket.socket) -> str:
    (a, port), (b, other) = near.getsockname(), near.getpeername()
    return f"tcp {a}:{port} {b}:{other}"


@isolated
def test_a_deadline_ends_what_is_left_and_a_session_is_reset_by_command() -> None:
    with Testbed(timeouts=TIMES) as testbed, ExitStack() as stack:
        management = testbed.management
        for number in (1, 2):
            testbed.add_chain([f"n{number}"], name=f"chain-{number}")
        taps = stack.enter_context(watch(testbed, "main", ("n1", "n2")))
        sessions = [connect(testbed) for _ in range(16)]
        chains = {ends: management.session(key_of(ends[0])).chain for ends in sessions}
        theirs = [ends for ends, chain in chains.items() if chain == "chain-1"]
        assert 0 < len(theirs) < len(sessions)

        begun = time.monotonic()
        removal = management.remove_chain("chain-1", deadline=DEADLINE_S, then="reset")
        assert all(talks(*ends) for ends in sessions), "until then they live"
        ended = management.wait(removal, PATIENCE_S)
        assert time.monotonic() - begun > DEADLINE_S
        assert (ended.state, ended.reset) == ("succeeded", len(theirs))
        assert all(told(ends[0]) and told(ends[1]) for ends in theirs)
        assert all(talks(*ends) for ends in sessions if ends not in theirs)

        near, far = next(ends for ends in sessions if ends not in theirs)
        key = key_of(near)
        assert management.end_session(wire.SessionRequest(key=key, mode="reset")).state == "reset"
        assert told(far)
        assert told(near)
        again = connect(testbed)
        assert talks(*again)
        counters = management.status().counters
        assert all(counted["affinity_mismatch"] == 0 for counted in counters.values())
        for ends in (*sessions, again):
            for end in ends:
                end.close()
        wait_quiet(taps)
        _, verdict = judged(taps, {"chain-1": ("n1",), "chain-2": ("n2",)})
        assert verdict.failures == (), [*map(str, verdict.bypassed)]
        assert verdict.sessions == len(sessions) + 1
