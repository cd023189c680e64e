"""What load balancers say to each other, and a standby is told."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from catenary.wire.balancer import (
    PROTOCOL,
    ChainSet,
    Epoch,
    Generation,
    Idle,
    Slot,
    SweepMode,
    Term,
    TimeoutsModel,
)
from catenary.wire.common import Affinity, Model, SessionText, VlanId


class ChainSetUpdate(Model):
    """Master to slave: the chain set of a new epoch. Only the master that greeted last is obeyed."""

    master_id: str
    chain_set: ChainSet


class Handshake(Model):
    """Master to slave, at start and whenever either of them restarted: all that the slave must know.

    `slave_id` is the process that is greeted: no later one takes what was meant for it. `term` counts how
    often a standby took the master's place: who is of an earlier one was fenced, and is refused. `slave_term`
    is the same of the slave's place: the slave remembers it for a master that is started anew.
    """

    protocol: Annotated[int, Strict()]
    term: Term = 0
    slave_term: Term = 0
    master_id: str
    slave_id: str
    ask_id: VlanId
    affinity: Affinity
    timeouts: TimeoutsModel
    chain_set: ChainSet


class HandshakeReply(Model):
    protocol: int = PROTOCOL
    slave_id: str
    epoch: Epoch
    capacity: int
    """Sessions that its table has room for."""


class Dismissal(Model):
    """Master to a slave process whose place a standby has taken, for the `slave_term`-th time."""

    slave_id: str
    slave_term: Term


class NonceRequest(Model):
    """Master to slave: the nonce of its next order."""

    master_id: str


class Nonce(Model):
    """It is good for one order, within the time that a master waits for its slave, and until the next one."""

    nonce: Annotated[str, Field(min_length=1, max_length=64)]


class SweepOrder(Nonce):
    """Master to slave: let go of what the master is about to end.

    The `nonce` is the last that the slave gave: an order that comes late, or twice, ends nothing.
    Sessions of one generation of a slot, of one key, or without a packet for `idle` s; of several of these,
    what is all of it. One of them must be given: nobody ends all sessions by mistake.
    """

    master_id: str
    mode: SweepMode
    slot: Slot | None = None
    generation: Generation | None = None
    idle: Idle = 0.0
    key: SessionText | None = None

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if (self.slot is None) != (self.generation is None):
            raise ValueError("slot and generation go together: a slot alone is another chain's next time")
        if self.slot is None and self.key is None and not self.idle:
            raise ValueError("this would end all sessions: give slot and generation, key, or idle")
        return self


class Swept(Model):
    reset: int
    moved: int


class TakeOverOrder(Model):
    """Take the place of the load balancer that was fenced `fenced` s ago: all switches said so then."""

    fenced: Annotated[float, Strict(), Field(ge=0, le=3600)] = 0.0
