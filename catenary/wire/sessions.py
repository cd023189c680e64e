"""What is told of sessions: entries of lists, how each got its chain, and how long sessions live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from catenary.wire.balancer import Epoch, SessionView
from catenary.wire.common import Model, Name, Tags

SessionState = Literal["other", "udp", "opening", "established", "closing", "reopening", "neighbour", "reset"]
"""Of a pin. `reset`: a tombstone, the TCP connection was ended by order."""
SessionSort = Literal["age", "idle", "bytes", "rate"]
"""The largest first."""
SessionCause = Literal[
    "placed", "asked", "overflow", "learned", "hinted", "answered", "copied", "taken_in", "moved"
]
"""How a pin came to be.

The master placed it for a client's packet, for an ask of its slave (`asked`), or by the plain hash because
the table was full (`overflow`); a tag taught it (`learned`); the master honoured the slave's hint (`hinted`);
the slave had the master's answer (`answered`); it was copied from the peer, taken in from it where chains
rewrite, or moved by order.
"""
SessionEnding = Literal["expired", "closed", "replaced", "reset", "let_go", "moved", "evicted"]
"""Why a pin went: no packet for T, or for T of a closed connection; its key began anew; by an order (reset,
let go to be placed anew, moved to another chain); or evicted while the table was full."""


class SessionOrigin(Model):
    """How a session got its chain, as the load balancer saw it then. For people: no packet is decided by it.

    `placed` is the moment. `load` are the live sessions of its chain just before. Where the policy was p2c,
    `other` is the candidate that was not taken, with `other_load`; None if both were one chain, or it is
    gone. `policy` is None where none was asked, as for what a tag taught.
    """

    placed: float
    epoch: Epoch
    cause: SessionCause
    policy: Literal["maglev", "p2c"] | None = None
    load: int | None = None
    other: Tags | None = None
    other_load: int | None = None


class SessionEnd(Model):
    """`ago`: seconds since a session ended, and `why`. Ended ones are kept until newer ones need the room."""

    ago: float
    why: SessionEnding


class SessionEntry(SessionView):
    """A session at one load balancer.

    `age` are the seconds since it was placed, `idle` those since the last packet that refreshed it, `seen`
    the moment of that; of an ended one as it was when it ended. `packets` and `bytes` are of both directions,
    and approximate; `rate` are bytes a second over its age.

    `foreign`: the other load balancer of the pair sees its packets (chains that rewrite).
    """

    state: SessionState
    age: float
    idle: float
    seen: float
    packets: int
    bytes: int
    rate: float
    origin: SessionOrigin
    foreign: bool = False
    ended: SessionEnd | None = None


class SegmentSession(SessionEntry):
    """A session with its segment and its chain's name; `other_chain` is the name of `origin.other`.

    A name is None if the chain is gone.
    """

    segment: Name
    chain: Name | None
    other_chain: Name | None = None


Count = Annotated[int, Field(ge=0)]


class LifeCell(Model):
    """So many live sessions of this state, age bin and idle bin."""

    state: SessionState
    age: Count
    idle: Count
    sessions: Count


class ChainLives(Tags):
    """The live sessions of one tag pair at its master, closing ones too."""

    sessions: Count
    cells: list[LifeCell]


class Leaving(Model):
    """How sessions of one kind leave, by age bin.

    A session is open from its first packet until it closes, or was silent for T of its state. `risk[k]` are
    those that were open at ages of bin k, each for as much of the bin as was seen; of them `closed[k]` closed
    there, and `expired[k]` were given up as silent. What an order ended had been at risk until then.
    """

    risk: list[float]
    closed: list[Count]
    expired: list[Count]


class LifeTable(Model):
    """How long sessions of a segment live, and who is alive: a period life table, as demographers have it.

    It tells of the last `period` seconds. Bin k of `ages` begins at `ages[k]` seconds and ends at
    `ages[k + 1]`; what is older than the last of these is in the last bin. Bin k of `idles` likewise.
    """

    period: float
    ages: list[float]
    idles: list[float]
    tcp: Leaving
    rest: Leaving
    pairs: list[ChainLives]
