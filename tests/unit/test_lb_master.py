"""Master and slave as their users see them, over data planes made of the oracle."""

from __future__ import annotations

import pytest

from catenary import wire
from catenary.errors import Conflict, Unavailable
from catenary.session import Timeouts
from experiments.chaos.plane import OraclePlane
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.dataplane.base import SpliceConfig, TakeOver
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from tests.vectors.acting import answer, tcp, with_tag

FIRST, SECOND = {"forward": 2, "reverse": 3}, {"forward": 4, "reverse": 5}


class Pair:
    """A master that has met its slave, with two chains; `now` is in ms."""

    def __init__(self, slow_start: float = 0.0) -> None:
        self.now = 1000
        config = SpliceConfig("slave", "outer", "inner", None, Timeouts())
        self.slave = Slave(self._plane(), config, "main", clock=self._clock)
        # What the master asks of its slave goes through a client elsewhere; here it is the slave itself.
        self.slave.url = "here"  # type: ignore[attr-defined]
        self.start_master(slow_start)
        self.master.change(wire.Change(add=[wire.PairAdd(**FIRST)]))

    def start_master(self, slow_start: float = 0.0) -> None:
        """One with empty tables, as the first one is, or one that lost them."""
        self.plane = self._plane()
        self.master = Master(
            self.plane,
            SpliceConfig("master", "outer", "inner", 4094, Timeouts()),
            "main",
            self.slave,  # type: ignore[arg-type]
            slow_start=slow_start,
            clock=self._clock,
        )
        self.master.tick()

    def _plane(self) -> OraclePlane:
        return OraclePlane(lambda: self.now, Splice, 1000)

    def _clock(self) -> float:
        return self.now / 1000


def test_a_tag_that_contradicts_a_pin_raises_an_event_once(capsys: pytest.CaptureFixture[str]) -> None:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    splice = pair.plane.splice
    assert splice is not None
    there, back = tcp("S"), answer("SA")
    verdict, _ = splice.outer(there, pair.now)
    other = {2: 5, 4: 3}[verdict.vid]
    splice.inner(with_tag(back, other), pair.now)
    capsys.readouterr()
    pair.master.tick()
    assert "affinity mismatch" in capsys.readouterr().out
    pair.master.tick()
    assert "affinity mismatch" not in capsys.readouterr().out


def test_in_overflow_nothing_moves_what_the_hash_says() -> None:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    pair.plane.set_overflow(True)
    weights = [wire.PairAdd(**FIRST, weight=7)]
    for refused in (
        lambda: pair.master.change(wire.Change(remove=[wire.Tags(**SECOND)])),
        lambda: pair.master.rebalance(wire.Rebalance(weights=weights)),
    ):
        with pytest.raises(Conflict, match="session table of 1000 is full"):
            refused()
    assert [(p.weight, p.state.value) for p in pair.master.pairs().pairs] == [(100, "active")] * 2
    forced = pair.master.rebalance(wire.Rebalance(weights=weights, force=True))
    assert [p.weight for p in forced.pairs] == [7, 100]


def test_a_slow_start_rests_during_overflow() -> None:
    pair = Pair(slow_start=10.0)
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    epoch = pair.master.pairs().epoch
    pair.plane.set_overflow(True)
    pair.now += 5000
    pair.master.tick()
    assert pair.master.pairs().epoch == epoch
    pair.plane.set_overflow(False)
    pair.now += 10_000_000
    pair.master.tick()
    pair.master.tick()
    assert pair.master.pairs().epoch > epoch
    assert set(pair.plane.adopt().placement().values()) == {("2-3", 100), ("4-5", 100)}


def test_a_copy_that_is_cut_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = Pair()
    splice = pair.plane.splice
    assert splice is not None
    verdict, frame = splice.outer(tcp("S"), pair.now)
    assert pair.slave._plane.splice is not None  # type: ignore[attr-defined]
    pair.slave._plane.splice.inner(frame, pair.now)  # type: ignore[attr-defined]
    whole = pair.slave.pins
    monkeypatch.setattr(pair.slave, "pins", lambda since: iter([b"".join(whole(since))[:-20]]))
    pair.start_master()
    assert "in the middle" in capsys.readouterr().out
    assert "in the middle" in (pair.master.health().peer.reason or "")
    assert (next(pair.plane.export(None)).size, pair.plane.take_over()) == (0, TakeOver.HOLD)
    with pytest.raises(Unavailable, match="no session table"):
        pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    monkeypatch.setattr(pair.slave, "pins", whole)
    pair.now += 5000
    pair.master.tick()
    assert pair.plane.take_over() is TakeOver.WATCH
    assert pair.plane.splice is not None
    assert pair.plane.splice.outer(tcp("A"), pair.now)[0].vid == verdict.vid
