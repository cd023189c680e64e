"""What the controller's cases run on: a private Open vSwitch, the controller as a process, frames by hand.

                       n1a | n1b
                    +----- s3 -----+
        h1 h3 --- s1                s2 --- h2         l1o l1i on s1: the master's ports
                    +----- s4 -----+                  l2o l2i on s2: the slave's ports
                          | n2

n1 has two ports and sees no tag; n2 has one port and sees the tags. Each attachment is a veth whose far end
(`NAME.x`) stands for the host, NF or load balancer.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from catenary.errors import Conflict, Unavailable
from catenary.part_clients import ControllerClient
from catenary.wire import SteerRequest, Tags
from topologies.ovs import OpenVSwitch
from topologies.patience import PATIENCE_S

PORTS = {
    "s1": ("h1", "h3", "l1o", "l1i"),
    "s2": ("h2", "l2o", "l2i"),
    "s3": ("n1a", "n1b"),
    "s4": ("n2",),
}
LINKS = (("s1", "s3"), ("s3", "s2"), ("s1", "s4"), ("s4", "s2"))
MACS = {"h1": "00:00:00:00:00:01", "h2": "00:00:00:00:00:02", "h3": "00:00:00:00:00:03"}
NETWORK = {
    "switches": {name: int(name[1:]) for name in PORTS},
    "hosts": {
        name: {"switch": "s2" if name == "h2" else "s1", "port": name, "mac": mac}
        for name, mac in MACS.items()
    },
    "nfs": {
        "n1": {"switch": "s3", "ingress": "n1a", "egress": "n1b"},
        "n2": {"switch": "s4", "ingress": "n2", "egress": "n2", "tags": "kept"},
    },
    "balancers": {
        "l1": {"switch": "s1", "outer": "l1o", "inner": "l1i", "url": "https://10.255.0.11:8082"},
        "l2": {"switch": "s2", "outer": "l2o", "inner": "l2i", "url": "https://10.255.0.12:8082"},
    },
    "segments": {"main": {"master": "l1", "slave": "l2"}},
}
URL = "http://127.0.0.1:8081"
PLAIN = "tcp:127.0.0.1:6653"
ONE = SteerRequest(segment="main", tags=Tags(forward=2, reverse=3), nfs=["n1"])
TWO = SteerRequest(segment="main", tags=Tags(forward=4, reverse=5), nfs=["n2"])
BOTH = SteerRequest(segment="main", tags=Tags(forward=6, reverse=7), nfs=["n1", "n2"])
SOLICITED_ALL = 0x0003
PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 8, 1 << 4

Eventually = Callable[..., None]


def build(ovs: OpenVSwitch, target: str = PLAIN) -> None:
    """Bridges, patch ports `S-T` between them, and a veth for each attachment; `target` is the controller."""
    for name, ports in PORTS.items():
        ovs.add_bridge(name)
        ovs.vsctl("set", "bridge", name, f"other-config:datapath-id={int(name[1:]):016x}")
        for port in ports:
            subprocess.run(
                ["ip", "link", "add", port, "type", "veth", "peer", "name", f"{port}.x"], check=True
            )
            for end in (port, f"{port}.x"):
                Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
                subprocess.run(["ip", "link", "set", end, "up"], check=True)
            ovs.vsctl("add-port", name, port)
    for a, b in LINKS:
        patch(ovs, a, b)
    for name in PORTS:
        reconnect(ovs, name, target)


def patch(ovs: OpenVSwitch, a: str, b: str) -> None:
    for here, there in ((a, b), (b, a)):
        name = f"{here}-{there}"
        options = ["--", "set", "interface", name, "type=patch", f"options:peer={there}-{here}"]
        ovs.vsctl("add-port", here, name, *options)


def cut_off(ovs: OpenVSwitch, bridge: str) -> None:
    """Point a bridge to a controller that is not there; without any, Open vSwitch would drop its flows."""
    ovs.vsctl("set-controller", bridge, "tcp:127.0.0.1:1")


def reconnect(ovs: OpenVSwitch, bridge: str, target: str = PLAIN) -> None:
    ovs.vsctl("set-controller", bridge, target)
    ovs.vsctl("set", "controller", bridge, "max_backoff=1000")


class Controller:
    """The controller as a process, with its client; `options` are further ones of its command."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self._options = options
        self.client = ControllerClient(URL)
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "network.yaml").write_text(json.dumps(NETWORK))

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command(self.directory, *self._options), stdout=log, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def ready(self) -> bool:
        """All switches and links are there, and discovery has settled."""
        try:
            topology = self.client.topology()
            self.client.check("probe", ONE_FREE)
        except (Unavailable, Conflict):
            return False
        return len(topology.links) == len(LINKS)


ONE_FREE = SteerRequest(segment="main", tags=Tags(forward=100, reverse=101), nfs=["n2"])


def command(directory: Path, *more: str) -> list[str]:
    main = "from controller.cli import app; app()"
    files = ["--network", str(directory / "network.yaml"), "--state", str(directory / "state.json")]
    return [sys.executable, "-c", main, "controller", "run", *files, *more]


# --- frames ------------------------------------------------------------------------------------------


class Wire:
    """The far end of an attachment: sends frames, and receives with the tag put back in line."""

    def __init__(self, port: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(263, PACKET_AUXDATA, 1)  # SOL_PACKET
        self._socket.bind((f"{port}.x", SOLICITED_ALL))
        self._socket.setblocking(False)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def received(self) -> list[bytes]:
        """What came in and has not been read; own transmissions are left out."""
        frames: list[bytes] = []
        while True:
            try:
                data, auxiliary, _, address = self._socket.recvmsg(65536, 64)
            except BlockingIOError:
                return frames
            if address[2] != socket.PACKET_OUTGOING:
                frames.append(retagged(data, auxiliary))


def retagged(data: bytes, auxiliary: list[tuple[int, int, bytes]]) -> bytes:
    for _, kind, body in auxiliary:
        status, tci, tpid = (
            int.from_bytes(body[0:4], sys.byteorder),
            body[16:18],
            body[18:20],
        )
        if kind == PACKET_AUXDATA and status & TP_STATUS_VLAN_VALID:
            return data[:12] + tpid[::-1] + tci[::-1] + data[12:]
    return data


def frame(vid: int | None = None, dst: str = MACS["h2"], src: str = MACS["h1"], text: bytes = b"x") -> bytes:
    tag = b"" if vid is None else b"\x81\x00" + vid.to_bytes(2)
    addresses = bytes.fromhex((dst + src).replace(":", ""))
    return addresses + tag + b"\x88\xb5" + text.ljust(46, b".")


def crosses(sender: str, sent: bytes, receiver: str, expected: bytes, eventually: Eventually) -> None:
    """Assert that `sent` into one attachment comes out of another as `expected`.

    It is sent until it arrives: Open vSwitch answers a barrier some milliseconds before its cache of
    decisions follows, so the first frame may still meet an old "drop".
    """
    with Wire(sender) as source, Wire(receiver) as sink:
        got: list[bytes] = []

        def arrived() -> bool:
            source.send(sent)
            got.extend(sink.received())
            return expected in got

        eventually(arrived, what=f"{expected.hex()} at {receiver} (there came {[one.hex() for one in got]})")
        assert set(got) == {expected}
