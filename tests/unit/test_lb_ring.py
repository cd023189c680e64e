"""The ring of ended sessions: which of its rows are told, all of them and those of one session."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np

from catenary.session import End, SessionKey
from lb_adapter.dataplane import ring

SIZE = 64


def key(number: int, port: int = 80) -> SessionKey:
    ends = End(ip_address("10.0.0.1"), 1000 + number), End(ip_address("10.0.0.2"), port)
    return SessionKey.of(*ends, 6)


def filled(*numbers: int) -> ring.Rows:
    """A ring in which session n was the n-th to end, for each of these."""
    rows = np.zeros(SIZE, dtype=ring.ROW)
    for number in numbers:
        row = rows[(number - 1) % SIZE]
        row["key"], row["number"] = np.frombuffer(key(number).pack(), dtype=np.uint8), number
    return rows


def test_rows_that_are_used_and_whole_are_told() -> None:
    rows = filled(*range(1, 40), *range(65, 70))
    rows[7]["number"] = 0  # being written
    told = sorted(ring.whole(rows)["number"].tolist())
    assert told == [*(n for n in range(6, 40) if n != 8), *range(65, 70)]


def test_rows_of_a_session_are_found_among_all() -> None:
    rows = filled(*range(1, SIZE + 1))
    rows[50]["key"] = rows[3]["key"]  # it ended twice
    assert sorted(ring.whole(rows, key(4))["number"].tolist()) == [4, 51]
    assert ring.whole(rows, key(33))["key"].tobytes() == key(33).pack()
    assert len(ring.whole(rows, key(4, port=81))) == 0
    rows[3]["number"] = 0
    assert ring.whole(rows, key(4))["number"].tolist() == [51]


def test_what_is_told_stays_as_it_was_read() -> None:
    rows = filled(1, 2)
    one, both = ring.whole(rows, key(1)), ring.whole(rows)
    rows[:] = 0
    assert one["number"].tolist() == [1]
    assert both["number"].tolist() == [1, 2]
