"""A real Prometheus, with the configuration and the rules of deploy/, quick enough for a test."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from catenary.errors import Unavailable
from tests.serving import free_port
from topologies.hosts import Host
from topologies.services import ServiceEnded, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
EVERY = "500ms"
STUCK = "2 * catenary_management_chain_cooling_predicted_seconds"


class Prometheus:
    """It scrapes from `host` what deploy/prometheus/prometheus.yml says, twice a second.

    `credentials` stands for /etc/catenary there. Alerts come sooner.
    """

    def __init__(self, host: Host, run_dir: Path, credentials: dict[str, Path]) -> None:
        self._host = host
        self._dir = run_dir / "prometheus"
        self._credentials = credentials
        self.began = time.time()
        self.fired: set[str] = set()
        """The alerts that were waited for, and came."""

    def __enter__(self) -> Self:
        self._dir.mkdir()
        config = (DEPLOY / "prometheus" / "prometheus.yml").read_text().replace("15s", EVERY)
        for name, path in self._credentials.items():
            config = config.replace(f"/etc/catenary/{name}", str(path))
        (self._dir / "prometheus.yml").write_text(config)
        (self._dir / "alerts.yml").write_text(_hurried(RULES.read_text()))
        port = free_port()
        argv = ["prometheus", f"--config.file={self._dir}/prometheus.yml"]
        argv += [f"--storage.tsdb.path={self._dir}/data", f"--web.listen-address=127.0.0.1:{port}"]
        self._process = self._host.popen(argv, log="prometheus")
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        wait_until(self._ready, "Prometheus is not ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise ServiceEnded(f"it has ended: {(self._host.logs / 'prometheus.log').read_text()[-1500:]}")
        try:
            return self._http.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of this moment."""
        return self._get("/api/v1/query", query=expression)

    def values(self, expression: str) -> list[float]:
        """All values since it was started, NaN left out."""
        times = {"start": self.began, "end": time.time(), "step": 1}
        series = self._get("/api/v1/query_range", query=expression, **times)
        found = [float(value) for one in series for _, value in one["values"]]
        return [value for value in found if value == value]

    def targets_up(self) -> int:
        return sum(one["value"][1] == "1" for one in self.query("up"))

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """The labels of all alerts that fire, by name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in self._json("/api/v1/alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    def wait_firing(self, name: str, **labels: str) -> None:
        """Until the alert fires with these labels, and maybe others."""

        def fires() -> bool:
            return any(labels.items() <= found.items() for found in self.firing().get(name, []))

        wait_until(fires, f"{name} with {labels} does not fire", interval=0.2)
        self.fired.add(name)

    def wait_silent(self, name: str, **labels: str) -> None:
        def silent() -> bool:
            return not any(labels.items() <= found.items() for found in self.firing().get(name, []))

        wait_until(silent, f"{name} with {labels} goes on firing", interval=0.2)

    def _get(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._json(path, **parameters)["result"]
        return result

    def _json(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = self._http.get(path, params=parameters).json()
        if answer["status"] != "success":
            raise Unavailable(f"{parameters}: {answer}")
        data: dict[str, Any] = answer["data"]
        return data


def _hurried(rules: str) -> str:
    """The same alerts, sooner: cool-downs are predicted to take up to a minute. promtool holds the times."""
    sooner = re.sub(r"for: \w+", "for: 1s", rules)
    assert STUCK in sooner
    return sooner.replace(STUCK, STUCK.replace("2", "0.05"))
