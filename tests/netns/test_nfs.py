"""NFs between a client and a server: they forward, tell what they find, and stop.

client 10.0.0.1 -- nf0 [NF] nf1 -- 10.0.0.2 server
       fd00::1                     fd00::2
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from catenary.errors import Unavailable
from tests.injections import INJECTIONS, ORDINARY, UNION, exchange, fetch, request
from tests.isolation import isolated
from topologies.hosts import Host
from topologies.nfs.bridge import Bridge
from topologies.nfs.detector import Detector
from topologies.nfs.function import Alert, NetworkFunction
from topologies.nfs.suricata import Suricata
from topologies.traffic import WebServer, ping

Eventually = Callable[..., None]
SERVER, SERVER6 = "10.0.0.2", "fd00::2"
UNIONS = "/1k?id=1%20union%20select%202"
needs_suricata = pytest.mark.skipif(
    shutil.which("suricata") is None, reason="needs suricata: run tools/install.sh ids"
)


@dataclass
class World:
    """The three hosts, with a web server on the server."""

    client: Host
    between: Host
    server: Host

    def fetch(self, path: str, **options: float) -> int | None:
        return fetch(self.client, SERVER, path, **options)

    def alerts(self, nf: NetworkFunction, eventually: Eventually) -> list[Alert]:
        """All until now: one that is raised last comes last."""
        last = self.fetch(UNIONS)
        eventually(lambda: (found := nf.alerts()) and found[-1].client_port == last, what="the last alert")
        return nf.alerts()[:-1]


@contextmanager
def world(logs: Path) -> Iterator[World]:
    with ExitStack() as stack:
        client, between, server = (host(stack, name, logs) for name in ("client", "between", "server"))
        for far, port, link in ((client, "nf0", "c0"), (server, "nf1", "s0")):
            # An NF may read frames as they are: no card is there to finish them.
            wire = f"ip link add {port} type veth peer name {link} netns {far.pid}"
            between.run(["sh", "-ec", wire])
            far.run(["ethtool", "-K", link, "tx", "off"])
            addresses = f"ip addr add {far.ipv4}/24 dev {link}; ip addr add {far.ipv6}/64 dev {link} nodad"
            far.run(["sh", "-ec", f"{addresses}; ip link set {link} up; ip link set lo up"])
        stack.enter_context(WebServer(server))
        yield World(client, between, server)


def host(stack: ExitStack, name: str, logs: Path) -> Host:
    """A network namespace; it is there when its process says so."""
    number = {"client": 1, "server": 2}.get(name, 9)
    process = stack.enter_context(
        subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE, text=True
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    process.stdout.readline()
    return Host(name, process.pid, logs, f"10.0.0.{number}", f"fd00::{number}")


@isolated
def test_a_bridge_forwards_from_its_start_to_its_end(tmp_path: Path) -> None:
    with world(tmp_path) as net:
        nf = Bridge(net.between, "nf0", "nf1", rate_mbit=40)
        for _ in range(2):
            with nf:
                assert net.fetch(next(iter(INJECTIONS)))
                assert ping(net.client, SERVER6, count=1) == 1
                assert nf.alerts() == []
            assert ping(net.client, SERVER, count=1, timeout=0.2) == 0
        nf.stop()  # once more: nothing to do


@needs_suricata
@isolated
def test_suricata_raises_one_alert_for_each_injection_inline_and_beside_a_bridge(
    tmp_path: Path, eventually: Eventually
) -> None:
    with world(tmp_path) as net:
        with Suricata(net.between, "nf0", "nf1") as nf:
            each_is_told_once(net, nf, eventually)
        assert ping(net.client, SERVER, count=1, timeout=0.2) == 0
        with Suricata(net.between, "nf0", "nf1", passive=True) as nf:
            each_is_told_once(net, nf, eventually)
            # What listens holds nothing up.
            net.between.run(["kill", "-KILL", str(nf.pid)])
            assert all(map(net.fetch, INJECTIONS))


@needs_suricata
@isolated
def test_suricata_that_drops_cuts_the_sessions_of_injections_only(
    tmp_path: Path, eventually: Eventually
) -> None:
    with world(tmp_path) as net, Suricata(net.between, "nf0", "nf1", action="drop") as nf:
        assert not any(net.fetch(path, timeout=0.2) for path in INJECTIONS)
        assert all(map(net.fetch, ORDINARY))
        eventually(lambda: len(nf.alerts()) >= len(INJECTIONS), what="the alerts")
        assert [alert.signature for alert in nf.alerts()] == list(INJECTIONS.values())


def each_is_told_once(net: World, nf: NetworkFunction, eventually: Eventually) -> None:
    """Injections, however requests are cut or put into one packet, and over IPv6; no ordinary request."""
    ports = {net.fetch(path): signature for path, signature in INJECTIONS.items()}
    assert all(map(net.fetch, ORDINARY))
    assert {alert.client_port: alert.signature for alert in net.alerts(nf, eventually)} == ports
    assert {(alert.client, alert.server, alert.server_port) for alert in nf.alerts()} == {
        ("10.0.0.1", SERVER, 80)
    }
    before = len(nf.alerts())
    union = request(UNIONS)
    assert exchange(net.client, SERVER, [union[start : start + 11] for start in range(0, len(union), 11)])
    assert exchange(net.client, SERVER, [union * 5])
    assert fetch(net.client, SERVER6, UNIONS)
    assert [alert.signature for alert in net.alerts(nf, eventually)][before:] == [UNION] * 7


def test_a_detector_that_ends_before_it_is_ready_tells_what_it_said(tmp_path: Path) -> None:
    detector = Detector(Host("here", os.getpid(), tmp_path), "ids")
    detector.prepare()
    with pytest.raises(Unavailable, match="here-ids has ended with 3: no such rule"):
        detector.start(["sh", "-c", "echo no such rule; exit 3"], lambda said: False)
