"""Chains of a real transparent proxy: what it opens with the client's address comes back to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.e2e.rewriting import begin_removal, lose_tables, mismatches
from tests.isolation import isolated
from topologies.hosts import inside
from topologies.nfs.haproxy import Haproxy
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.translated import SERVER, rewriting_testbed, sides, wait_for_exchange

PORTS = {"n1": (10000, 19999), "n2": (20000, 29999)}
"""Each proxy's own; the clients' begin at 32768."""


class _Echo(BaseHTTPRequestHandler):
    """Says who asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = "{} {}".format(*self.client_address).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Client:
    """A connection of h1 that is kept alive; `proxy` is the NF through which it goes."""

    def __init__(self, testbed: Testbed) -> None:
        with inside(testbed.hosts["h1"]):
            self.http = HTTPConnection(SERVER, 80, timeout=PATIENCE_S)
            self.http.connect()
        self.proxy = self.ask()

    def ask(self) -> str:
        self.http.request("GET", "/")
        answer = self.http.getresponse()
        address, port = answer.read().decode().split()
        assert (answer.status, address) == (200, "10.0.0.1")
        return next(name for name, (first, last) in PORTS.items() if first <= int(port) <= last)


@contextmanager
def proxies() -> Iterator[tuple[Testbed, dict[str, Haproxy]]]:
    with rewriting_testbed() as testbed, ExitStack() as stack:
        with inside(testbed.hosts["h2"]):
            server = ThreadingHTTPServer((SERVER, 80), _Echo)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = {
            name: Haproxy(testbed.hosts[name], *sides(name), origin=f"{SERVER}:80", ports=ports)
            for name, ports in PORTS.items()
        }
        yield testbed, {name: stack.enter_context(proxy) for name, proxy in made.items()}


@isolated
def test_requests_keep_their_proxy_over_changes_and_lost_tables() -> None:
    with proxies() as (testbed, nfs):
        testbed.add_chain(["n1"], name="one")
        clients = [Client(testbed) for _ in range(8)]
        assert {client.proxy for client in clients} == {"n1"}
        testbed.add_chain(["n2"], name="two")
        clients += [Client(testbed) for _ in range(16)]
        assert {client.proxy for client in clients} == {"n1", "n2"}

        wait_for_exchange(testbed)
        lose_tables(testbed, "l2")
        assert all(client.ask() == client.proxy for client in clients)

        removal = begin_removal(testbed, "one")
        assert all(client.ask() == client.proxy for client in clients)
        assert {Client(testbed).proxy for _ in range(8)} == {"n2"}
        for client in clients:
            if client.proxy == "n1":
                client.http.close()
        assert testbed.management.wait(removal, PATIENCE_S).state == "succeeded"
        left = [client for client in clients if client.proxy == "n2"]
        assert all(client.ask() == "n2" for client in left)

        assert [proxy.counters().stray for proxy in nfs.values()] == [0, 0]
        assert all(proxy.counters().opened for proxy in nfs.values())
        assert mismatches(testbed) == {"l1": 0, "l2": 0}
        for client in left:
            client.http.close()
