"""The simulator's asks add up: each ends as one crossing or one counted drop, or a link has lost it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from experiments.chaos import model
from experiments.chaos.rules import ALL_ON
from experiments.chaos.world import MakePlane, Options, Packet, Path, World
from lb_adapter import abi
from lb_adapter.core.oracle import Parsed
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Verdict

OPTIONS = Options(3, sessions=250, loss=0.05, change_every=100, fault_every=500, talks=30)
ASKS = ("ask_sent", "hint_sent")
LOST = "lost on the bypass"
ENDS = {*abi.REASONS, "crossed", LOST, "no rule of the switches"}


class Accounted(World):
    """Notes how each ask ends."""

    def __init__(self, options: Options, make: MakePlane) -> None:
        self.ends: dict[Packet, str | None] = {}
        super().__init__(options, make)

    def _end(self, packet: Packet, how: str) -> None:
        if packet in self.ends:
            assert how in ENDS, f"{how!r} counts nothing"
            assert self.ends[packet] is None, f"after {self.ends[packet]}: {how}"
            self.ends[packet] = how

    def _tell(self, packet: Packet, role: str, vid: int | None, verdict: Verdict) -> None:
        super()._tell(packet, role, vid, verdict)
        if verdict.reason in ASKS:
            assert packet not in self.ends, "an answer asks"
            self.ends[packet] = None
        elif verdict.reason == "session_reset" and self.ends.get(packet, "") is None:
            self._end(packet, verdict.reason)

    def _enter(self, packet: Packet, path: Path, way: int, other: str, vid: int) -> None:
        self._end(packet, "crossed")
        super()._enter(packet, path, way, other, vid)

    def _drop(self, packet: Packet, reason: str) -> None:
        """One that has crossed may be dropped behind the chain: that is another story."""
        if self.ends.get(packet) != "crossed":
            self._end(packet, reason)
        super()._drop(packet, reason)

    def _switch(self, packet: Packet, role: str, vid: int) -> None:
        under_way = len(self._traffic)
        super()._switch(packet, role, vid)
        if self.ends.get(packet, "") is None and len(self._traffic) == under_way:
            self._end(packet, LOST)

    def play(self) -> Counter[str | None]:
        """Until nothing is under way any more: how the asks ended."""
        assert not model.play(self).broken
        self.run(until=lambda: not self._traffic)
        return Counter(self.ends.values())


def test_every_ask_ends_as_one_crossing_or_one_counted_drop() -> None:
    ends = Accounted(OPTIONS, ALL_ON.make).play()
    assert ends[None] == 0, "asks that came to no end"
    assert ends["crossed"] > 100
    assert ends[LOST] > 5
    assert sum(ends[reason] for reason in abi.REASONS) > 0, "a master that takes over drops some"


class AsksAgain(Splice):
    """An answer that finds no lease asks."""

    def _slave_answered(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        lease = self._look(parsed, now)
        return self._ask() if lease is None else super()._slave_answered(parsed, now, tagged)


class Forgets(Splice):
    """An ask goes nowhere, and nothing counts it."""

    def _master_asked(self, parsed: Parsed, now: int, hint: int | None) -> Verdict:
        return Verdict("", 0, "")


@pytest.mark.parametrize(
    ("mistake", "seen"),
    [({"slave": AsksAgain}, "an answer asks"), ({"master": Forgets}, "'' counts nothing")],
)
def test_it_sees_an_ask_that_ends_otherwise(mistake: dict[str, type[Splice]], seen: str) -> None:
    world = Accounted(OPTIONS, replace(ALL_ON, **mistake).make)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=seen):
        world.play()
