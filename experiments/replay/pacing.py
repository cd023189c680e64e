"""What of a capture's sessions may be sent now: in order, and no answer before its question. Pure.

A packet is due when its time comes, and may go once all that the other end said before it has arrived. What
its own end said before it may still be on the way, in order: at most `WINDOW` packets of a session are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.replay.sessions import Session, Step

WINDOW = 16
UNDER_WAY = 64
"""Packets of all sessions together: fewer than the shortest queue on the way holds. That is the socket by
which Open vSwitch reads a port: 212,992 bytes by default, of which a full frame takes 2,304."""


@dataclass(frozen=True)
class Delivery:
    """What became of a session: of its `packets`, how many were sent, and how many arrived.

    One that did not arrive in time ends the session: what follows in the capture was said upon it.
    """

    packets: int
    sent: int
    arrived: int

    @property
    def whole(self) -> bool:
        return self.arrived == self.packets


class _Lane:
    """A session as far as it was sent. `under_way`: (step, deadline in s) of what has not arrived."""

    def __init__(self, session: Session) -> None:
        self.steps = session.steps
        self.sent = 0
        self.arrived = 0
        self.under_way: deque[tuple[Step, float]] = deque()
        self.over = False

    @property
    def next(self) -> Step | None:
        return None if self.over or self.sent == len(self.steps) else self.steps[self.sent]

    def free(self) -> bool:
        """May the next packet go, whenever it is due?"""
        step = self.next
        if step is None or len(self.under_way) >= WINDOW:
            return False
        return all(before.from_client == step.from_client for before, _ in self.under_way)


class Player:
    """Plays sessions at `speed` times the pace of the capture (None: as fast as packets arrive).

    `wait_s`: a packet that takes longer is lost. All times are seconds of one clock, of which `begin` is now.
    `again` counts packets that arrived once more, or too late; `foreign` those that nobody sent: an NF's own.
    """

    def __init__(
        self, sessions: Sequence[Session], *, begin: float, speed: float | None = 1.0, wait_s: float = 2.0
    ) -> None:
        self._lanes = [_Lane(session) for session in sessions]
        self._begin = begin
        self._speed = speed
        self._wait_s = wait_s
        self._first_ns = min((lane.steps[0].time_ns for lane in self._lanes), default=0)
        self._free = [(lane.steps[0].time_ns, number) for number, lane in enumerate(self._lanes)]
        heapq.heapify(self._free)
        self._deadlines: list[tuple[float, int]] = []
        self._sender: dict[tuple[bool, bytes], int] = {}
        self._under_way = 0
        self.again = 0
        self.foreign = 0

    @property
    def over(self) -> bool:
        """Has everything arrived, or been given up?"""
        return not self._free and self._under_way == 0

    def deliveries(self) -> list[Delivery]:
        """Of each session, in the order given."""
        return [Delivery(len(lane.steps), lane.sent, lane.arrived) for lane in self._lanes]

    def send(self, now: float) -> Iterator[Step]:
        """What goes now, in the order of the capture as far as sessions leave it open. Send all of it."""
        while self._free and self._under_way < UNDER_WAY and self._due(self._free[0][0]) <= now:
            _, number = heapq.heappop(self._free)
            lane = self._lanes[number]
            step = lane.next
            assert step is not None
            lane.sent += 1
            lane.under_way.append((step, now + self._wait_s))
            heapq.heappush(self._deadlines, (now + self._wait_s, number))
            self._sender[step.from_client, step.data] = number
            self._under_way += 1
            self._offer(number)
            yield step

    def arrived(self, from_client: bool, data: bytes) -> None:
        """A packet came to the servers' end (or, if not `from_client`, to the clients')."""
        number = self._sender.get((from_client, data))
        if number is None:
            self.foreign += 1
            return
        lane = self._lanes[number]
        mine = next((item for item in lane.under_way if item[0].data == data), None)
        if mine is None:
            self.again += 1
            return
        was_free = lane.free()
        lane.under_way.remove(mine)
        lane.arrived += 1
        self._under_way -= 1
        if not was_free:
            self._offer(number)

    def expire(self, now: float) -> None:
        """Give up what is not there in time, and its session."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number = heapq.heappop(self._deadlines)
            lane = self._lanes[number]
            if lane.under_way and lane.under_way[0][1] <= now:
                self._give_up(number)

    def wake(self) -> float | None:
        """When there is something to do, if nothing arrives before; None if nothing ever."""
        moments = [self._due(self._free[0][0])] if self._free and self._under_way < UNDER_WAY else []
        moments += [self._deadlines[0][0]] if self._deadlines and self._under_way else []
        return min(moments, default=None)

    def _due(self, time_ns: int) -> float:
        if self._speed is None:
            return self._begin
        return self._begin + (time_ns - self._first_ns) / 1e9 / self._speed

    def _give_up(self, number: int) -> None:
        lane = self._lanes[number]
        if lane.free():
            self._free.remove((lane.steps[lane.sent].time_ns, number))
            heapq.heapify(self._free)
        lane.over = True
        self._under_way -= len(lane.under_way)
        lane.under_way.clear()

    def _offer(self, number: int) -> None:
        """Put a session among those that may send, if it may: it is there once at most."""
        lane = self._lanes[number]
        if lane.free():
            assert lane.next is not None
            heapq.heappush(self._free, (lane.next.time_ns, number))
