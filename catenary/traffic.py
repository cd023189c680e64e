"""What chains carry, as the management system samples it: models of its REST, for all that show it."""

from __future__ import annotations

from catenary.chain import ChainState
from catenary.wire import Model, Name


class ChainTraffic(Model):
    """A chain at the moment of the sample.

    `sessions` live, `share` those of its segment's, 0..1. A second, since the sample before: `new` sessions,
    `forward` and `reverse` bytes (client to server, and back). null is unknown: its master is silent, or
    there is no sample before.
    """

    name: Name
    segment: Name
    state: ChainState
    cordoned: bool = False
    sessions: int | None = None
    share: float | None = None
    new: float | None = None
    forward: float | None = None
    reverse: float | None = None


class SegmentTraffic(Model):
    """A segment's session table: `pins` of `capacity`, and sessions by state, closing ones too.

    `states` is empty while the master is silent.
    """

    name: Name
    states: dict[str, int] = {}
    pins: int | None = None
    capacity: int | None = None
    overflow: bool = False


class CoolDownProgress(Model):
    """A cool-down beside its prediction, which was made when it began.

    `began` is a moment, `left` of `sessions` are still live; `p50` and `p95` are seconds from its beginning,
    as in a plan, and so is `ended`, null while it goes on. null elsewhere: too little was known.
    """

    chain: Name
    segment: Name
    began: float
    sessions: int | None
    left: int | None
    p50: float | None = None
    p95: float | None = None
    ended: float | None = None


class TrafficSample(Model):
    """All chains at one moment (s since the epoch), and the cool-downs that go on or ended lately."""

    at: float
    segments: list[SegmentTraffic]
    chains: list[ChainTraffic]
    cooling: list[CoolDownProgress]
