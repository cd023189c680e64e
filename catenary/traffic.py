"""What chains carry, as the management system samples it: models of its REST, for all that show it."""

from __future__ import annotations

from catenary.chain import ChainState
from catenary.wire import EXPLAINED, Model, Name, PairHealth


class ChainTraffic(Model):
    """A chain at the moment of the sample; its rates are since the sample before.

    null is unknown: its master is silent, or there is no sample before.
    """

    model_config = EXPLAINED

    name: Name
    segment: Name
    state: ChainState
    cordoned: bool = False
    sessions: int | None = None
    """sessions that live now"""
    share: float | None = None
    """part of its segment's live sessions, 0..1"""
    new: float | None = None
    """new sessions a second"""
    forward: float | None = None
    """bytes a second from client to server"""
    reverse: float | None = None
    """bytes a second back"""
    health: PairHealth | None = None
    """what probes say of it; null where none are sent"""


class SegmentTraffic(Model):
    """A segment's session table, as its master has it."""

    model_config = EXPLAINED

    name: Name
    states: dict[str, int] = {}
    """sessions by state, closing ones too; empty while the master is silent"""
    pins: int | None = None
    """sessions in the table, in whatever state"""
    capacity: int | None = None
    """sessions that it has room for"""
    overflow: bool = False
    """is it full, so that the plain hash places new sessions?"""


class CoolDownProgress(Model):
    """A cool-down beside its prediction, which was made when it began. null: too little was known."""

    model_config = EXPLAINED

    chain: Name
    segment: Name
    began: float
    """moment: seconds since the epoch"""
    sessions: int | None
    """live sessions as it began"""
    left: int | None
    """live sessions of these"""
    p50: float | None = None
    """seconds from its beginning by which it is over with a probability of 50 %"""
    p95: float | None = None
    """the same with 95 %"""
    ended: float | None = None
    """seconds that it took; null while it goes on"""


class TrafficSample(Model):
    """All chains at one moment."""

    model_config = EXPLAINED

    at: float
    """that moment: seconds since the epoch"""
    segments: list[SegmentTraffic]
    chains: list[ChainTraffic]
    cooling: list[CoolDownProgress]
    """cool-downs that go on or ended lately"""
