"""Catenary's services as processes of a testbed: started, waited for, killed, restarted, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catenary import program
from catenary.errors import CatenaryError, NotFound, Unavailable
from topologies.hosts import Host
from topologies.patience import PATIENCE_S

CHECKOUT = Path(__file__).resolve().parents[1]


class ServiceEnded(Unavailable):
    """A service's process is gone: waiting longer is of no use."""


def wait_until(
    condition: Callable[[], object], what: str, timeout: float = PATIENCE_S, *, interval: float = 0.02
) -> None:
    """Poll `condition` until it holds, or raise `Unavailable` that says `what` did not come in `timeout` s.

    A `CatenaryError` out of the condition means "not yet"; the last one is part of the message.
    """
    deadline = time.monotonic() + timeout
    while True:
        reason = ""
        try:
            if condition():
                return
        except ServiceEnded:
            raise
        except CatenaryError as error:
            reason = f" ({error.detail})"
        if time.monotonic() > deadline:
            raise Unavailable(f"{what}: not within {timeout:g} s{reason}")
        time.sleep(interval)


@dataclass(frozen=True)
class Service:
    """`command` of the package `package` on `host`; `ready` tells whether it works.

    `descriptors` of open files are handed on to it.
    """

    name: str
    host: Host
    package: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    descriptors: tuple[int, ...] = ()

    def argv(self) -> list[str]:
        return program.argv(self.package, self.command)


class Services:
    """The running services, by name."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, service: Service, through: Sequence[str] = ()) -> None:
        """Start it without waiting for it; `through` is a command that runs it, such as `nsenter ... --`."""
        path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
        # Whom the user's own commands talk to is nothing to them.
        theirs = {f"CATENARY_{name}" for name in ("URL", "TOKEN_FILE", "CA", "CERT", "KEY")}
        own = {key: value for key, value in os.environ.items() if key not in theirs}
        environment = {**own, "PYTHONPATH": path}
        self._services[service.name] = service
        self._processes[service.name] = service.host.popen(
            [*through, *service.argv()],
            log=service.name,
            env=environment,
            start_new_session=True,
            pass_fds=service.descriptors,
        )

    def wait_ready(self, names: Sequence[str] = (), timeout: float = PATIENCE_S) -> None:
        """Wait until `names` (default: all services) are ready; raises `Unavailable` with a log's end."""
        for name in names or list(self._services):
            service = self._services[name]

            def ready(service: Service = service) -> bool:
                self.check_running(service.name)
                return service.ready()

            wait_until(ready, f"{name} is not ready", timeout, interval=0.05)

    def names(self) -> set[str]:
        return set(self._services)

    def pid(self, name: str) -> int:
        return self._process(name).pid

    def running(self) -> list[str]:
        return [name for name, process in self._processes.items() if process.poll() is None]

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self._process(name)
        process.kill()
        process.wait()

    def restart(self, name: str, *, wait: bool = True, through: Sequence[str] = ()) -> None:
        """Stop it if it runs, start it again with the same command line, and wait until it is ready."""
        self.stop(name)
        self.start(self._services[name], through)
        if wait:
            self.wait_ready([name])

    def stop(self, name: str, timeout: float = 5.0) -> None:
        """SIGTERM, and SIGKILL to one that has not ended after `timeout` s."""
        process = self._process(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop_all(self, timeout: float = 5.0) -> list[str]:
        """Stop all at once; the names of those that did not heed SIGTERM."""
        for name in self.running():
            self._processes[name].send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout
        stubborn = []
        for name, process in self._processes.items():
            try:
                process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                stubborn.append(name)
                process.kill()
                process.wait()
        return stubborn

    def check_running(self, name: str) -> None:
        """Raise `ServiceEnded` with the end of its log if it has ended."""
        status = self._process(name).poll()
        if status is not None:
            raise ServiceEnded(f"{name} has ended with {status}: {self.log_tail(name)}")

    def log_tail(self, name: str, size: int = 1500) -> str:
        log = self._services[name].host.logs / f"{name}.log"
        return log.read_text(errors="replace")[-size:].strip() if log.exists() else ""

    def _process(self, name: str) -> subprocess.Popen[str]:
        if name not in self._processes:
            raise NotFound(f"no service {name!r} here: there are {', '.join(self._processes) or 'none'}")
        return self._processes[name]
