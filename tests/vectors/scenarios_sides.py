"""Sides of many endpoints: a pin holds one of each, whichever side a session began on."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from catenary.session import SessionKey
from lb_adapter.core.oracle import outer_lane
from lb_adapter.core.oracle_splice import Setup
from lb_adapter.core.setup import OUTER_SIZE, Slot
from tests.vectors.acting import Make, answer, entries, key_of, said, setup, tcp, to_client, to_server


def _cross(**fields: object) -> Setup:
    """Three outer endpoints and two inner ones, all plain interfaces; new keys go to inner 1 and outer 2."""
    plain = {0: Slot(0, 0), 1: Slot(0, 0)}
    made = setup(
        slots=plain, entries=entries(1), outers=3, outer_entries=[2] * OUTER_SIZE, ask_id=None, designated=0
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def a_session_goes_back_where_it_came_from(make: Make) -> None:
    splice = make(_cross())
    verdict, sent = splice.outer(tcp("S"), 0, endpoint=1)
    assert (verdict.port, verdict.vid, verdict.slot) == ("inner", 0, 1)
    assert sent == tcp("S"), "nothing is pushed"
    verdict, sent = splice.inner(answer("SA"), 1, slot=1)
    assert (verdict.port, verdict.outer, sent) == ("outer", 1, answer("SA"))
    assert splice.counts["affinity_mismatch"] == 0


def a_key_that_comes_from_inside_first_is_placed_on_the_outer_side(make: Make) -> None:
    splice = make(_cross())
    verdict, _ = splice.inner(answer("S"), 0, slot=0)
    assert (verdict.port, verdict.outer) == ("outer", 2)
    verdict, _ = splice.outer(tcp("SA"), 1, endpoint=2)
    assert (verdict.port, verdict.slot) == ("inner", 0), "its inner endpoint is the one that it came from"
    splice.configure(_cross(outer_entries=[0] * OUTER_SIZE))
    verdict, _ = splice.inner(answer("A"), 2, slot=0)
    assert verdict.outer == 2, "a pin never moves"


def each_key_has_its_own_place_in_the_outer_table(make: Make) -> None:
    frames = {port: answer("S", port=port) for port in range(1000, 1100)}
    table = [number % 3 for number in range(OUTER_SIZE)]
    splice = make(_cross(outer_entries=table, capacity=200))
    for frame in frames.values():
        key: SessionKey = key_of(frame)
        assert splice.inner(frame, 0, slot=0)[0].outer == table[outer_lane(key, OUTER_SIZE)]


def another_endpoint_contradicts_the_pin(make: Make) -> None:
    splice = make(_cross())
    splice.outer(tcp("S"), 0, endpoint=1)
    assert said(splice.outer(tcp("A"), 1, endpoint=0))[0] == "inner"
    assert splice.counts["affinity_mismatch"] == 1
    assert splice.inner(answer("A"), 2, slot=0)[0].outer == 1
    assert splice.counts["affinity_mismatch"] == 2


def later_fragments_keep_both_endpoints(make: Make) -> None:
    splice = make(_cross())
    assert splice.outer(_fragment(0, back=False), 0, endpoint=1)[0].slot == 1
    assert splice.outer(_fragment(2, back=False), 1, endpoint=1)[0].slot == 1
    assert splice.inner(_fragment(0, back=True), 2, slot=1)[0].outer == 1
    assert splice.inner(_fragment(2, back=True), 3, slot=1)[0].outer == 1
    assert said(splice.inner(_fragment(2, back=True), 3000, slot=1))[2] == "drop_fragment_unknown"


def _fragment(offset: int, *, back: bool) -> bytes:
    """A fragment of a datagram between two ports; `offset` in units of 8 bytes."""
    ports = UDP(sport=6, dport=5) if back else UDP(sport=5, dport=6)
    frame = (to_client if back else to_server)(ports / Raw(b"x" * 16))
    ip = IP(frame[14:])
    ip.id, ip.flags, ip.frag = 7, "" if offset else "MF", offset
    del ip.chksum
    return frame[:14] + bytes(ip)


def what_is_no_session_crosses_the_first_endpoints(make: Make) -> None:
    frame = b"\x01\x80\xc2\x00\x00\x0e" + b"\x02" * 6 + b"\x88\xcc" + bytes(46)
    splice = make(_cross())
    assert said(splice.outer(frame, 0, endpoint=2)) == ("inner", 0, "designated")
    verdict, sent = splice.inner(frame, 0, slot=1)
    assert (verdict.port, verdict.outer, sent) == ("outer", 0, frame)
