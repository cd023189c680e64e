"""Pins on the wire: what goes in comes out, and nothing less."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.errors import Conflict
from catenary.session import End, SessionKey
from lb_adapter import abi, records
from lb_adapter.core.oracle_pin import Pin, State

ADDRESSES = st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address))
VLANS = st.tuples(st.integers(0, 4095), st.integers(0, 4095))
ENDS = st.builds(End, ADDRESSES, st.integers(0, 65535))
KEYS = st.builds(SessionKey.of, ENDS, ENDS, st.integers(0, 259), VLANS)
PINS = st.builds(
    Pin,
    st.integers(0, 1023),
    st.integers(0, 1023),
    st.sampled_from(State),
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 63),
)


def packed(pairs: list[tuple[SessionKey, Pin]]) -> records.PinRecords:
    words = b"".join(struct.pack("=Q", pin.word()) for _, pin in pairs)
    return records.of(b"".join(key.pack() for key, _ in pairs), words)


def sent(batch: records.PinRecords) -> bytes:
    return b"".join(records.write([batch], protocol=1, epoch=7, now_ms=99))


def in_pieces(raw: bytes, size: int) -> Iterator[bytes]:
    return (raw[at : at + size] for at in range(0, len(raw), size))


def test_a_mapped_address_is_small() -> None:
    key = SessionKey.parse("[::ffff:10.0.0.1]:1 -> [::ffff:10.0.0.2]:2/tcp")
    batch = records.of(key.pack(), bytes(8))
    fits, small = records.small_keys(batch)
    assert fits.tolist() == [True]
    assert small.tobytes() == abi.shrink(key)


@given(st.lists(st.tuples(KEYS, PINS)))
def test_small_keys_are_those_of_the_data_plane(pairs: list[tuple[SessionKey, Pin]]) -> None:
    batch = packed(pairs)
    fits, small = records.small_keys(batch)
    shrunk = [abi.shrink(key) for key, _ in pairs]
    assert fits.tolist() == [raw is not None for raw in shrunk]
    assert [row.tobytes() for row in small] == [raw for raw in shrunk if raw is not None]
    again = records.of_small(small.tobytes(), batch["word"][fits].tobytes())
    assert again.tobytes() == batch[fits].tobytes()


@given(st.lists(st.tuples(KEYS, PINS)), st.integers(1, 200))
def test_what_is_sent_arrives(pairs: list[tuple[SessionKey, Pin]], size: int) -> None:
    batch = packed(pairs)
    copy = records.read(in_pieces(sent(batch), size), protocol=1)
    assert (copy.epoch, copy.now_ms, copy.records.tobytes()) == (7, 99, batch.tobytes())


@given(st.lists(st.tuples(KEYS, PINS), min_size=1), st.data())
def test_a_copy_that_is_cut_is_refused(pairs: list[tuple[SessionKey, Pin]], data: st.DataObject) -> None:
    raw = sent(packed(pairs))
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(Conflict, match="in the middle"):
        records.read([raw[:cut]], protocol=1)


@given(st.lists(st.tuples(KEYS, PINS), min_size=1), st.data())
def test_a_damaged_copy_is_refused(pairs: list[tuple[SessionKey, Pin]], data: st.DataObject) -> None:
    raw = bytearray(sent(packed(pairs)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Conflict):
        records.read([bytes(raw)], protocol=1)


def test_another_release_is_refused() -> None:
    raw = sent(records.none())
    with pytest.raises(Conflict, match="speaks protocol 1, not 2"):
        records.read([raw], protocol=2)
    with pytest.raises(Conflict, match="no copy of a session table"):
        records.read([b"HTTP/1.1" + raw[8:]], protocol=1)


@given(st.lists(st.tuples(KEYS, PINS)), st.dictionaries(st.integers(0, 1023), st.integers(0, 1023)))
def test_a_pin_is_taken_over_as_lively_as_it_was(
    pairs: list[tuple[SessionKey, Pin]], generations: dict[int, int]
) -> None:
    taken = records.taken_over(packed(pairs), generations, 5)
    known = [
        (key, pin)
        for key, pin in pairs
        if not pin.dead and (generations.get(pin.slot) == pin.generation or pin.state is State.RESET)
    ]
    assert [row.tobytes() for row in taken["key"]] == [key.pack() for key, _ in known]
    for word, (_, pin) in zip(taken["word"], known, strict=True):
        state = State.ESTABLISHED if pin.state is State.CLOSING else pin.state
        assert int(word) == Pin(pin.slot, pin.generation, state, 5).word()


def test_since_a_moment_counts_beyond_the_end_of_the_clock() -> None:
    moments = (2**32 - 2, 2**32 - 1, 0, 1)
    batch = np.concatenate([records.of(bytes(48), struct.pack("=Q", moment)) for moment in moments])
    found = batch[records.seen_since(batch["word"], 2**32 - 1)]
    assert found["word"].tolist() == [2**32 - 1, 0, 1]
