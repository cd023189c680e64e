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


def _exchange(
    raw: socket.socket, address: str, request: int, reply: int, sequence: int, timeout: float
) -> bool:
    ident = os.getpid() & 0xFFFF
    head = struct.pack("!BBHHH", request, 0, 0, ident, sequence)
    # The kernel sums ICMPv6 itself.
    total = sum(struct.unpack("!4H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    raw.sendto(struct.pack("!BBHHH", request, 0, checksum, ident, sequence), (address, 0))
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            data = raw.recv(2048)
        except TimeoutError:
            return False
        if raw.family == socket.AF_INET:
            data = data[(data[0] & 0xF) * 4 :]
        if data[0] == reply and struct.unpack("!HH", data[4:8]) == (ident, sequence):
            return True
    return False


def main() -> None:
    address, count, timeout = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    family, protocol, request, reply = (
        (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129)
        if ":" in address
        else (socket.AF_INET, socket.IPPROTO_ICMP, 8, 0)
    )
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        print(sum(_exchange(raw, address, request, reply, number, timeout) for number in range(count)))


if __name__ == "__main__":
    main()
