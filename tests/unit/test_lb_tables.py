"""What a data plane's tables keep when they are configured again, and what another process reads in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from catenary.chain import PairState
from catenary.classifier import Rule
from catenary.session import Timeouts
from catenary.tags import TagPair
from lb_adapter import abi
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.dataplane import ring
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.segment import Segment
from lb_adapter.slave import Slave

FIRST, SECOND = TagPair(2, 3), TagPair(4, 5)
SLAVE = SpliceConfig("slave", "a", "b", None, Timeouts())
GREETED = replace(SLAVE, ask_id=4000, timeouts=Timeouts(lease=3.0, transit=1.0), affinity="client")


class Plane(NativeDataPlane):
    """One whose ports are names only; with `tables`, another process's."""

    def __init__(self, tables: NativeDataPlane | None = None) -> None:
        super().__init__("af_packet", pins=1024, threads=1)
        if tables is not None:
            self._memory = Segment(os.dup(tables.segment.fd))

    def configure(self, config: SpliceConfig, *, outer: int | None = 1, inner: int | None = 2) -> None:
        super().configure(config, outer=outer, inner=inner)


@pytest.fixture
def plane() -> Iterator[Plane]:
    with closing(Plane()) as made:
        yield made


def chains(*rules: Rule) -> ChainTable:
    rows = (
        Pair(FIRST, 0, 1, 100, 100, PairState.ACTIVE, 0.0),
        Pair(SECOND, 1, 1, 0, 0, PairState.ACTIVE, 0.0, bool(rules)),
    )
    return ChainTable(7, rows, {0: 1, 1: 1}, rules=rules)


@pytest.mark.parametrize("role", ["master", "slave"])
def test_who_only_looks_at_the_tables_knows_whose_they_are(plane: Plane, role: str) -> None:
    plane.configure(replace(GREETED, role=role))  # type: ignore[arg-type]
    plane.apply(chains())
    with closing(Plane(plane)) as other:
        assert [pair.tags for pair in other.adopt().pairs] == [FIRST, SECOND]


def test_a_slave_goes_on_by_what_its_master_told_the_one_before(plane: Plane) -> None:
    """Its sessions live by it, and the master may be away."""
    slave = Slave(plane, SLAVE, "main")
    assert slave.health().ask_id is None
    plane.configure(GREETED)
    plane.apply(chains())
    with closing(Plane(plane)) as next_one:
        slave = Slave(next_one, SLAVE, "main")
        health = slave.health()
        assert (health.ask_id, health.timeouts.lease, health.timeouts.transit) == (4000, 3.0, 1.0)
        assert not health.peer.connected, "it obeys nobody yet"
        settings = next_one.adopted_config(("a", "b"))
        assert settings == GREETED
        assert [pair.tags for pair in slave.table.pairs] == [FIRST, SECOND]


def test_room_that_is_there_again_stays_so_when_it_is_configured_anew(plane: Plane) -> None:
    """A greeting in overflow would else have the walk evict again."""
    for roomy in (True, False):
        plane.set_overflow(True, roomy=roomy)
        plane.configure(GREETED)
        assert plane.segment.config.overflow == abi.overflow(True, roomy=roomy)
    plane.set_overflow(False)
    plane.configure(GREETED)
    assert not plane.overflow()


def test_what_the_old_rules_let_in_is_not_counted_as_the_new_ones(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.configure(replace(GREETED, role="master"))
    plane.apply(chains(Rule(0, protocol=6)))
    switch = plane._write_place_table

    def let_in() -> None:
        plane.segment.lib.segment_traffic(plane.segment.pointer, 0)[1] += 1

    def late(row: bytes) -> None:
        """The last session by the old rules, just before the switch."""
        let_in()
        switch(row)

    let_in()
    assert plane.entered() == [1]
    monkeypatch.setattr(plane, "_write_place_table", late)
    plane.apply(chains(Rule(0, protocol=6)))
    assert plane.entered() == [2], "they are the same"
    plane.apply(chains(Rule(0, protocol=17)))
    assert plane.entered() == [0]
    let_in()
    assert plane.entered() == [1]


class Overwritten(np.ndarray):  # type: ignore[type-arg]
    """A ring of which two rows are written while they are copied: 1 is new but for its key, 2 half so."""

    def __getitem__(self, places: Any) -> Any:
        copy = super().__getitem__(places)
        if isinstance(places, np.ndarray) and self.dtype.names:
            self["number"][1] = copy["number"][1] = 2 + len(self)
            self["number"][2] = 0
        return np.asarray(copy)


def test_a_row_that_is_written_while_it_is_copied_is_left_out() -> None:
    rows = np.zeros(8, dtype=ring.ROW)
    rows["number"][:4] = [1, 2, 3, 12]
    rows["at_ms"] = range(8)
    assert ring.whole(rows)["at_ms"].tolist() == [0, 1, 2, 3]
    rows["number"][3] = 5
    assert ring.whole(rows)["at_ms"].tolist() == [0, 1, 2], "5 is not of this place"
    assert ring.whole(rows.view(Overwritten))["at_ms"].tolist() == [0]
