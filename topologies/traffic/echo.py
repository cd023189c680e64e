"""ICMP echo between two hosts, IPv4 and IPv6, without a `ping` command."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # this file is also the program that runs on the host, without the checkout in its path
    from topologies.hosts import Host


def ping(host: Host, address: str, *, count: int = 3, timeout: float = 20.0) -> int:
    """How many of `count` echo requests from `host` to `address` are answered within `timeout` s each."""
    argv = [sys.executable, __file__, address, str(count), str(timeout)]
    return int(host.run(argv, timeout=count * timeout + 60))


def opened(family: int) -> socket.socket:
    """A raw socket for ICMP over IPv4 (4) or IPv6 (6)."""
    kind = (socket.AF_INET, socket.IPPROTO_ICMP) if family == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    return socket.socket(kind[0], socket.SOCK_RAW, kind[1])


def exchange(raw: socket.socket, address: str, identifier: int, sequence: int, timeout: float) -> bool:
    """Send an echo request: is it answered within `timeout` s?"""
    request, reply = (8, 0) if raw.family == socket.AF_INET else (128, 129)
    head = struct.pack("!BBHHH", request, 0, 0, identifier, sequence)
    # The kernel sums ICMPv6 itself.
    total = sum(struct.unpack("!4H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    raw.sendto(struct.pack("!BBHHH", request, 0, checksum, identifier, sequence), (address, 0))
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            data = raw.recv(2048)
        except TimeoutError:
            return False
        if raw.family == socket.AF_INET:
            data = data[(data[0] & 0xF) * 4 :]
        if data[0] == reply and struct.unpack("!HH", data[4:8]) == (identifier, sequence):
            return True
    return False


def main() -> None:
    address, count, timeout = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    identifier = os.getpid() & 0xFFFF
    with opened(6 if ":" in address else 4) as raw:
        print(sum(exchange(raw, address, identifier, number, timeout) for number in range(count)))


if __name__ == "__main__":
    main()
