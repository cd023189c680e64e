"""Real traffic between h1 and h2: TCP and UDP over IPv4 and IPv6, short and long, opened by either side."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from topologies.patience import PATIENCE_S

ADDRESSES = {"h1": ("10.0.0.1", "fd00:ca7e::1"), "h2": ("10.0.0.2", "fd00:ca7e::2")}
SERVICES = {"h2": (80,), "h1": (7000, 7001)}  # h1 serves what h2 opens; the parity picks the NF
FROM_CLIENT, FROM_SERVER, DATAGRAMS = 120, 20, 20


class Blob(socketserver.BaseRequestHandler):
    """Answers a line with a number by so many bytes."""

    def handle(self) -> None:
        size = int(self.request.makefile().readline())
        self.request.sendall(b"x" * size)


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, back = self.request
        back.sendto(data, self.client_address)


def serve(host: str, ready: Path) -> None:
    """Serve until killed; `ready` appears when all sockets listen."""
    for address in ADDRESSES[host]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port in SERVICES[host]:
            tcp = type(
                "Tcp",
                (socketserver.ThreadingTCPServer,),
                {"address_family": family, "request_queue_size": 100},
            )
            udp = type("Udp", (socketserver.UDPServer,), {"address_family": family})
            for server in (tcp((address, port), Blob), udp((address, port), Echo)):
                threading.Thread(target=server.serve_forever).start()
    ready.touch()


def fetch(local: str, near_port: int, far: tuple[str, int], size: int) -> bool:
    """One TCP session from a given port; True if all of it came."""
    try:
        with socket.create_connection(far, PATIENCE_S, (local, near_port)) as stream:
            stream.sendall(f"{size}\n".encode())
            received = 0
            while data := stream.recv(1 << 16):
                received += len(data)
            return received == size
    except OSError:
        return False


def ask(local: str, near_port: int, far: tuple[str, int]) -> bool:
    """Five datagrams and their answers; one without an answer is sent five times before it is given up."""
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as stream:
        stream.bind((local, near_port))
        stream.settimeout(1)
        return all(any(_answered(stream, far) for _ in range(5)) for _ in range(5))


def _answered(stream: socket.socket, far: tuple[str, int]) -> bool:
    stream.sendto(b"y" * 500, far)
    try:
        return len(stream.recv(2000)) == 500
    except OSError:
        return False


def load(host: str) -> int:
    """All sessions that `host` opens, eight at a time; how many failed."""
    other = "h2" if host == "h1" else "h1"
    jobs = []
    for number in range(FROM_CLIENT if host == "h1" else FROM_SERVER):
        local, far = (addresses[number % 4 == 3] for addresses in (ADDRESSES[host], ADDRESSES[other]))
        port = SERVICES[other][number % len(SERVICES[other])]
        size = 500_000 if number % 10 == 0 else 20_000
        jobs.append((fetch, (local, 20000 + number, (far, port), size)))
    if host == "h1":
        for number in range(DATAGRAMS):
            local, far = (addresses[number % 4 == 3] for addresses in (ADDRESSES[host], ADDRESSES[other]))
            jobs.append((ask, (local, 30000 + number, (far, 80))))
    with ThreadPoolExecutor(8) as pool:
        return sum(not good for good in pool.map(lambda job: job[0](*job[1]), jobs))


@dataclass(frozen=True)
class Load:
    """What the hosts' own programs say of the traffic."""

    opened: int
    failed: int

    @classmethod
    def run(cls, folder: Path) -> Load:
        """Serve on both hosts, then load from both at once; blocks until done."""
        ready = {host: folder / f"{host}.ready" for host in ADDRESSES}
        servers = [spawn(host, "serve", host, str(path)) for host, path in ready.items()]
        try:
            wait_for(ready.values())
            loads = [spawn(host, "load", host) for host in ADDRESSES]
            failed = [json.loads(process.communicate(timeout=5 * PATIENCE_S)[0]) for process in loads]
        finally:
            for process in servers:
                process.kill()
                process.wait()
        return cls(FROM_CLIENT + FROM_SERVER + DATAGRAMS, sum(failed))


def spawn(host: str, *arguments: str) -> subprocess.Popen[str]:
    command = ("ip", "netns", "exec", host, sys.executable, "-m", "tests.netns.witness_traffic", *arguments)
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(files: Iterable[Path]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not all(file.exists() for file in files):
        if time.monotonic() > deadline:
            raise TimeoutError("the servers did not start")
        time.sleep(0.02)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], Path(sys.argv[3]))
    else:
        print(load(sys.argv[2]))
