"""Snort 3 inline, where the user has installed it (Debian 12 has none).

Its rules are those of rules/: with the action `alert` an injection is told and passes, with `block` its
session is cut. (`drop` drops one packet, and what the client sends again passes.)
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Literal

from catenary.errors import InvalidValue, Unsupported
from topologies.hosts import Host
from topologies.nfs import rules
from topologies.nfs.detector import Detector, captures, find, lines
from topologies.nfs.function import Alert, Bridging

Action = Literal["alert", "block"]

_FIX = "build and install Snort 3 with libdaq (https://www.snort.org), or use --nf suricata"
_CONFIG = Path(__file__).with_name("snort.lua")
_DAQS = (Path("/usr/local/lib/daq"), Path("/usr/lib/daq"))


def parse_alert(line: str) -> Alert:
    """From a line of alert_json.txt; raises `InvalidValue` for what is no such line.

    The rules match what clients send, so the source is the client.
    """
    try:
        alert = json.loads(line)
        return Alert(
            time=float(alert["seconds"]),
            signature=alert["sid"],
            message=alert["msg"],
            client=alert["src_addr"],
            client_port=alert.get("src_port", 0),
            server=alert["dst_addr"],
            server_port=alert.get("dst_port", 0),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValue(f"not a line of alert_json.txt: {line.strip()[:200]!r} ({error!r})") from error


def installed() -> str:
    """The path of a Snort 3; raises `Unsupported` where there is none."""
    path = find("snort", _FIX)
    said = subprocess.run([path, "-V"], capture_output=True, text=True, check=False)
    version = re.search(r"Version (\d+)", said.stdout + said.stderr)
    if version is None or int(version[1]) < 3:
        raise Unsupported(f"{path} is no Snort 3 (version {version[1] if version else 'unknown'}): {_FIX}")
    return path


class Snort(Bridging):
    """Snort on `host` between its ports; with `action` "block" it cuts the session of an injection."""

    reads_frames = True

    def __init__(
        self,
        host: Host,
        ingress: str,
        egress: str,
        *,
        rate_mbit: float | None = None,
        action: Action = "alert",
    ) -> None:
        super().__init__(host, ingress, egress, rate_mbit=rate_mbit)
        self._action = action
        self._detector = Detector(host, "snort")

    def open(self) -> None:
        snort = installed()
        self._detector.prepare()
        self._rules.write_text(rules.written(self._action, uri="http_uri"))
        self.take_frames()
        self._detector.start(self.argv(snort), lambda _said: captures(self.host, 2))

    def close(self) -> None:
        self._detector.stop()
        self.give_frames_back()

    def alerts(self) -> list[Alert]:
        return list(map(parse_alert, lines(self._detector.folder / "alert_json.txt")))

    def argv(self, snort: str) -> list[str]:
        """Its command line."""
        daqs = [word for folder in _DAQS if folder.is_dir() for word in ("--daq-dir", str(folder))]
        command = [snort, "-c", str(_CONFIG), "-R", str(self._rules), "-l", str(self._detector.folder)]
        return [*command, *daqs, "--daq", "afpacket", "-i", ":".join(self.ports), "-Q"]

    @property
    def _rules(self) -> Path:
        return self._detector.folder / "sql-injection.rules"
