"""Texts that are no session, and the exact words about each."""

from __future__ import annotations

import pytest

from catenary.errors import InvalidValue
from catenary.session import SessionKey

FORMS = (
    "write '10.0.0.1:4000 -> 10.0.0.2:80/tcp', or PROTOCOL END END such as tcp 10.0.0.1:4000 10.0.0.2:80, "
    "or udp [fd00::1]:53 [fd00::2]:4000 vlan=5"
)
KNOWN = "use icmp, tcp, udp, icmp6, sctp, arp, nd, addresses, client, or a number up to 255"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", FORMS),
        ("10.0.0.1:4242", FORMS),
        ("10.0.0.1:4242 ->", FORMS),
        ("-> 10.0.0.2:80/tcp", FORMS),
        ("10.0.0.1:4242 -> 10.0.0.2:80", "it lacks its protocol: append it, such as 10.0.0.2:80/tcp"),
        ("10.0.0.1:4242 -> 10.0.0.2:80/quic", f"protocol 'quic' is not known: {KNOWN}"),
        ("300 10.0.0.1:4242 10.0.0.2:80", f"protocol '300' is not known: {KNOWN}"),
        ("10.0.0.1 -> 10.0.0.2:80/tcp", "'10.0.0.1' lacks its port: tcp has one, as in 10.0.0.1:80"),
        ("fd00::1 -> [fd00::2]:80/udp", "'fd00::1' lacks its port: udp has one, as in [fd00::1]:80"),
        ("tcp 10.0.0.1:4242 10.0.0.2:65536", "port '65536' of '10.0.0.2:65536' is none: use 0..65535"),
        ("tcp 10.0.0.1:x 10.0.0.2:80", "port 'x' of '10.0.0.1:x' is none: use 0..65535"),
        (
            "tcp 10.0.0.256:1 10.0.0.2:80",
            "'10.0.0.256:1' is no end: write an address and a port, such as 10.0.0.1:4000 or [fd00::1]:4000",
        ),
        (
            "client -> server:80/tcp",
            "'client' is no end: write an address and a port, such as 10.0.0.1:4000 or [fd00::1]:4000",
        ),
        (
            "tcp [fe80::1%eth0]:1 [fe80::2]:2",
            "'[fe80::1%eth0]:1' has a zone, which frames don't: leave %eth0 out",
        ),
        (
            "10.0.0.1:1 -> 10.0.0.2:2/tcp vlan=4095",
            "'vlan=4095' is no tag: write vlan=5, or vlan=5,6 for two, each an ID of 1..4094",
        ),
        (
            "tcp 10.0.0.1:1 10.0.0.2:2 please",
            "'please' is no tag: write vlan=5, or vlan=5,6 for two, each an ID of 1..4094",
        ),
    ],
)
def test_what_is_no_session_is_told_what_is_wrong_and_the_fix(text: str, fault: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        SessionKey.parse(text)
    assert refused.value.detail == f"{text!r} is not a session: {fault}"
