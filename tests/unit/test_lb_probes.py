"""What a master does when probes speak against a chain while its session table overflows."""

from __future__ import annotations

import pytest

from catenary import wire
from catenary.chain import Condition
from catenary.errors import Conflict, Unavailable
from catenary.health import HealthCheck
from catenary.tags import TagPair
from lb_adapter.health import Health, Probing
from lb_adapter.master import Master
from lb_adapter.prober import Target
from tests.services import daemons

FIRST, SECOND = TagPair(2, 3), TagPair(4, 5)
ORDER = wire.HealthOrder(health=wire.HealthCheckModel.of(HealthCheck()))


class Said:
    """A master whose probes say what the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.master: Master = daemons()[0]
        self.verdicts: dict[TagPair, Health] = {}
        self.full = False
        monkeypatch.setattr(self.master._plane, "overflow", lambda: self.full)
        monkeypatch.setattr(self.master._prober, "verdicts", lambda: self.verdicts)
        self.master.put_health(ORDER)

    def down(self, *tags: TagPair) -> dict[TagPair, Condition]:
        """The conditions of all chains after a tick at which these are down."""
        self.verdicts = {pair: Health("down" if pair in tags else "up") for pair in (FIRST, SECOND)}
        self.master.tick()
        return {pair.tags: pair.condition for pair in self.master.table.pairs}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    return Said(monkeypatch)


def test_a_chain_that_falls_is_taken_out_even_in_an_overflow(said: Said) -> None:
    said.full = True
    assert said.down(FIRST) == {FIRST: Condition.DOWN, SECOND: Condition.UP}


def test_one_that_is_up_again_waits_until_the_overflow_is_over(said: Said) -> None:
    said.down(FIRST)
    said.full = True
    assert said.down()[FIRST] is Condition.DOWN
    said.full = False
    assert said.down()[FIRST] is Condition.UP


def test_another_check_is_refused_where_it_would_move_what_lives_by_the_hash(said: Said) -> None:
    said.down(FIRST)
    said.full = True
    before = said.master.table
    with pytest.raises(Conflict, match="full"):
        said.master.put_health(wire.HealthOrder(health=None))
    assert said.master.table == before


def test_chains_that_fell_because_the_slave_was_gone_are_not_taken_out_when_it_is_back() -> None:
    """Without it no probe comes back. Nothing could be done then; nor shall it be done afterwards."""
    master, slave = daemons()
    master.put_health(ORDER)
    fallen = {
        Target(pair.tags, pair.slot, pair.generation): Probing(Health("down", falls=(1.0,)))
        for pair in master.table.pairs
    }
    health = slave.health
    slave.health = lambda: (_ for _ in ()).throw(Unavailable("no answer"))  # type: ignore[method-assign]
    master._prober._chains = fallen
    master.tick()
    assert not master.health().peer.connected
    slave.health = health  # type: ignore[method-assign]
    master.tick()
    master.tick()
    assert master.health().peer.connected
    assert {pair.condition for pair in master.table.pairs} == {Condition.UP}
    assert {known.verdict for known in master._prober.verdicts().values()} == {"up"}
