"""The link table: links need both directions, and go when a port or their time does."""

from __future__ import annotations

from controller.discovery import LIFETIME, LinkTable
from controller.network import Link, Port

A, B, C = Port("s1", "p"), Port("s2", "q"), Port("s3", "r")


def both(table: LinkTable, a: Port, b: Port, now: float) -> None:
    table.heard(a, b, now)
    table.heard(b, a, now)


def test_a_link_needs_both_directions() -> None:
    table = LinkTable()
    assert not table.heard(A, B, 0.0)
    assert table.links() == frozenset()
    assert table.heard(B, A, 0.0)
    assert table.links() == {Link.of(A, B)}
    assert not table.heard(A, B, 1.0)


def test_a_silent_link_expires() -> None:
    table = LinkTable()
    both(table, A, B, 0.0)
    assert not table.expire(LIFETIME)
    table.heard(A, B, LIFETIME)
    assert table.expire(LIFETIME + 0.1)
    assert table.links() == frozenset()


def test_a_port_that_goes_takes_its_link_along() -> None:
    table = LinkTable()
    both(table, A, B, 0.0)
    assert not table.keep(frozenset({A}), "s1")
    assert not table.keep(frozenset(), "s3")
    assert table.keep(frozenset(), "s1")
    assert table.links() == frozenset()


def test_a_wire_that_was_moved_makes_no_second_link() -> None:
    table = LinkTable()
    both(table, A, B, 0.0)
    both(table, A, C, 1.0)
    assert table.links() == {Link.of(A, C)}
