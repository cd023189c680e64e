"""Nodes of one etcd on the loopback of a network namespace, with which they end."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from catenary.errors import Unsupported
from topologies.namespaces import require_isolated
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

LIMITS = ("--max-txn-ops", "4096", "--max-request-bytes", "8388608")


class Nodes:
    """So many nodes of one etcd; `options` are those of each."""

    def __init__(self, folder: Path, count: int, *options: str) -> None:
        require_isolated()
        if shutil.which("etcd") is None:
            raise Unsupported("there is no etcd here: run tools/install.sh test")
        self._folder = folder
        self._options = (*LIMITS, *options)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.numbers = range(count)
        self.url = "etcd://" + ",".join(self.at(number) for number in self.numbers)
        for number in self.numbers:
            self.start(number)
        wait_until(lambda: self.leader() is not None, "etcd has a leader")

    def at(self, number: int) -> str:
        """Where its clients find a node."""
        return f"127.0.0.1:{12379 + 10 * number}"

    def _peer(self, number: int) -> str:
        return f"http://127.0.0.1:{12380 + 10 * number}"

    def start(self, number: int) -> None:
        client, peer = f"http://{self.at(number)}", self._peer(number)
        members = ",".join(f"n{number}={self._peer(number)}" for number in self.numbers)
        argv = ["etcd", "--name", f"n{number}", "--data-dir", str(self._folder / f"etcd-{number}")]
        argv += ["--listen-client-urls", client, "--advertise-client-urls", client]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        argv += ["--initial-cluster", members, "--logger", "zap", *self._options]
        with (self._folder / f"etcd-{number}.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        process = self._processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)

    def hold(self, number: int) -> None:
        """Have a node hang: connections to it are accepted, and nothing is answered."""
        self._processes[number].send_signal(signal.SIGSTOP)

    def go_on(self, number: int) -> None:
        self._processes[number].send_signal(signal.SIGCONT)

    def leader(self) -> int | None:
        """Which of them leads etcd; None: they have none."""
        for number in self._processes:
            try:
                said = self.ask(number, "maintenance/status")
            except httpx.HTTPError:
                continue
            if said.get("leader") == said["header"]["member_id"]:
                return number
        return None

    def ask(self, number: int, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = httpx.post(
            f"http://{self.at(number)}/v3/{path}", json=body or {}, timeout=1, trust_env=False
        )
        answer.raise_for_status()
        return answer.json()

    def make_room(self) -> None:
        """What operators do when a node has none left."""
        now = self.ask(0, "kv/range", {"key": "AA=="})["header"]["revision"]
        self.ask(0, "kv/compaction", {"revision": now, "physical": True})
        for number in self._processes:
            self.ask(number, "maintenance/defragment")
        for alarm in self.ask(0, "maintenance/alarm").get("alarms", []):
            self.ask(0, "maintenance/alarm", {**alarm, "action": "DEACTIVATE"})

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait(PATIENCE_S)


@contextmanager
def etcd(folder: Path, count: int, *options: str) -> Iterator[Nodes]:
    nodes = Nodes(folder, count, *options)
    try:
        yield nodes
    finally:
        nodes.close()
