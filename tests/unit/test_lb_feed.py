"""What a standby is sent of a session table: the difference of two tables, and its way over the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.errors import Conflict
from lb_adapter import feed, records
from lb_adapter.core.oracle_pin import Pin, State
from lb_adapter.feed import Round
from lb_adapter.records import PinRecords

PROTOCOL = 6
KEYS = st.integers(0, 30).map(lambda number: bytes(40) + number.to_bytes(8, "little"))
PINS = st.builds(
    Pin,
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(State),
    st.integers(0, 2**32 - 1),
    st.just(0),
    st.just(False),
    st.just(0),
)
TABLES = st.dictionaries(KEYS, PINS)


def packed(table: dict[bytes, Pin]) -> PinRecords:
    words = b"".join(pin.word().to_bytes(8, "little") for pin in table.values())
    return records.of(b"".join(table), words)


def told(pins: PinRecords) -> dict[bytes, int]:
    return {key.tobytes(): int(word) >> 32 for key, word in zip(pins["key"], pins["word"], strict=True)}


def check_difference(before: dict[bytes, Pin], after: dict[bytes, Pin]) -> None:
    gone, here = feed.difference(packed(before), packed(after))
    assert told(gone).keys() == before.keys() - after.keys()
    words = {key: pin.word() >> 32 for key, pin in after.items()}
    old = {key: pin.word() >> 32 for key, pin in before.items()}
    assert told(here) == {key: word for key, word in words.items() if old.get(key) != word}
    assert len(here) == len(told(here))


@given(TABLES, TABLES)
def test_a_difference_is_what_changed_but_for_the_time(
    before: dict[bytes, Pin], after: dict[bytes, Pin]
) -> None:
    check_difference(before, after)


@given(TABLES, TABLES)
def test_keys_that_share_a_hash_are_told_apart(before: dict[bytes, Pin], after: dict[bytes, Pin]) -> None:
    """With the real hash that comes once in 10^8 tables."""
    weak = records.hashes

    def first_try_collides(keys: np.ndarray) -> records.Words:
        plain = len(keys) == 0 or not keys[:, 0].any()  # no other seed yet
        return weak(keys) % np.uint64(3) if plain else weak(keys)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "hashes", first_try_collides)
        check_difference(before, after)


@given(
    st.lists(st.builds(Round, st.integers(0, 9), st.integers(0, 9), TABLES.map(packed), TABLES.map(packed)))
)
def test_what_is_sent_arrives(rounds: list[Round]) -> None:
    raw = feed.header(PROTOCOL) + b"".join(feed.BEAT + b"".join(feed.write(made)) for made in rounds)
    pieces = (raw[at : at + 7] for at in range(0, len(raw), 7))
    came = [made for made in feed.read(pieces, protocol=PROTOCOL) if made is not None]
    assert [(made.epoch, made.age_ms) for made in came] == [(made.epoch, made.age_ms) for made in rounds]
    for made, sent in zip(came, rounds, strict=True):
        assert (made.gone.tobytes(), made.here.tobytes()) == (sent.gone.tobytes(), sent.here.tobytes())


def test_a_large_round_goes_in_parts() -> None:
    many = np.zeros(records.FRAME + 1, dtype=records.RECORD)
    raw = [feed.header(PROTOCOL), *feed.write(Round(1, 2, here=many))]
    came = list(feed.read(raw, protocol=PROTOCOL))
    assert came[:2] == [None, None]
    assert came[2] is not None
    assert came[2].here.tobytes() == many.tobytes()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"x" * 100, "no stream of pins, or another release's"),
        (feed.header(5), "speaks protocol 5, not 6: run the same release on both"),
        (feed.header(6)[:-1] + b"x", "damaged at its beginning"),
        (feed.header(6) + feed.BEAT[:-1], "ends after 39 bytes, in the middle"),
        (feed.header(6) + b"\xff" * 20, "damaged: a frame"),
        (feed.header(6) + feed.BEAT[:8] + b"x" + feed.BEAT[9:], "damaged: wrong checksum"),
    ],
)
def test_what_a_standby_refuses(raw: bytes, reason: str) -> None:
    with pytest.raises(Conflict, match=reason):
        list(feed.read([raw], protocol=PROTOCOL))
