"""Suricata 7: an intrusion detection system, inline (it forwards what it has inspected) or passive.

Inline it reads a port with AF_PACKET and writes to the other (`copy-mode: ips`), so nothing passes but
through it. Passive, a Linux bridge forwards and Suricata listens. Its rules are those of rules/: with the
action `alert` an injection is told and passes, with `drop` its session is cut.
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Literal

from catenary.errors import InvalidValue, Unsupported
from topologies.hosts import Host
from topologies.nfs import rules
from topologies.nfs.bridge import Bridge
from topologies.nfs.detector import Detector, find, lines
from topologies.nfs.function import Alert, Bridging

Action = Literal["alert", "drop"]

_FIX = "run tools/install.sh ids"
_OLDEST = 7
_CONFIG = Template(Path(__file__).with_name("suricata.yaml").read_text())
# In sight of both, packets of a session meet in one flow table; tpacket-v3 can't be written from.
_INLINE = """\
  - interface: {port}
    copy-iface: {other}
    copy-mode: ips
    threads: 1
    cluster-id: {cluster}
    cluster-type: cluster_flow
    use-mmap: yes
    tpacket-v3: no
    ring-size: 4096
    disable-offloading: no
    checksum-checks: no
"""
# Blocks of a whole frame as the kernel has it before it is cut for the wire.
_PASSIVE = """\
  - interface: {port}
    threads: 1
    cluster-id: {cluster}
    cluster-type: cluster_flow
    use-mmap: yes
    tpacket-v3: yes
    block-size: 262144
    disable-offloading: no
    checksum-checks: no
"""


def parse_alert(line: str) -> Alert | None:
    """From a line of eve.json; None for another event. Raises `InvalidValue` for what is no such line."""
    try:
        event = json.loads(line)
        if event["event_type"] != "alert":
            return None
        # Of the packet that raised it, the source may be either end; of the flow it is who opened it.
        ends = event.get("flow", {})
        ends = ends if "src_ip" in ends else event
        return Alert(
            time=datetime.fromisoformat(event["timestamp"]).timestamp(),
            signature=event["alert"]["signature_id"],
            message=event["alert"]["signature"],
            client=ends["src_ip"],
            client_port=ends.get("src_port", 0),
            server=ends["dest_ip"],
            server_port=ends.get("dest_port", 0),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValue(f"not a line of eve.json: {line.strip()[:200]!r} ({error!r})") from error


class Suricata(Bridging):
    """Suricata on `host` between its ports: inline, or with `passive` beside a bridge.

    With `action` "drop" it cuts the session of an injection; only inline it can.
    """

    def __init__(
        self,
        host: Host,
        ingress: str,
        egress: str,
        *,
        rate_mbit: float | None = None,
        passive: bool = False,
        action: Action = "alert",
    ) -> None:
        super().__init__(host, ingress, egress, rate_mbit=rate_mbit)
        if passive and action == "drop":
            raise InvalidValue("a passive Suricata can't drop: leave out passive, or use action='alert'")
        self._bridge = Bridge(host, ingress, egress) if passive else None
        self._action = action
        self._detector = Detector(host, "suricata")
        self.reads_frames = not passive

    def open(self) -> None:
        self._detector.prepare()
        folder = self._detector.folder
        for name, text in self.files().items():
            (folder / name).write_text(text)
        if self._bridge is None:
            self.take_frames()
        else:
            self._bridge.open()
        argv = [installed(), "-c", str(folder / "suricata.yaml"), "--af-packet", "-l", str(folder)]
        self._detector.start([*argv, "--init-errors-fatal"], lambda said: "Engine started." in said)

    def close(self) -> None:
        self._detector.stop()
        if self._bridge is None:
            self.give_frames_back()
        else:
            self._bridge.close()

    @property
    def pid(self) -> int:
        """Of its process; raises `Unavailable` where it does not run."""
        return self._detector.pid

    def alerts(self) -> list[Alert]:
        found = map(parse_alert, lines(self._detector.folder / "eve.json"))
        return [alert for alert in found if alert is not None]

    def files(self) -> dict[str, str]:
        """What it is configured by: the texts of its files, by name."""
        ingress, egress = self.ports
        if self._bridge is None:
            interfaces = _INLINE.format(port=ingress, other=egress, cluster=97)
            interfaces += _INLINE.format(port=egress, other=ingress, cluster=98)
        else:
            interfaces = _PASSIVE.format(port=ingress, cluster=97)
        return {
            "suricata.yaml": _CONFIG.substitute(folder=self._detector.folder, interfaces=interfaces),
            "sql-injection.rules": rules.written(self._action),
            "classification.config": "",
            "reference.config": "",
            "threshold.config": "",
        }


def installed() -> str:
    """The path of a Suricata that is new enough; raises `Unsupported` where there is none."""
    path = find("suricata", _FIX)
    said = subprocess.run([path, "-V"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"version (\d+)", said)
    if version is None or int(version[1]) < _OLDEST:
        raise Unsupported(f"suricata is {said.strip()!r}: {_OLDEST} or newer is needed, {_FIX}")
    return path
