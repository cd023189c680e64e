"""Zeek beside a bridge, where the user has installed it (Debian 12 has none): it prevents nothing.

It listens on the port towards the clients, where it sees both directions. The script has the rules of rules/.
"""

from __future__ import annotations

import json
from pathlib import Path

from catenary.errors import InvalidValue
from topologies.hosts import Host
from topologies.nfs.bridge import Bridge
from topologies.nfs.detector import Detector, captures, find, lines
from topologies.nfs.function import Alert

_FIX = "install Zeek (https://zeek.org/get-zeek), or use --nf suricata-passive"
SCRIPT = Path(__file__).with_name("sql-injection.zeek")


def parse_alert(line: str) -> Alert:
    """From a line of alerts.log; raises `InvalidValue` for what is no such line."""
    try:
        alert = json.loads(line)
        return Alert(
            time=float(alert["ts"]),
            signature=alert["signature"],
            message=alert["message"],
            client=alert["id.orig_h"],
            client_port=alert["id.orig_p"],
            server=alert["id.resp_h"],
            server_port=alert["id.resp_p"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValue(f"not a line of alerts.log: {line.strip()[:200]!r} ({error!r})") from error


def installed() -> str:
    """The path of Zeek; raises `Unsupported` where there is none."""
    return find("zeek", _FIX)


class Zeek(Bridge):
    """The bridge, and Zeek listening on the port towards the clients."""

    def __init__(self, host: Host, ingress: str, egress: str, *, rate_mbit: float | None = None) -> None:
        super().__init__(host, ingress, egress, rate_mbit=rate_mbit)
        self._detector = Detector(host, "zeek")

    def open(self) -> None:
        zeek = installed()
        self._detector.prepare()
        super().open()
        # -C: checksums may be left to a card that isn't there.
        argv = [zeek, "-C", "-i", self.ports[0], str(SCRIPT)]
        self._detector.start(argv, lambda _said: captures(self.host, 1))

    def close(self) -> None:
        self._detector.stop()
        super().close()

    def alerts(self) -> list[Alert]:
        return list(map(parse_alert, lines(self._detector.folder / "alerts.log")))
