"""Orders about sessions, with real TCP: both ends of a reset one are told, moved ones go on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict, NotFound
from catenary.tags import TagPair
from tests.isolation import isolated
from tests.netns.pair import ADDRESS, CLIENT, SERVER, SHORT, LoadBalancers, Session, inside, wire_up
from tests.netns.test_pair import FIRST, SECOND, add, remove
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

IDLE_S = 3.0
"""So long, or less, a talking session may be silent when the machine stalls."""


def key_of(kind: str, near: socket.socket) -> str:
    ends = [address[:2] for address in (near.getsockname(), near.getpeername())]
    return " ".join([kind, *(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in ends)])


def end(lbs: LoadBalancers, key: str, mode: str = "reset") -> wire.SessionView:
    return lbs.master_client.end_session(wire.SessionOrder(key=key, mode=mode))  # type: ignore[arg-type]


def told(end: socket.socket, said: bytes = b"anybody there?") -> bool:
    """Does the application learn of the reset when it sends something?"""
    try:
        end.sendall(said)
        end.recv(1)
    except ConnectionResetError:
        return True
    return False


def chain_of(lbs: LoadBalancers, session: Session) -> int | None:
    tags = lbs.master_client.session(key_of("tcp", session.near)).tags
    return None if tags is None else tags.forward


def known(lbs: LoadBalancers, key: str) -> bool:
    """Is it live at the master? One that ended is told of for a while."""
    try:
        return lbs.master_client.session(key).ended is None
    except NotFound:
        return False


@contextmanager
def pair(*chains: TagPair) -> Iterator[LoadBalancers]:
    wire_up()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(*chains))
        yield lbs
        assert lbs.counter("master", "drop_internal") == lbs.counter("slave", "drop_internal") == 0


@isolated
def test_both_ends_of_a_reset_session_are_told_at_their_next_packet() -> None:
    with pair(FIRST) as lbs:
        sessions = [Session(opener, family) for opener in (CLIENT, SERVER) for family in (4, 6)]
        bystander = Session()
        for session in sessions:
            session.talk()
            key = key_of("tcp", session.near)
            assert end(lbs, key).tags is None
            assert told(session.near)
            assert told(session.far)
            assert lbs.master_client.session(key).state == "reset"
        bystander.talk()
        assert lbs.counter("master", "ordered_reset") == len(sessions)
        assert lbs.counter("master", "session_reset") >= len(sessions)
        assert lbs.counter("slave", "session_reset") >= len(sessions)
        assert lbs.counter("master", "affinity_mismatch") == lbs.counter("slave", "affinity_mismatch") == 0
        for session in (*sessions, bystander):
            session.close()


@isolated
def test_large_frames_are_answered_too() -> None:
    with pair(FIRST) as lbs:
        for family in (4, 6):
            session = Session(family=family)
            session.talk()
            end(lbs, key_of("tcp", session.near))
            assert told(session.near, bytes(60_000))
            assert told(session.far, bytes(60_000))
            session.close()


@isolated
def test_a_new_connection_on_the_same_ports_works_at_once() -> None:
    with pair(FIRST) as lbs:
        with inside(SERVER):
            listener = socket.create_server((ADDRESS[SERVER, 4], 0))
        with inside(CLIENT):
            old, new = socket.socket(), socket.socket()
        for near in (old, new):
            near.settimeout(PATIENCE_S)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        old.connect(listener.getsockname())
        port = old.getsockname()[1]
        far, _ = listener.accept()
        end(lbs, key_of("tcp", old))
        assert told(old)
        old.close()
        new.bind((ADDRESS[CLIENT, 4], port))
        new.connect(listener.getsockname())
        far.close()
        far, _ = listener.accept()
        new.sendall(b"hello")
        assert far.recv(5) == b"hello"
        for item in (new, far, listener):
            item.close()


def listed(lbs: LoadBalancers, **wanted: object) -> list[wire.SessionEntry]:
    return lbs.master_client.list_sessions(**wanted)


def check_lists(lbs: LoadBalancers, opened: dict[str, int | None]) -> None:
    """The lists and the life table of the master tell of the sessions that are open, by key and chain."""
    entries = listed(lbs, state="established")
    assert {entry.key: entry.tags and entry.tags.forward for entry in entries} == opened
    begun = [entry.origin.placed for entry in entries]
    assert begun == sorted(begun), "the oldest first"
    assert len(listed(lbs, state="established", sort="rate", limit=4)) == 4
    assert not listed(lbs, older=PATIENCE_S * 60)
    table = lbs.master_client.lives()
    for tags in (FIRST, SECOND):
        mine = {key for key, forward in opened.items() if forward == tags.forward}
        assert {entry.key for entry in listed(lbs, state="established", tags=tags.path)} == mine
        (pair,) = [pair for pair in table.pairs if pair.pair() == tags]
        assert sum(cell.sessions for cell in pair.cells if cell.state == "established") == len(mine)
        assert sum(cell.sessions for cell in pair.cells) == pair.sessions


@isolated
def test_what_is_left_of_a_chain_is_reset() -> None:
    with pair(FIRST, SECOND) as lbs:
        sessions = [Session() for _ in range(16)]
        chains = {session: chain_of(lbs, session) for session in sessions}
        assert set(chains.values()) == {FIRST.forward, SECOND.forward}
        check_lists(lbs, {key_of("tcp", session.near): chain for session, chain in chains.items()})
        with pytest.raises(Conflict, match=r"\(2, 3\) is active: remove it before"):
            lbs.master_client.end_sessions(FIRST, wire.Ending(then="reset"))
        lbs.master_client.change(remove(FIRST))
        ended = lbs.master_client.end_sessions(FIRST, wire.Ending(then="reset"))
        theirs = [session for session, chain in chains.items() if chain == FIRST.forward]
        assert (ended.reset, ended.moved, ended.sessions) == (len(theirs), 0, 0)
        assert lbs.master_client.end_sessions(FIRST, wire.Ending(then="reset")).reset == len(theirs)
        keys = {key_of("tcp", session.near) for session in theirs}
        assert {entry.key for entry in listed(lbs, state="reset")} == keys
        over = listed(lbs, ended=True, tags=FIRST.path)
        assert {entry.key for entry in over if entry.ended and entry.ended.why == "reset"} == keys
        for session in sessions:
            if session in theirs:
                assert told(session.near)
                assert told(session.far)
            else:
                session.talk()
        wait_until(lambda: not lbs.master_client.activity(FIRST).active, "drained")
        for session in sessions:
            session.close()


@isolated
def test_what_is_left_of_a_chain_is_moved() -> None:
    with pair(FIRST, SECOND) as lbs:
        sessions = [Session() for _ in range(16)]
        lbs.master_client.change(remove(FIRST))
        for session in sessions:
            session.talk()
        ended = lbs.master_client.end_sessions(FIRST, wire.Ending(then="rebalance"))
        assert ended.moved > 0
        assert ended.reset == 0
        for number, session in enumerate(sessions):
            (session.near if number % 2 else session.far).sendall(b"first")
            assert (session.far if number % 2 else session.near).recv(5) == b"first"
            session.talk()
        assert {chain_of(lbs, session) for session in sessions} == {SECOND.forward}
        wait_until(lambda: not lbs.master_client.activity(FIRST).active, "drained")
        for session in sessions:
            session.talk()
            session.close()


@isolated
def test_busy_sessions_leave_a_chain_too() -> None:
    """Packets under way while the order is carried out bring none of them back."""
    with pair(FIRST) as lbs:
        sessions = [Session() for _ in range(4)]
        lbs.master_client.change(add(SECOND))
        lbs.master_client.change(remove(FIRST))
        deadline = time.monotonic() + 1
        ended = None
        while ended is None or time.monotonic() < deadline:
            for session in sessions:
                session.talk()
            ended = ended or lbs.master_client.end_sessions(FIRST, wire.Ending(then="rebalance"))
        wait_until(lambda: not lbs.master_client.activity(FIRST).active, "drained")
        for session in sessions:
            session.talk()
            session.close()


@isolated
def test_one_session_is_moved() -> None:
    with pair(FIRST) as lbs:
        session, bystander = Session(), Session()
        key = key_of("tcp", session.near)
        with pytest.raises(Conflict, match="no other chain takes sessions"):
            end(lbs, key, "move")
        lbs.master_client.change(add(SECOND))
        moved = end(lbs, key, "move")
        assert moved.tags == wire.Tags.of(SECOND)
        for _ in range(3):
            session.talk()
        assert chain_of(lbs, session) == SECOND.forward
        assert chain_of(lbs, bystander) == FIRST.forward
        with pytest.raises(NotFound, match=r"tcp 10\.0\.0\.1:1 10\.0\.0\.2:2 is not known"):
            end(lbs, "tcp 10.0.0.1:1 10.0.0.2:2")
        for item in (session, bystander):
            item.talk()
            item.close()


@isolated
def test_udp_cant_be_told_and_is_moved() -> None:
    with pair(FIRST) as lbs:
        with inside(SERVER):
            far = socket.socket(type=socket.SOCK_DGRAM)
        far.bind((ADDRESS[SERVER, 4], 0))
        with inside(CLIENT):
            near = socket.socket(type=socket.SOCK_DGRAM)
        near.connect(far.getsockname())
        for item in (near, far):
            item.settimeout(PATIENCE_S)

        def talk() -> None:
            near.send(b"question")
            data, sender = far.recvfrom(100)
            far.sendto(data, sender)
            assert near.recv(100) == b"question"

        talk()
        with pytest.raises(Conflict, match=r"udp .* is no TCP connection"):
            end(lbs, key_of("udp", near))
        lbs.master_client.change(add(SECOND))
        lbs.master_client.change(remove(FIRST))
        ended = lbs.master_client.end_sessions(FIRST, wire.Ending(then="reset"))
        assert (ended.reset, ended.moved) == (0, 1)
        talk()
        assert lbs.master_client.session(key_of("udp", near)).tags == wire.Tags.of(SECOND)
        near.close()
        far.close()


@isolated
def test_only_idle_sessions_are_let_go() -> None:
    with pair(FIRST) as lbs:
        idle, busy = [Session() for _ in range(8)], Session()

        def ordered_in_time() -> bool:
            """What comes before a lease has lapsed lets nothing go; on a slow machine it may come later."""
            begun = time.monotonic()
            for session in (*idle, busy):
                session.talk()
            moved = lbs.master_client.rebalance(wire.Rebalance(move_idle=0)).moved
            in_time = time.monotonic() - begun < SHORT.lease
            assert not (in_time and moved), moved
            return in_time

        wait_until(ordered_in_time, "an order that comes in time")
        moved = lbs.counter("master", "ordered_move")
        lbs.master_client.change(add(SECOND))
        lbs.master_client.rebalance(wire.Rebalance(weights=[wire.PairAdd(forward=2, reverse=3, weight=0)]))
        keys = [key_of("tcp", session.near) for session in idle]

        def all_gone() -> bool:
            busy.talk()
            lbs.master_client.rebalance(wire.Rebalance(move_idle=IDLE_S))
            return not any(known(lbs, key) for key in keys)

        wait_until(all_gone, "all idle sessions are let go")
        assert lbs.counter("master", "ordered_move") - moved == len(idle)
        assert chain_of(lbs, busy) == FIRST.forward
        for session in idle:
            session.far.sendall(b"hello")
            assert session.near.recv(5) == b"hello"
            session.talk()
            assert chain_of(lbs, session) == SECOND.forward
        assert lbs.counter("master", "affinity_mismatch") == lbs.counter("slave", "affinity_mismatch") == 0
        assert lbs.master_client.activity(FIRST).state is PairState.ACTIVE
        for session in (*idle, busy):
            session.close()
