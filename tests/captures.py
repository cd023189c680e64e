"""Captures that tests make: sessions by scapy, each a list of packets with their times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap

CLIENT_MAC, SERVER_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
INJECTION = "/item?id=1%27%20OR%20%271%27%3D%271"
BEGIN, STEP_S = 1_700_000_000.0, 0.002
_SEGMENT = 1400


def sent(forward: bool, layers: Packet) -> Packet:
    source, target = (CLIENT_MAC, SERVER_MAC) if forward else (SERVER_MAC, CLIENT_MAC)
    return Ether(src=source, dst=target) / layers


def http(
    client: str, port: int, server: str, path: str = "/", *, size: int = 3000, at: float = 0
) -> list[Packet]:
    """One request on a TCP session of its own, from `at` seconds on, a packet every `STEP_S`."""
    ip = IPv6 if ":" in client else IP
    request = f"GET {path} HTTP/1.1\r\nHost: server\r\n\r\n".encode()
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size

    def asks(flags: str, seq: int, ack: int, payload: bytes = b"") -> Packet:
        segment = TCP(sport=port, dport=80, flags=flags, seq=seq, ack=ack, window=65000)
        return sent(True, ip(src=client, dst=server) / segment / Raw(payload))

    def answers(flags: str, seq: int, ack: int, payload: bytes = b"") -> Packet:
        segment = TCP(sport=80, dport=port, flags=flags, seq=seq, ack=ack, window=65000)
        return sent(False, ip(src=server, dst=client) / segment / Raw(payload))

    asked, told = 101 + len(request), 501
    packets = [asks("S", 100, 0), answers("SA", 500, 101), asks("A", 101, 501), asks("PA", 101, 501, request)]
    for begin in range(0, len(answer), _SEGMENT):
        piece = answer[begin : begin + _SEGMENT]
        packets.append(answers("A", told, asked, piece))
        told += len(piece)
        packets.append(asks("A", asked, told))
    packets += [asks("FA", asked, told), answers("FA", told, asked + 1), asks("A", asked + 1, told + 1)]
    return timed(packets, at)


def dns(client: str, port: int, server: str, name: str = "host.example", *, at: float = 0) -> list[Packet]:
    """A question and its answer."""
    question = sent(True, IP(src=client, dst=server) / UDP(sport=port, dport=53) / DNS(qd=DNSQR(qname=name)))
    answer = IP(src=server, dst=client) / UDP(sport=53, dport=port) / DNS(qr=1, qd=DNSQR(qname=name))
    return timed([question, sent(False, answer)], at)


def arp() -> list[Packet]:
    return timed([Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP()], 0)


def timed(packets: Sequence[Packet], at: float) -> list[Packet]:
    for number, packet in enumerate(packets):
        packet.time = BEGIN + at + number * STEP_S
    return list(packets)


def mixed(sessions: int, injected: int) -> list[list[Packet]]:
    """HTTP sessions of which the first `injected` carry an injection, one of IPv6, DNS, and no session."""
    found = [
        http(f"192.0.2.{number % 250 + 1}", 2000 + number, "203.0.113.9", path, at=number * 0.003)
        for number, path in enumerate([INJECTION] * injected + ["/index.html"] * (sessions - injected))
    ]
    found += [http("2001:db8::1", 4000, "2001:db8::2"), dns("192.0.2.1", 5353, "203.0.113.53"), arp()]
    return found


def write(path: Path, sessions: Iterable[Sequence[Packet]]) -> Path:
    """A pcap of all their packets, in order of time."""
    wrpcap(str(path), sorted((p for session in sessions for p in session), key=lambda packet: packet.time))
    return path
