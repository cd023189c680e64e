"""Asks that nobody answers: the slave tells of them, for no counter of a switch is ours."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from catenary import wire
from catenary.session import Timeouts
from lb_adapter import asking
from lb_adapter.asking import LEAST, QUIET, Asking
from tests.unit.test_lb_master import FIRST, Pair
from tests.vectors.acting import answer, with_tag

D = Timeouts().transit
NOTHING = dict.fromkeys(
    ("ask_sent", "hint_sent", "answer_taken", "answer_late", "closed_not_learned", "pin_table_full"), 0
)


def after(state: Asking, now: float, **counted: int) -> Asking:
    return asking.observe(state, NOTHING, NOTHING | counted, now, D)


def row(asks: int, seconds: float) -> Asking:
    """One ask now, and the others as much later."""
    return after(after(Asking(), 100.0, ask_sent=1), 100.0 + seconds, hint_sent=asks - 1)


def test_a_row_of_asks_over_more_time_than_an_answer_takes() -> None:
    assert row(LEAST, 2 * D + 0.1).missed
    assert not row(LEAST - 1, 2 * D + 0.1).missed, "strays get no answer by right"
    assert not row(LEAST, 2 * D).missed, "it may come yet"
    assert after(row(LEAST, 1.0), 100.0 + 2 * D + 0.1).missed, "no ask is needed any more"


def test_any_answer_ends_a_row() -> None:
    missed = row(LEAST, 2 * D + 1)
    for name in ("answer_taken", "answer_late", "closed_not_learned", "pin_table_full"):
        assert after(missed, 200.0, ask_sent=9, **{name: 1}) == Asking()


def test_strays_now_and_then_are_no_row() -> None:
    state = Asking()
    for ask in range(10 * LEAST):
        for second in range(int(QUIET) + 2):
            state = after(state, 1000.0 + 60 * ask + second, ask_sent=second == 0)
            assert not state.missed


def test_what_is_missed_stays_so_until_an_answer_comes() -> None:
    missed = row(LEAST, 2 * D + 1)
    assert after(missed, 10_000.0).reason == missed.reason
    assert "5 asks to the master got no answer" in (missed.reason or "")
    assert "bypass path" in (missed.reason or "")


def test_counters_that_begin_again_are_no_asks() -> None:
    assert asking.observe(Asking(), NOTHING | {"ask_sent": 9}, NOTHING, 100.0, D) == Asking()


class Cut:
    """A pair whose bypass path leads nowhere, and a server that goes on."""

    def __init__(self) -> None:
        self.pair = Pair()

    def ask(self, port: int) -> int:
        """A packet of a server's; the tag that it asks by."""
        far = self.pair.slave._plane.splice  # type: ignore[attr-defined]
        verdict, _ = far.outer(answer("A", port=port), self.pair.now)
        assert verdict.reason == "ask_sent"
        return int(verdict.vid)

    def seconds(self, number: int, each: Callable[[int], object] = lambda second: None) -> list[str]:
        """What the slave logs while time goes on."""
        with structlog.testing.capture_logs() as logs:
            for second in range(number):
                each(second)
                self.pair.now += 1000
                self.pair.slave.tick()
        return [entry["event"] for entry in logs if entry["log_level"] in ("warning", "info")]


def test_a_slave_without_a_bypass_path_is_degraded_until_an_answer_comes() -> None:
    cut = Cut()
    slave, near, far = cut.pair.slave, cut.pair.plane.splice, cut.pair.slave._plane.splice  # type: ignore[attr-defined]
    assert near is not None
    assert cut.seconds(10, lambda second: cut.ask(3000 + second)) == ["asks get no answer"], "once"
    health = slave.health()
    assert (health.status, health.peer.connected) == ("degraded", True)
    assert "asks to the master got no answer" in (health.reason or "")
    asked, _ = near.inner(with_tag(answer("A", port=3000), cut.ask(3000)), cut.pair.now)
    far.inner(with_tag(answer("A", port=3000), asked.vid), cut.pair.now)
    assert cut.seconds(1) == ["asks get answers again"]
    assert (slave.health().status, slave.health().reason) == ("ok", None)


def test_without_a_chain_that_takes_sessions_no_answer_is_missed() -> None:
    cut = Cut()
    cut.pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    assert cut.seconds(10, lambda second: cut.ask(3000 + second)) == []
    assert cut.pair.slave.health().status == "ok"
