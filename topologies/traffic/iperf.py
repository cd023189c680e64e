"""iperf3: plain TCP throughput between two hosts."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from catenary.errors import InvalidValue, Unavailable, Unsupported
from topologies.hosts import Host
from topologies.patience import PATIENCE_S

_SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclass(frozen=True)
class IperfResult:
    """`throughput` in bytes a second as received, `per_second` as sent, `retransmits` of all streams."""

    throughput: float
    per_second: tuple[float, ...]
    retransmits: int

    @classmethod
    def parse(cls, text: str) -> IperfResult:
        """From `iperf3 -J`; raises `InvalidValue` with iperf3's own error when it failed."""
        answer = json.loads(text)
        if "error" in answer:
            raise InvalidValue(f"iperf3 failed: {answer['error']}")
        return cls(
            throughput=answer["end"]["sum_received"]["bits_per_second"] / 8,
            per_second=tuple(item["sum"]["bits_per_second"] / 8 for item in answer["intervals"]),
            retransmits=answer["end"]["sum_sent"].get("retransmits", 0),
        )


class Iperf:
    """`run` measures from `client` to `server`, or back with `reverse`, over IPv`family`."""

    def __init__(self, client: Host, server: Host, *, port: int = 5201) -> None:
        self._client = client
        self._server = server
        self._port = port

    def run(
        self, seconds: int = 3, *, parallel: int = 4, reverse: bool = False, family: int = 4
    ) -> IperfResult:
        if shutil.which("iperf3") is None:
            raise Unsupported("iperf3 is not installed: apt-get install iperf3")
        server = self._server.popen(["iperf3", "-s", "-1", "-p", str(self._port)], **_SILENT)
        try:
            self._wait_listening(server)
            argv = ["iperf3", "-J", "-c", self._server.address(family), "-p", str(self._port)]
            argv += ["-t", str(seconds), "-P", str(parallel), *(["-R"] if reverse else [])]
            return IperfResult.parse(self._client.attempt(argv, timeout=seconds + PATIENCE_S).stdout)
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
            server.wait()

    def _wait_listening(self, server: subprocess.Popen[str], timeout: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout
        while not self._server.listens(server, self._port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"iperf3 does not listen on {self._server.name}:{self._port}")
            time.sleep(0.02)
