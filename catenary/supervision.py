"""What systemd is told of a service: that it is ready, lives, and ends (sd_notify(3): datagrams of text)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd says to a service alone: the processes that it starts have nothing of it."""
PATIENCE_S = 1.0
"""A full queue of datagrams: systemd is busy."""
log = structlog.get_logger("supervision")


@dataclass
class Supervisor:
    """Who started us, at a UNIX socket; None: nobody who wants to know.

    `watchdog` is how often it wants to hear that we live, in s; it ends and restarts what is silent. None: it
    does not watch.
    """

    address: str | None = None
    watchdog: float | None = None
    _told: float = float("-inf")

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Supervisor:
        """As the variables of `environment` say to the process `pid`."""
        address = environment.get("NOTIFY_SOCKET") or None
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        return cls(address, int(microseconds) / 1e6 if ours and microseconds.isdecimal() else None)

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self, now: float, idle: float) -> None:
        """Call it often: it tells twice as often as it must, unless work that rests for `idle` s hangs.

        `now` is of a clock that only measures.
        """
        if self.watchdog is None or idle > self.watchdog or now - self._told < self.watchdog / 2:
            return
        self._told = now
        self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        """A word that gets lost is no reason to end: systemd draws its own conclusions."""
        if self.address is None:
            return
        # An @ stands for the zero byte of an abstract address.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(PATIENCE_S)
                sender.sendto(text.encode(), address)
        except OSError as error:
            log.warning("systemd can't be told", socket=self.address, reason=str(error))
