"""Session keys: one key for both directions, a fixed layout, a hash that spreads."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.errors import InvalidValue
from catenary.session import KEY_SIZE, Directed, End, SessionKey, Timeouts, end_text

# IPv4-mapped IPv6 addresses are left out: on the wire they stand for the IPv4 address itself.
addresses = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None)
)
ends = st.builds(End, addresses, st.integers(0, 65535))
keys = st.builds(
    SessionKey.of,
    ends,
    ends,
    st.sampled_from([6, 17, 0x100, 0x101]),
    st.tuples(st.integers(0, 4094), st.integers(0, 4094)),
)


@given(ends, ends)
def test_both_directions_have_one_key(a: End, b: End) -> None:
    assert SessionKey.of(a, b, 6) == SessionKey.of(b, a, 6)


@given(ends, ends)
def test_the_ends_are_sorted_by_address_then_port(a: End, b: End) -> None:
    key = SessionKey.of(a, b, 6)
    assert key.low.pack() <= key.high.pack()
    assert {key.low, key.high} == {a, b}


@given(keys)
def test_packing_is_inverted_by_unpacking(key: SessionKey) -> None:
    raw = key.pack()
    assert len(raw) == KEY_SIZE
    assert SessionKey.unpack(raw) == key


def test_the_layout_is_the_one_that_c_declares() -> None:
    key = SessionKey.of(End(IPv4Address("10.0.0.2"), 80), End(IPv4Address("10.0.0.1"), 40000), 6, (100, 0))
    mapped = "00000000000000000000ffff"
    assert key.pack().hex() == (
        f"{mapped}0a000001{mapped}0a000002"  # the lower address first, IPv4 mapped into IPv6
        "9c400050"  # ports in network order, of the same ends
        "640000000600000000000000"  # outer and inner VLAN ID, kind, padding: native order
    )


def test_the_protocol_and_the_tags_that_a_frame_had_tell_sessions_apart() -> None:
    a, b = End(IPv6Address("fd00::1"), 1), End(IPv6Address("fd00::2"), 2)
    keys = {SessionKey.of(a, b, 6), SessionKey.of(a, b, 17), SessionKey.of(a, b, 6, (5, 0))}
    assert len({key.pack() for key in keys}) == len({key.hash64() for key in keys}) == 3


def test_one_address_with_two_ports_sorts_by_port() -> None:
    here = ip_address("10.0.0.1")
    assert SessionKey.of(End(here, 9), End(here, 5), 17).low.port == 5


@pytest.mark.parametrize(
    ("text", "client", "again"),
    [
        ("10.0.0.2:80 -> 10.0.0.1:42/tcp vlan=5", "10.0.0.2:80", "10.0.0.2:80 -> 10.0.0.1:42/tcp vlan=5"),
        ("[::ffff:10.0.0.2]:80 -> 10.0.0.1:42/UDP", "10.0.0.2:80", "10.0.0.2:80 -> 10.0.0.1:42/udp"),
        ("fd00::2 -> fd00::1/47", "[fd00::2]:0", "[fd00::2]:0 -> [fd00::1]:0/47"),
        ("10.0.0.2:80 <-> 10.0.0.1:42/tcp", None, "tcp 10.0.0.1:42 10.0.0.2:80"),
        ("tcp 10.0.0.2:80 10.0.0.1:42", None, "tcp 10.0.0.1:42 10.0.0.2:80"),
    ],
)
def test_an_arrow_says_who_is_the_client(text: str, client: str | None, again: str) -> None:
    asked = Directed.parse(text)
    assert (asked.client and end_text(asked.client), asked.text) == (client, again)
    assert Directed.parse(again) == asked
    assert asked.key == SessionKey.parse(text)


@pytest.mark.parametrize("size", [0, 47, 49])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidValue, match=f"48 bytes, not {size}"):
        SessionKey.unpack(bytes(size))


def test_the_hash_is_a_fixed_number() -> None:
    """C computes the same: a change of the hash moves sessions, so it must not happen unseen."""
    key = SessionKey.of(End(IPv4Address("10.0.0.1"), 40000), End(IPv4Address("10.0.0.2"), 80), 6)
    assert key.hash64() == SessionKey.unpack(key.pack()).hash64() == 0xD1934F330B9DE41C


def test_neighbouring_ports_spread_over_the_table() -> None:
    server = End(IPv4Address("10.0.0.2"), 80)
    buckets = Counter(
        SessionKey.of(End(IPv4Address("10.0.0.1"), port), server, 6).hash64() % 65537 % 8
        for port in range(20000, 28000)
    )
    assert min(buckets.values()) > 850
    assert max(buckets.values()) < 1150


def test_a_key_reads_like_a_session() -> None:
    key = SessionKey.of(End(IPv6Address("fd00::1"), 1), End(IPv6Address("fd00::2"), 2), 17)
    assert str(key) == "[fd00::1]:1 <-> [fd00::2]:2/udp"


@pytest.mark.parametrize("value", [0.0, 0.01, -1.0, 86401.0, float("nan")])
def test_a_timeout_out_of_range_is_refused_by_name(value: float) -> None:
    with pytest.raises(InvalidValue, match="timeout lease of"):
        Timeouts(lease=value)


def test_a_lease_that_an_ask_may_outlast_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"timeout lease of 2\.4 s is below 1\.25 times the transit bound"):
        Timeouts(lease=2.4, transit=2.0)
    Timeouts(lease=2.5, transit=2.0)
