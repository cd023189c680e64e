"""The tap program on single frames: what it takes for a session, which way, and how much of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from catenary.session import Timeouts
from tests.conftest import Eventually
from witness.places import Place, PlaceKind, nf_places
from witness.recording import INTO, OUT_OF, Recording
from witness.taps import Limits, Taps

PLACES = (
    Place("l1.outer", PlaceKind.OUTER_MASTER, "s1-eth3"),
    Place("l2.outer", PlaceKind.OUTER_SLAVE, "s2-eth2"),
    *nf_places("n1", "s3-eth1", "s3-eth2"),
)
OUTER, NF = 0, 2
LOOPBACK = 1
UNSPEC = 0xFFFFFFFF
PROGRAMS = {INTO: "tap_into", OUT_OF: "tap_out_of"}
H1, H2 = "10.0.0.1", "10.0.0.2"
V1, V2 = "fd00:ca7e::1", "fd00:ca7e::2"


def ether(**fields: Any) -> Packet:
    return Ether(src="00:00:00:00:00:01", dst="00:00:00:00:00:02", **fields)


def tcp4(flags: str = "A", payload: bytes = b"", seq: int = 7, back: bool = False) -> Packet:
    ends = {"sport": 80, "dport": 4000} if back else {"sport": 4000, "dport": 80}
    ip = IP(src=H2, dst=H1) if back else IP(src=H1, dst=H2)
    return ether() / ip / TCP(**ends, flags=flags, seq=seq) / Raw(payload)


class Bench:
    """Taps on no interface, fed by test runs."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps

    def feed(self, frame: Packet | bytes, place: int = OUTER, way: int = INTO) -> None:
        self.taps.bind(LOOPBACK, place)
        outcome = self.taps.program(PROGRAMS[way]).run(bytes(frame), ifindex=LOOPBACK)
        assert outcome.verdict == UNSPEC, "whatever else is attached decides"
        assert outcome.frame == bytes(frame), "a tap changes nothing"

    def rows(self) -> list[tuple[str, str, int, int, int, int]]:
        """(session, place, way, loaded, bare, bytes) of each record."""
        found = self.taps.snapshot()
        return sorted(
            (
                str(found.key(int(row["key"]["session"]))),
                PLACES[row["key"]["place"]].name,
                int(row["key"]["way"]),
                *(int(row["counts"][name]) for name in ("loaded", "bare", "bytes")),
            )
            for row in found.records
        )

    def numbers(self) -> list[int]:
        return sorted(set(self.taps.snapshot().records["key"]["session"].tolist()))

    def others(self) -> int:
        return sum(total.others for total in self.taps.totals().values())


@pytest.fixture
def bench() -> Iterator[Bench]:
    taps = Taps(PLACES, Limits(sessions=1024, records=1024))
    yield Bench(taps)
    taps.close()


def test_both_directions_are_one_session(bench: Bench) -> None:
    bench.feed(tcp4("S"))
    bench.feed(tcp4("A", b"hello"), NF, INTO)
    bench.feed(tcp4("A", b"hello"), NF, INTO)
    bench.feed(tcp4("SA", back=True), OUTER, OUT_OF)
    name = f"{H1}:4000 <-> {H2}:80/tcp"
    assert bench.rows() == [
        (name, "l1.outer", INTO, 0, 1, 0),
        (name, "l1.outer", OUT_OF, 0, 1, 0),
        (name, "n1.ingress", INTO, 2, 0, 10),
    ]
    assert bench.numbers() == [1]
    senders = bench.taps.snapshot().records["key"]["from_high"]
    assert sorted(senders.tolist()) == [0, 0, 1]
    assert bench.taps.dropped == {"sessions_full": 0, "records_full": 0, "unparsed": 0, "unknown_place": 0}


@pytest.mark.parametrize(
    ("frame", "name", "payload"),
    [
        (ether() / IP(src=H1, dst=H2) / UDP(sport=53, dport=99) / b"abc", f"{H1}:53 <-> {H2}:99/udp", 3),
        (
            ether() / IP(src=H2, dst=H1, options=[b"\x01" * 4]) / UDP(sport=9, dport=8) / b"x",
            f"{H1}:8 <-> {H2}:9/udp",
            1,
        ),
        (
            ether() / IP(src=H1, dst=H2) / TCP(sport=1, dport=2, options=[("MSS", 1460)]) / b"four",
            f"{H1}:1 <-> {H2}:2/tcp",
            4,
        ),
        (ether() / IP(src=H1, dst=H1) / UDP(sport=9, dport=8) / b"x", f"{H1}:8 <-> {H1}:9/udp", 1),
        (
            ether() / IPv6(src=V2, dst=V1) / TCP(sport=80, dport=5) / b"hello",
            f"[{V1}]:5 <-> [{V2}]:80/tcp",
            5,
        ),
        (
            ether()
            / IPv6(src=V1, dst=V2)
            / IPv6ExtHdrHopByHop()
            / IPv6ExtHdrDestOpt()
            / IPv6ExtHdrFragment(offset=0, m=1)
            / UDP(sport=5, dport=6, len=100)
            / b"hello",
            f"[{V1}]:5 <-> [{V2}]:6/udp",
            5,
        ),
        (
            ether() / IP(src=H1, dst=H2) / SCTP(sport=5, dport=6) / b"chunk",
            f"{H1}:5 <-> {H2}:6/sctp",
            5,
        ),
        (ether() / IP(src=H1, dst=H2) / ICMP(id=77) / b"ping", f"{H1}:77 <-> {H2}:77/icmp", 4),
        (
            ether() / IPv6(src=V2, dst=V1) / ICMPv6EchoReply(id=77, data=b"pong"),
            f"[{V1}]:77 <-> [{V2}]:77/icmp6",
            4,
        ),
        (ether() / IP(src=H1, dst=H2, proto=47) / b"tunnel", f"{H1}:0 <-> {H2}:0/47", 6),
        (
            ether() / Dot1Q(vlan=2) / IP(src=H1, dst=H2) / UDP(sport=1, dport=2) / b"x",
            f"{H1}:1 <-> {H2}:2/udp",
            1,
        ),
        (
            ether() / Dot1AD(vlan=2) / Dot1Q(vlan=3) / IPv6(src=V1, dst=V2) / UDP(sport=1, dport=2) / b"x",
            f"[{V1}]:1 <-> [{V2}]:2/udp",
            1,
        ),
        (
            ether() / IP(src=H1, dst=H2, flags="MF") / UDP(sport=1, dport=2, len=99) / b"first",
            f"{H1}:1 <-> {H2}:2/udp",
            5,
        ),
    ],
)
def test_sessions(bench: Bench, frame: Packet, name: str, payload: int) -> None:
    bench.feed(frame)
    assert bench.rows() == [(name, "l1.outer", INTO, 1, 0, payload)]


def test_tcp_flags_of_the_first_and_the_last_packet_are_kept(bench: Bench) -> None:
    for flags in ("S", "A", "PA", "FA"):
        bench.feed(tcp4(flags))
    [counts] = bench.taps.snapshot().records["counts"]
    assert (counts["first_flags"], counts["last_flags"]) == (0x02, 0x11)


def test_padding_is_no_payload(bench: Bench) -> None:
    bench.feed(bytes(tcp4("A")).ljust(60, b"\0"))
    assert [row[3:] for row in bench.rows()] == [(0, 1, 0)]


@pytest.mark.parametrize(
    "frame",
    [
        ether() / ARP(psrc=H1, pdst=H2),
        ether() / IPv6(src=V1, dst=V2) / ICMPv6ND_NS(tgt=V2),
        ether() / IP(src=H1, dst=H2) / ICMP(type=3, code=3) / IP(src=H2, dst=H1) / UDP(),
        ether() / IPv6(src=V1, dst=V2) / ICMPv6DestUnreach() / IPv6(src=V2, dst=V1) / UDP(),
        ether() / IP(src=H1, dst=H2, frag=10, proto=17) / b"later fragment",
        ether() / IPv6(src=V1, dst=V2) / IPv6ExtHdrFragment(offset=9, nh=17) / b"later fragment",
        Ether(dst="01:00:5e:00:00:fb") / IP(src=H1, dst="224.0.0.251") / UDP(sport=5353, dport=5353),
        Ether(dst="ff:ff:ff:ff:ff:ff") / IP(src=H1, dst="10.0.0.255") / UDP(sport=1, dport=2),
        ether(type=0x88B5) / b"something else",
    ],
)
def test_what_belongs_to_no_session_is_counted_per_place(bench: Bench, frame: Packet) -> None:
    bench.feed(frame, NF, OUT_OF)
    assert bench.rows() == []
    assert bench.others() == bench.taps.totals()["n1.ingress", OUT_OF].others == 1
    assert not any(bench.taps.dropped.values())


def cut(frame: Packet, size: int) -> bytes:
    return bytes(frame)[:size]


@pytest.mark.parametrize(
    "frame",
    [
        cut(ether() / Dot1Q(vlan=2) / IP(src=H1, dst=H2) / TCP(), 30),
        cut(tcp4(), 46),
        ether() / IP(src=H1, dst=H2, proto=132) / b"short",
        ether() / IP(src=H1, dst=H2, proto=1) / b"short",
        cut(tcp4("A", b"payload"), 56),
        cut(ether() / Dot1Q(vlan=2) / IPv6(src=V1, dst=V2) / TCP(), 50),
        cut(ether() / IPv6(src=V1, dst=V2) / IPv6ExtHdrHopByHop() / TCP(), 56),
        ether() / IP(src=H1, dst=H2, ihl=4, len=40) / (b"\0" * 40),
        ether() / IP(src=H1, dst=H2) / TCP(dataofs=4),
        ether() / IP(src=H1, dst=H2) / TCP(dataofs=15),
        ether() / IP(src=H1, dst=H2, proto=17) / b"short",
        ether(type=0x0800) / IPv6(src=V1, dst=V2) / UDP(),
        ether() / Dot1Q(vlan=2, type=0x8100),
    ],
    ids=range(13),
)
def test_what_cannot_be_parsed_is_owned_up_to(bench: Bench, frame: Packet | bytes) -> None:
    bench.feed(frame)
    assert bench.taps.dropped["unparsed"] == 1
    assert bench.rows() == []


def test_a_new_syn_at_an_outer_port_begins_a_new_session(bench: Bench) -> None:
    for place in (OUTER, NF):
        bench.feed(tcp4("S", seq=100), place)
    bench.feed(tcp4("S", seq=100))  # sent again: the same session
    assert bench.numbers() == [1]
    bench.feed(tcp4("S", seq=200), NF)  # of a proxy inside the chain: still the same
    assert bench.numbers() == [1]
    bench.feed(tcp4("S", seq=300))
    bench.feed(tcp4("SA", seq=5, back=True), OUTER, OUT_OF)
    bench.feed(tcp4("S", seq=300), NF)
    records = bench.taps.snapshot().records["key"]
    assert sorted(records["session"].tolist()) == [1, 1, 2, 2, 2]


Ends = Callable[[Bench], None]
LIMIT_S = 0.1


def opening(bench: Bench) -> None:
    bench.feed(tcp4("S", seq=1))


def established(bench: Bench) -> None:
    opening(bench)
    bench.feed(tcp4("SA", back=True), OUTER, OUT_OF)
    bench.feed(tcp4("A"))


def finished(bench: Bench) -> None:
    established(bench)
    bench.feed(tcp4("FA"))
    bench.feed(tcp4("FA", back=True), OUTER, OUT_OF)


def half_finished(bench: Bench) -> None:
    established(bench)
    bench.feed(tcp4("FA"))


def reset(bench: Bench) -> None:
    established(bench)
    bench.feed(tcp4("RA", back=True), OUTER, OUT_OF)


def echo(bench: Bench) -> None:
    bench.feed(ether() / IP(src=H1, dst=H2) / ICMP() / b"x")


def datagram(bench: Bench) -> None:
    bench.feed(ether() / IP(src=H1, dst=H2) / UDP(sport=1, dport=2) / b"x")


@pytest.mark.parametrize(
    ("timeout", "state", "again", "sessions"),
    [
        ("tcp_opening", opening, opening, 2),
        ("tcp_opening", established, half_finished, 1),
        ("tcp_established", established, established, 2),
        ("tcp_established", half_finished, half_finished, 2),
        ("tcp_established", opening, opening, 1),
        ("tcp_closing", finished, lambda bench: bench.feed(tcp4("A")), 2),
        ("tcp_closing", reset, lambda bench: bench.feed(tcp4("A")), 2),
        ("tcp_closing", half_finished, lambda bench: bench.feed(tcp4("A")), 1),
        ("udp", datagram, datagram, 2),
        ("udp", opening, opening, 1),
        ("other", echo, echo, 2),
        ("other", datagram, datagram, 1),
    ],
)
def test_silence_beyond_the_idle_limit_of_its_state_begins_a_new_session(
    timeout: str, state: Ends, again: Ends, sessions: int, eventually: Eventually
) -> None:
    assert len(numbers_with_pauses(timeout, [state, again], eventually)) == sessions


@pytest.mark.parametrize(("flags", "sessions"), [("FA", 3), ("RA", 3), ("A", 2)])
def test_the_end_of_a_session_that_is_sent_again_begins_none_that_lives(
    flags: str, sessions: int, eventually: Eventually
) -> None:
    def again(bench: Bench) -> None:
        bench.feed(tcp4(flags))

    assert len(numbers_with_pauses("tcp_closing", [finished, again, again], eventually)) == sessions


def numbers_with_pauses(timeout: str, parts: Sequence[Ends], eventually: Eventually) -> list[int]:
    """The sessions of what happens, with a silence beyond the limit after each part."""
    limits = Limits.of(Timeouts(**{timeout: LIMIT_S, "transit": LIMIT_S / 2}))
    found: list[int] = []

    def without_other_pauses() -> bool:
        """A busy machine makes some of its own: then it is done again."""
        with closing(Taps(PLACES, limits)) as taps:
            bench = Bench(taps)
            quick = True
            for part in parts:
                quick &= in_time(part, bench)
                silence = time.monotonic() + 1.1 * LIMIT_S
                eventually(lambda silence=silence: time.monotonic() > silence)
            found[:] = bench.numbers()
        return quick

    eventually(without_other_pauses)
    return found


def in_time(happens: Ends, bench: Bench) -> bool:
    begun = time.monotonic()
    happens(bench)
    return time.monotonic() - begun < LIMIT_S


def test_full_maps_are_owned_up_to() -> None:
    taps = Taps(PLACES, Limits(sessions=5, records=3))
    bench = Bench(taps)
    for port in range(1, 10):
        bench.feed(ether() / IP(src=H1, dst=H2) / UDP(sport=port, dport=99) / b"x")
    dropped = taps.dropped
    taps.close()
    assert dropped["sessions_full"] == 9 - 4
    assert dropped["records_full"] == 4 - 3


def test_an_interface_without_a_place_is_owned_up_to(bench: Bench) -> None:
    bench.taps.program("tap_into").run(bytes(tcp4()), ifindex=LOOPBACK)
    assert bench.taps.dropped["unknown_place"] == 1


def test_a_recording_of_the_taps_survives_the_disk(bench: Bench, tmp_path: Path) -> None:
    bench.feed(tcp4("A", b"hello"))
    bench.feed(ether() / IPv6(src=V1, dst=V2) / UDP(sport=1, dport=2) / b"x", NF, OUT_OF)
    bench.taps.note("fault", "n1 killed", "chain-1")
    before = bench.taps.snapshot({"chain-1": ("n1",)})
    before.save(tmp_path / "run.npz")
    after = Recording.load(tmp_path / "run.npz")
    assert {str(after.key(number)) for number in (1, 2)} == {
        f"{H1}:4000 <-> {H2}:80/tcp",
        f"[{V1}]:1 <-> [{V2}]:2/udp",
    }
    assert after.records.tobytes() == before.records.tobytes()
    [event] = after.events
    assert (event.kind, event.text, event.chain) == ("fault", "n1 killed", "chain-1")
    assert after.begun_ns < event.time_ns <= time.monotonic_ns()
    assert abs(time.time_ns() - time.monotonic_ns() - after.wall_ns) < 1e9
    assert (after.chains, after.dropped) == (before.chains, before.dropped)


def test_totals(bench: Bench) -> None:
    frame = tcp4("A", b"hello")
    for _ in range(3):
        bench.feed(frame)
    total = bench.taps.totals()["l1.outer", INTO]
    assert (total.frames, total.octets, total.payload, total.others) == (3, 3 * len(frame), 15, 0)
    assert bench.taps.totals()["l1.outer", OUT_OF].frames == 0


def test_a_packet_costs_less_than_a_microsecond(bench: Bench, eventually: Eventually) -> None:
    """On a core of its own: another's time is counted, too."""
    bench.taps.bind(LOOPBACK, OUTER)
    program, frame = bench.taps.program("tap_into"), bytes(tcp4("A", b"x" * 100))
    eventually(lambda: program.run(frame, repeat=100_000).duration_ns < 1000)
