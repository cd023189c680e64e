"""Nodes of one etcd on the loopback of a network namespace, with which they end."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from catenary.certs import Folder
from catenary.errors import Unsupported
from catenary.tls import client_context
from mgmt_system.store import under
from mgmt_system.store.gateway import SCHEME, SECURE
from topologies.namespaces import require_isolated
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

LIMITS = ("--max-txn-ops", "4096", "--max-request-bytes", "8388608")


class Nodes:
    """So many nodes of one etcd; `options` are those of each.

    With `tls` they show the certificate of that folder's part `PART`, and want one of its CA from callers if
    it is `mutual`. With users it can't be: etcd takes no names of certificates by its JSON gateway.
    """

    PART = "etcd"

    def __init__(
        self, folder: Path, count: int, *options: str, tls: Folder | None = None, mutual: bool = True
    ) -> None:
        require_isolated()
        if shutil.which("etcd") is None:
            raise Unsupported("there is no etcd here: run tools/install.sh test")
        self._folder = folder
        self._tls = tls
        self._options = (*LIMITS, *options, *(_tls_options(tls, mutual) if tls else ()))
        self._scheme = "https" if tls else "http"
        self._http = httpx.Client(trust_env=False, timeout=1, verify=self._trust())
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.numbers = range(count)
        self.url = (SECURE if tls else SCHEME) + ",".join(self.at(number) for number in self.numbers)
        for number in self.numbers:
            self.start(number)
        wait_until(lambda: self.leader() is not None, "etcd has a leader")

    def at(self, number: int) -> str:
        """Where its clients find a node."""
        return f"127.0.0.1:{12379 + 10 * number}"

    def _peer(self, number: int) -> str:
        return f"http://127.0.0.1:{12380 + 10 * number}"

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            return client_context("http:", None, None)
        return client_context("https:", self._tls.ca, self._tls.identity(self.PART))

    def start(self, number: int) -> None:
        client, peer = f"{self._scheme}://{self.at(number)}", self._peer(number)
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
        answer = self._http.post(f"{self._scheme}://{self.at(number)}/v3/{path}", json=body or {})
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

    def protect(self, name: str, password: str, prefix: str) -> None:
        """From now on only this user may read and write, and only what begins with `prefix`."""
        key, end = (b64encode(text.encode()).decode() for text in under(prefix))
        self.ask(0, "auth/role/add", {"name": "root"})
        self.ask(0, "auth/role/add", {"name": name})
        allowed = {"permType": "READWRITE", "key": key, "range_end": end}
        self.ask(0, "auth/role/grant", {"name": name, "perm": allowed})
        for user, role in (("root", "root"), (name, name)):
            self.ask(0, "auth/user/add", {"name": user, "password": password})
            self.ask(0, "auth/user/grant", {"user": user, "role": role})
        self.ask(0, "auth/enable")

    def close(self) -> None:
        self._http.close()
        for process in self._processes.values():
            process.kill()
            process.wait(PATIENCE_S)


def _tls_options(tls: Folder, mutual: bool) -> list[str]:
    own = tls.identity(Nodes.PART)
    shown = ["--cert-file", str(own.cert), "--key-file", str(own.key)]
    return [*shown, *(["--client-cert-auth", "--trusted-ca-file", str(tls.ca)] if mutual else [])]


@contextmanager
def etcd(
    folder: Path, count: int, *options: str, tls: Folder | None = None, mutual: bool = True
) -> Iterator[Nodes]:
    nodes = Nodes(folder, count, *options, tls=tls, mutual=mutual)
    try:
        yield nodes
    finally:
        nodes.close()
