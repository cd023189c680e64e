"""Captures are read whatever wrote them, and what is none is refused by name."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import PcapNgWriter, PcapWriter, wrpcap

from catenary.errors import InvalidValue
from experiments.replay.capture import CUT, MALFORMED, NOT_IP, Frame, Packet, read, unwrap
from tests.captures import BEGIN, SERVER_MAC, dns, http, write

PACKET = bytes(IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=1, dport=2) / b"something")
ETHERNET, ETHERNET6 = (Ether(dst=SERVER_MAC, type=kind) for kind in (0x0800, 0x86DD))
PACKET6 = bytes(IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=1, dport=2) / b"something")


def test_pcap_pcapng_and_gzip_hold_the_same(tmp_path: Path) -> None:
    packets = http("192.0.2.1", 4000, "192.0.2.2")
    plain, zipped, ng = (tmp_path / name for name in ("a.pcap", "a.pcap.gz", "a.pcapng"))
    write(plain, [packets])
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    with PcapNgWriter(str(ng)) as writer:
        writer.write(packets)
    found = read(plain)
    assert [frame.data for frame in found] == [bytes(packet) for packet in packets]
    assert read(zipped) == read(ng) == found
    assert found[0].time_ns == int(BEGIN * 1e9)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic,tick_ns", [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_byte_orders_and_ticks(tmp_path: Path, order: str, magic: int, tick_ns: int) -> None:
    path = tmp_path / "a.pcap"
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 101)
    path.write_bytes(head + struct.pack(f"{order}IIII", 7, 5, len(PACKET), len(PACKET)) + PACKET)
    assert read(path) == [Frame(7 * 10**9 + 5 * tick_ns, 101, PACKET, len(PACKET))]


@pytest.mark.parametrize(
    "link,frame",
    [
        (1, bytes(ETHERNET) + PACKET),
        (1, bytes(ETHERNET) + PACKET + bytes(20)),  # filled up to 60 bytes
        (113, bytes(CookedLinux(proto=0x0800)) + PACKET),
        (276, bytes(CookedLinuxV2(proto=0x0800)) + PACKET),
        (101, PACKET),
        (228, PACKET),
        (0, struct.pack("<I", 2) + PACKET),
    ],
)
def test_link_types(link: int, frame: bytes) -> None:
    assert unwrap(Frame(3, link, frame, len(frame))) == Packet(3, PACKET)


def test_tags_are_taken_off_and_told() -> None:
    frame = (
        bytes(Ether(dst=SERVER_MAC, type=0x8100) / Dot1Q(vlan=5, type=0x8100) / Dot1Q(vlan=6, type=0x86DD))
        + PACKET6
    )
    assert unwrap(Frame(3, 1, frame, len(frame))) == Packet(3, PACKET6, (5, 6))


@pytest.mark.parametrize(
    "data,length,reason",
    [
        (bytes(Ether() / ARP()), 42, NOT_IP),
        (bytes(ETHERNET) + PACKET[:-1], 14 + len(PACKET), CUT),
        (bytes(ETHERNET) + PACKET[:-1], 13 + len(PACKET), MALFORMED),
        (bytes(ETHERNET) + PACKET[:10], 14 + len(PACKET), CUT),
        (bytes(ETHERNET6) + PACKET6[:30], 44, MALFORMED),
        (bytes(ETHERNET6) + PACKET, 14 + len(PACKET), NOT_IP),
        (b"\0" * 6, 6, MALFORMED),
    ],
)
def test_what_is_no_packet_says_why(data: bytes, length: int, reason: str) -> None:
    assert unwrap(Frame(0, 1, data, length)) == reason


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_capture_that_was_cut_off_is_refused_wherever_that_was(tmp_path: Path, kind: str) -> None:
    path, ends = tmp_path / f"a.{kind}", set()
    packets = dns("192.0.2.1", 5353, "192.0.2.53")
    for count in (1, 2):
        with (PcapWriter if kind == "pcap" else PcapNgWriter)(str(path)) as writer:
            writer.write(packets[:count])
        ends.add(path.stat().st_size)
    whole, first = path.read_bytes(), min(ends)
    assert len(read(path)) == 2
    for size in range(first + 1, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidValue, match="ends within a frame"):
            read(path)


def test_a_long_frame_of_an_offload_is_read_whole(tmp_path: Path) -> None:
    long = Ether() / IPv6(src="fd00::1", dst="fd00::2") / TCP() / Raw(b"x" * 65_500)
    wrpcap(str(tmp_path / "a.pcap"), [long])
    [frame] = read(tmp_path / "a.pcap")
    assert frame.data == bytes(long)


@pytest.mark.parametrize(
    "content,message",
    [
        (b"", "is empty: name a capture"),
        (b"GET / HTTP/1.1", "is neither pcap nor pcapng: it begins with 47455420"),
        (b"\xd4\xc3", "is neither pcap nor pcapng: it begins with d4c3"),
        (b"\xd4\xc3\xb2\xa1" + bytes(10), "ends within a frame"),
        (b"\x0a\x0d\x0d\x0a" + bytes(32), "is damaged: "),
        (b"\x1f\x8b" + bytes(30), "is gzipped, but damaged"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1), "has no frames: nothing was captured"),
        (
            struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 105)
            + struct.pack("<IIII", 1, 0, 1, 1)
            + b"x",
            r"has frames of link type 105: use one of 0 \(loopback of BSD\), 1 \(Ethernet\)",
        ),
    ],
)
def test_what_is_no_capture_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match=rf"^--pcap {path}: {message}"):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="can't be read: No such file"):
        read(tmp_path / "none.pcap")
