"""What may be sent when: causality and order whatever the network does, held by any schedule of arrivals."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.session import End, SessionKey
from experiments.replay.pacing import UNDER_WAY, WINDOW, Delivery, Player
from experiments.replay.sessions import Session, Step

WAIT_S = 2.0


def session(number: int, ways: list[bool], *, begin_ns: int = 0, gap_ns: int = 10**6) -> Session:
    """One whose packets go these ways (True: from the client); each is told apart by its data."""
    client, server = End(ip_address("192.0.2.1"), number), End(ip_address("192.0.2.2"), 80)
    steps = tuple(
        Step(begin_ns + place * gap_ns, way, f"{number}:{place}".encode()) for place, way in enumerate(ways)
    )
    return Session(SessionKey.of(client, server, 6), client, steps)


WAYS = st.lists(st.booleans(), min_size=1, max_size=40)


@given(
    st.lists(st.tuples(WAYS, st.integers(0, 10**8)), min_size=1, max_size=8),
    st.sampled_from([None, 0.5, 1.0, 100.0]),
    st.sampled_from([0.0, 0.05]),
    st.randoms(use_true_random=False),
)
def test_no_packet_goes_before_what_the_other_end_said_and_sessions_end(
    lanes: list[tuple[list[bool], int]], speed: float | None, loss: float, dice: random.Random
) -> None:
    sessions = [session(number, ways, begin_ns=begin) for number, (ways, begin) in enumerate(lanes)]
    first = min(lane.steps[0].time_ns for lane in sessions)
    player, now = Player(sessions, begin=5.0, speed=speed, wait_s=WAIT_S), 5.0
    network: list[Step] = []
    sent: dict[int, list[Step]] = {number: [] for number in range(len(sessions))}
    come: set[bytes] = set()
    while not player.over:
        player.expire(now)
        for step in player.send(now):
            number, place = map(int, step.data.split(b":"))
            before = sessions[number].steps[:place]
            assert sent[number] == list(before)  # the capture's order
            assert all(s.data in come for s in before if s.from_client != step.from_client)  # its causes
            assert sum(s.data not in come for s in before) < WINDOW
            if speed is not None:
                assert now >= 5.0 + (step.time_ns - first) / 1e9 / speed
            sent[number].append(step)
            if dice.random() >= loss:
                network.append(step)
        assert len(network) <= UNDER_WAY
        if network and dice.random() < 0.8:
            step = network.pop(dice.randrange(len(network)))
            come.add(step.data)
            player.arrived(step.from_client, step.data)
        elif not network:
            wake = player.wake()
            assert player.over or wake is not None
            now = max(now, wake or now)
    for number, delivery in enumerate(player.deliveries()):
        assert delivery.sent == len(sent[number])
        assert delivery.arrived == sum(s.data in come for s in sent[number])
        assert delivery.whole or loss
    assert (player.again, player.foreign) == (0, 0)


def test_an_answer_waits_for_its_question() -> None:
    player = Player([session(1, [True, False])], begin=0.0, speed=None)
    assert [step.data for step in player.send(0.0)] == [b"1:0"]
    assert list(player.send(1.0)) == []
    player.arrived(True, b"1:0")
    assert [step.data for step in player.send(1.0)] == [b"1:1"]


def test_packets_of_one_end_follow_at_once_up_to_a_window() -> None:
    player = Player([session(1, [True] * (WINDOW + 2))], begin=0.0, speed=None)
    assert len(list(player.send(0.0))) == WINDOW
    player.arrived(True, b"1:3")
    assert [step.data for step in player.send(0.0)] == [f"1:{WINDOW}".encode()]


def test_all_sessions_together_stay_below_a_bound() -> None:
    player = Player([session(number, [True]) for number in range(UNDER_WAY + 9)], begin=0.0, speed=None)
    assert len(list(player.send(0.0))) == UNDER_WAY
    assert player.wake() == pytest.approx(WAIT_S)


def test_what_is_lost_ends_its_session_and_no_other() -> None:
    player = Player([session(1, [True, False, True]), session(2, [True, False])], begin=0.0, speed=None)
    assert len(list(player.send(0.0))) == 2
    player.arrived(True, b"2:0")
    assert [step.data for step in player.send(0.1)] == [b"2:1"]
    player.expire(WAIT_S)
    player.arrived(False, b"2:1")
    assert player.over
    assert player.deliveries() == [Delivery(3, 1, 0), Delivery(2, 2, 2)]
    player.arrived(True, b"1:0")  # too late
    player.arrived(True, b"a RST of an NF")
    assert (player.again, player.foreign) == (1, 1)


def test_what_arrives_twice_is_counted_once() -> None:
    player = Player([session(1, [True])], begin=0.0, speed=None)
    assert len(list(player.send(0.0))) == 1
    player.arrived(True, b"1:0")
    player.arrived(True, b"1:0")
    assert (player.deliveries(), player.again) == ([Delivery(1, 1, 1)], 1)


def test_packets_that_are_alike_are_told_apart_by_their_number() -> None:
    alike = session(1, [True, True])
    same = Session(alike.key, alike.client, tuple(Step(step.time_ns, True, b"same") for step in alike.steps))
    player = Player([same], begin=0.0, speed=None)
    assert len(list(player.send(0.0))) == 2
    player.arrived(True, b"same")
    assert not player.over
    player.arrived(True, b"same")
    assert player.deliveries() == [Delivery(2, 2, 2)]


def test_the_pace_is_that_of_the_capture_times_the_speed() -> None:
    player = Player([session(1, [True, True], gap_ns=10**9)], begin=100.0, speed=4.0)
    assert len(list(player.send(100.0))) == 1
    player.arrived(True, b"1:0")
    assert player.wake() == pytest.approx(100.25)
    assert list(player.send(100.2)) == []
    assert len(list(player.send(100.25))) == 1
