"""The splice when its session table has no room (affinity rule 7): overflow, eviction, refusal."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from lb_adapter.dataplane.base import TakeOver
from tests.splice_bench import (
    HOURS,
    PAIRS,
    Bench,
    expected_tags,
    tcp,
)


def test_full_table_falls_back_to_the_hash(master: Bench) -> None:
    for port in range(1000, 3000):
        assert master.outer(tcp(port))[1] == expected_tags(port).forward
    assert master.count("pin_table_full") > 0


def test_overflow_places_by_the_hash_and_ignores_hints(master: Bench) -> None:
    master.configure(HOURS, "p2c")
    master.plane.set_overflow(True)
    for port in range(1000, 1050):
        assert master.outer(tcp(port))[1] == expected_tags(port).forward
    wrong = next(pair for pair in PAIRS if pair != expected_tags(2000))
    assert master.inner(wrong.forward, tcp(2000, "A", reverse=True))[1] == expected_tags(2000).reverse
    assert master.count("hint_ignored") == 1
    assert master.count("placed_in_overflow") == 51


def test_full_table_enters_overflow_by_itself_and_a_key_keeps_its_answer(master: Bench) -> None:
    master.configure(HOURS, "p2c")
    before = {port: master.outer(tcp(port))[1] for port in range(1000, 2500)}
    assert master.plane.overflow()
    assert master.count("pin_table_full") > 0
    assert {port: master.outer(tcp(port, "A"))[1] for port in before} == before


def test_in_overflow_only_half_open_sessions_that_the_hash_places_alike_are_evicted(master: Bench) -> None:
    for port in range(1000, 1100):
        master.outer(tcp(port))
    for port in range(1000, 1020):
        master.outer(tcp(port, "A"))
    other = next(pair for pair in PAIRS if pair != expected_tags(5000))
    master.inner(other.reverse, tcp(5000, "S", reverse=True))
    master.plane.set_overflow(True, roomy=True)
    assert sum(load.pins for load in master.plane.walk().values()) == 101
    master.plane.set_overflow(True)
    assert sum(load.pins for load in master.plane.walk().values()) == 21
    assert master.count("evicted") == 80
    for port in range(1000, 1100):
        assert master.outer(tcp(port, "A"))[1] == expected_tags(port).forward


def test_segment_that_refuses_drops_what_finds_no_room(master: Bench) -> None:
    master.configure(HOURS, refuse_full=True)
    verdicts = {master.outer(tcp(port))[0] for port in range(1000, 2500)}
    assert verdicts == {"to_chain", "drop_table_full"}


def test_what_finds_no_room_while_the_chain_set_changes_is_refused(master: Bench) -> None:
    with master.plane.refusing():
        verdicts = Counter(master.outer(tcp(port))[0] for port in range(1000, 2500))
        assert master.plane.overflow(), "it is told all the same"
    assert set(verdicts) == {"to_chain", "drop_table_full"}
    assert master.outer(tcp(9000))[0] == "to_chain"


def test_overflow_that_a_program_enters_is_not_written_over(master: Bench) -> None:
    """Other settings change beside it all the time."""
    for port in range(1000, 2500):
        master.outer(tcp(port))
    over = Event()

    def change_settings() -> None:
        while not over.is_set():
            master.plane.set_take_over(TakeOver.WATCH)
            master.configure(HOURS)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(change_settings)
        try:
            for port in range(5000, 6000):
                master.plane.set_overflow(False)
                master.outer(tcp(port))
                assert master.plane.overflow()
        finally:
            over.set()
