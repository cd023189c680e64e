"""A management system as its users start it, beside stand-ins for all that it talks to."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from catenary import wire
from catenary.client import ManagementClient
from catenary.config import ServiceConfig
from catenary.errors import Unavailable
from experiments.management.documents import CONTROLLER
from topologies import namespaces
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.services import Service, Services, wait_until

MANAGEMENT_PORT, STAND_INS_PORT = 8080, 8090
MANAGEMENT_URL = f"http://127.0.0.1:{MANAGEMENT_PORT}"
STAND_INS_URL = f"http://{CONTROLLER}:{STAND_INS_PORT}"


class Site:
    """Both processes; `config` is what the management system is started with, its chains left out."""

    def __init__(self, config: ServiceConfig) -> None:
        namespaces.require_isolated()
        self.directory = Path(tempfile.mkdtemp(prefix="management-", dir=namespaces.PRIVATE))
        self.management = ManagementClient(MANAGEMENT_URL, timeout=PATIENCE_S)
        self._network = self.directory / "service.yaml"
        bare = config.model_copy(update={"chains": {}})
        self._network.write_text(yaml.safe_dump(bare.model_dump(mode="json", exclude_defaults=True)))
        self._root = Host("root", os.getpid(), self.directory, "127.0.0.1")
        self._services = Services()
        self._stand_ins: subprocess.Popen[str] | None = None

    def start_stand_ins(self) -> None:
        """They hold nothing."""
        module = "experiments.management.stand_ins"
        argv = [sys.executable, "-m", module, str(self._network), str(STAND_INS_PORT)]
        self._stand_ins = self._root.popen(argv, log="stand-ins")
        wait_until(lambda: self.held() is not None, "the stand-ins answer")

    def start_management(self) -> None:
        """Does not wait for it."""
        files = ("--network", str(self._network), "--db", str(self.directory / "ms.db"))
        command = ("ms", "run", *files, "--port", str(MANAGEMENT_PORT))
        self._services.start(Service("ms", self._root, "mgmt_system", command, self._answers))

    def wait_ready(self) -> None:
        self._services.wait_ready()

    def kill(self) -> None:
        """SIGKILL to both."""
        self._services.kill("ms")
        self._kill_stand_ins()

    def held(self) -> dict[str, int] | None:
        """What the stand-ins hold; None while they don't answer."""
        try:
            answer: dict[str, int] = httpx.get(f"{STAND_INS_URL}/held", trust_env=False).json()
        except httpx.HTTPError:
            return None
        return answer

    def check_answers(self) -> None:
        """Raise `Unavailable` if the stand-ins had no answer to some call: it would take longer than that."""
        strange = httpx.get(f"{STAND_INS_URL}/unanswered", trust_env=False).json()
        if strange:
            raise Unavailable(f"the stand-ins have no answer to {', '.join(strange)}")

    def peak_memory_mb(self) -> float:
        """The most that the management system's process has had in memory, in 10^6 bytes."""
        status = Path(f"/proc/{self._services.pid('ms')}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6

    def apply(self, config: ServiceConfig, *, force: bool = False) -> wire.OperationView:
        """Apply it and wait for its end; raises `Unavailable` if it fails."""
        operation = self.management.apply(config, force=force)
        if operation is None:
            raise Unavailable("there was nothing to apply")
        ended = self.management.wait(operation, PATIENCE_S)
        if ended.state != "succeeded":
            raise Unavailable(f"operation {ended.id} has {ended.state}: {ended.reason}")
        return ended

    def close(self) -> None:
        self.management.close()
        self._services.stop_all()
        self._kill_stand_ins()

    def _kill_stand_ins(self) -> None:
        if self._stand_ins is not None:
            self._stand_ins.kill()
            self._stand_ins.wait()
            self._stand_ins = None

    def _answers(self) -> bool:
        return bool(self.management.health().status)


@contextmanager
def site(config: ServiceConfig) -> Iterator[Site]:
    """Both are up; gone at the end."""
    made = Site(config)
    try:
        made.start_stand_ins()
        made.start_management()
        made.wait_ready()
        yield made
    finally:
        made.close()
