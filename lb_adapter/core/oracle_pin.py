"""The oracle of `pin.h`: what a pin says, and what a packet makes of it, in plain Python.

Written from affinity rules 1 and 5 (docs/ARCHITECTURE.md). `now` is ms of any clock that only grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from catenary.session import Timeouts
from lb_adapter.core.oracle import ADDRESSES, ARP, CLIENT, ND, TCP, UDP

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
FROM_CLIENT, FROM_SERVER = 1, 2
FOREIGN = 63
"""The outer endpoint of a pin that belongs to the other load balancer (rule 2)."""
BOTH = FROM_CLIENT | FROM_SERVER


class State(IntEnum):
    """Of a pin; the numbers are those of `enum pin_state`."""

    OTHER = 0
    UDP = 1
    OPENING = 2
    ESTABLISHED = 3
    CLOSING = 4
    REOPENING = 5
    NEIGHBOUR = 6
    RESET = 7
    """A tombstone: the TCP connection was reset by order. It belongs to no chain."""


class Pin(NamedTuple):
    slot: int
    generation: int
    state: State
    seen: int
    """ms; of a closing pin the moment at which closing began."""
    fins: int = 0
    dead: bool = False
    outer: int = 0
    """Endpoint of the outer side."""

    @classmethod
    def of(cls, word: int) -> Pin:
        """From the 64 bits of `struct pin`."""
        state, fins = State(word >> 58 & 7), word >> 61 & 3
        outer, generation = word >> 42 & 63, word >> 48 & 0x3FF
        return cls(word >> 32 & 0x3FF, generation, state, word & 0xFFFFFFFF, fins, bool(word >> 63), outer)

    def word(self) -> int:
        """The 64 bits of `struct pin`."""
        state = self.dead << 63 | self.fins << 61 | self.state << 58
        where = self.generation << 48 | self.outer << 42 | self.slot << 32
        return state | where | self.seen & 0xFFFFFFFF


class Story(NamedTuple):
    """What is told of a pin, for people: how it came to be (`enum cause`), and what it carried since.

    `load` are the live sessions of its slot just before; `other` is the slot that p2c did not take, or that
    it was moved from.
    """

    cause: str
    at: int
    load: int
    other: int | None = None
    packets: int = 0
    size: int = 0


@dataclass(frozen=True)
class Times:
    """All in ms: L, D, and tau of each state; a reopening pin and a tombstone have an established one's."""

    lease: int
    transit: int
    tau: Mapping[State, int]

    @classmethod
    def of(cls, timeouts: Timeouts) -> Times:
        seconds = {
            State.OTHER: timeouts.other,
            State.UDP: timeouts.udp,
            State.OPENING: timeouts.tcp_opening,
            State.ESTABLISHED: timeouts.tcp_established,
            State.CLOSING: timeouts.tcp_closing,
            State.NEIGHBOUR: timeouts.neighbour,
        }
        tau = {state: round(value * 1000) for state, value in seconds.items()}
        return cls(round(timeouts.lease * 1000), round(timeouts.transit * 1000), tau)

    def promised(self, state: State) -> int:
        """tau."""
        return self.tau[State.ESTABLISHED if state in (State.REOPENING, State.RESET) else state]

    @cached_property
    def life(self) -> Mapping[State, int]:
        """Rule 5: T = tau + L + 2 D from `seen` on; a closing pin may have seen a packet 2 D later."""
        late = {State.CLOSING: 2 * self.transit}
        return {
            state: self.promised(state) + self.lease + 2 * self.transit + late.get(state, 0)
            for state in State
        }


def opens(flags: int) -> bool:
    """A pure SYN opens a session; a SYN-ACK only answers one."""
    return bool(flags & SYN) and not flags & ACK


def revives(flags: int) -> bool:
    """Does this packet open a new connection where one was reset?"""
    return opens(flags) and not flags & RST


def first_state(kind: int, flags: int) -> State:
    """The state of a key's first packet; TCP met in the middle is established."""
    if kind == TCP:
        if flags & RST:
            return State.CLOSING
        return State.OPENING if opens(flags) else State.ESTABLISHED
    # Whatever a coarse key stands for may be an idle TCP session.
    coarse = {ADDRESSES: State.ESTABLISHED, CLIENT: State.ESTABLISHED}
    return {UDP: State.UDP, ARP: State.NEIGHBOUR, ND: State.NEIGHBOUR, **coarse}.get(kind, State.OTHER)


def weighs(pin: Pin) -> bool:
    """Is a master's pin a session that p2c weighs? A closing one is none, nor who asked for whose address."""
    return pin.state not in (State.CLOSING, State.NEIGHBOUR)


def age(pin: Pin, now: int) -> int:
    return max(0, now - pin.seen)


def expired(pin: Pin, now: int, times: Times) -> bool:
    return now - pin.seen >= times.life[pin.state]


def leased(pin: Pin, now: int, times: Times) -> bool:
    """Rule 5: may the slave use it without asking?"""
    return age(pin, now) < times.lease


def refreshed(pin: Pin, now: int, flags: int, side: int, transit: int) -> Pin:
    """The master's pin after a packet from `side` (rule 5). No flags: no TCP, or not to be believed."""
    seen = pin._replace(seen=now)
    if pin.state not in (State.OPENING, State.ESTABLISHED, State.CLOSING, State.REOPENING):
        return seen
    if opens(flags):
        # It may be a late copy of the session's own SYN, or forged, and so may be the RST before it: a long
        # life stays long.
        reset = pin.state is State.CLOSING and pin.fins != BOTH and age(pin, now) <= 2 * transit
        long = reset or pin.state in (State.ESTABLISHED, State.REOPENING)
        return seen._replace(state=State.REOPENING if long else State.OPENING, fins=0)
    fin = side if flags & FIN else 0
    if pin.state is State.CLOSING:
        if age(pin, now) <= 2 * transit:
            return pin
        if pin.fins == BOTH or flags & RST or fin & pin.fins:
            return seen  # over, but the slave's lease may have been renewed: the pin must outlive it
        return seen._replace(state=State.ESTABLISHED, fins=fin)
    if pin.state in (State.OPENING, State.REOPENING) and side == FROM_SERVER:
        # It may be the last session's: only the client's ACK shows that this one's handshake is over.
        return seen
    fins = pin.fins | fin
    if flags & RST or fins == BOTH:
        return seen._replace(state=State.CLOSING, fins=fins)
    return seen._replace(state=State.ESTABLISHED if flags & ACK else pin.state, fins=fins)


def renewed(old: Pin, fresh: Pin, flags: int, side: int, transit: int) -> Pin:
    """The slave's lease after a packet that proves it; `fresh` is what that packet alone would write."""
    fins = 0 if opens(flags) else old.fins
    fins |= side if flags & FIN else 0
    fresh = fresh._replace(fins=fins)
    lingers = (
        fresh.state is State.ESTABLISHED
        and old.state is State.CLOSING
        and age(old, fresh.seen) <= 2 * transit
    )
    if flags & RST or fins == BOTH:
        return fresh._replace(state=State.CLOSING)
    if fresh.state is State.OPENING and old.state in (State.ESTABLISHED, State.REOPENING):
        return fresh._replace(state=State.REOPENING)  # it may be a copy of its own SYN, or forged
    return fresh._replace(state=State.CLOSING) if lingers else fresh


def server_ends(lease: Pin) -> Pin:
    """The slave's lease after the server's FIN: that proves nothing, but closes what the client closed."""
    if lease.state is not State.ESTABLISHED:
        return lease
    fins = lease.fins | FROM_SERVER
    return lease._replace(fins=fins, state=State.CLOSING if fins & FROM_CLIENT else lease.state)
