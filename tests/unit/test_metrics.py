"""What Prometheus is told: each service's metrics, by promtool's rules, behind the service's token."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from catenary import wire
from catenary.callers import Callers
from catenary.chain import ChainState
from catenary.metrics import Metric
from catenary.roles import Caller, Role
from catenary.wire import ChainStatus, ServiceStatus, StatusView, Tags
from controller import metrics as controller_metrics
from lb_adapter import metrics as balancer_metrics
from mgmt_system import metrics as management_metrics
from tests.services import SERVICES
from tests.serving import calling

METRICS: dict[str, Collection[Metric]] = {
    "management": management_metrics.METRICS,
    "controller": controller_metrics.METRICS,
    "master": balancer_metrics.METRICS,
    "slave": balancer_metrics.METRICS,
    "standby": balancer_metrics.METRICS,
}
TOKEN = "0123456789abcdef"
BALANCER_NOT_NOW = {
    "catenary_lb_peer_lag_seconds",
    "catenary_lb_entered_sessions_total",
    "catenary_lb_pair_probes_total",
    "catenary_lb_pair_latency_seconds",
    "catenary_lb_standby_following",
    "catenary_lb_standby_lag_seconds",
}
NOT_NOW = {
    "management": {
        "catenary_management_chain_cooling_start_timestamp_seconds",
        "catenary_management_chain_cooling_predicted_seconds",
        "catenary_management_autoscale_chains",
        "catenary_management_autoscale_held",
        "catenary_management_provisioner_failures_total",
    },
    "controller": set[str](),
    "master": BALANCER_NOT_NOW,
    "slave": BALANCER_NOT_NOW,
    "standby": BALANCER_NOT_NOW - {"catenary_lb_standby_following"},
}
"""Told only by a standby, of a chain that cools down or is probed, where a segment scales by itself or its
chains rewrite, by a classifier."""
OK = wire.ManagementHealth(status="ok", chains=1)


@pytest.mark.parametrize("name", SERVICES)
def test_promtool_has_no_complaint(name: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool: run `make test`, or tools/install.sh test")
    with SERVICES[name]() as app:
        text = scrape(calling(app))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_tells_all_of_its_metrics(name: str) -> None:
    with SERVICES[name]() as app:
        told = {sample.name: sample for sample in samples(app)}
    ours = {found for found in told if found.startswith("catenary_")}
    known = {metric.name: metric for metric in METRICS[name]}
    assert ours == known.keys() - NOT_NOW[name]
    assert all(set(told[metric].labels) == set(known[metric].labels) for metric in ours)
    assert "process_resident_memory_bytes" in told


@pytest.mark.parametrize("name", SERVICES)
def test_metrics_are_behind_the_token(name: str) -> None:
    with SERVICES[name](Callers.of({TOKEN: Caller("prometheus", Role.VIEWER)})) as app:
        client = calling(app)
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/metrics", headers={"Origin": "https://evil.example"}).status_code == 401


def test_drops_and_pairs_of_a_master() -> None:
    with SERVICES["master"]() as app:
        app_stats = calling(app).get("/v1/stats").json()
        told = list(samples(app))
    drops = {name for name in app_stats["counters"] if name.startswith("drop_")}
    of = {"segment": "main", "role": "master"}
    assert {it.labels["reason"] for it in told if it.name == "catenary_lb_dropped_packets_total"} == {
        name.removeprefix("drop_") for name in drops
    }
    events = {it.labels["event"] for it in told if it.name == "catenary_lb_events_total"}
    assert events == app_stats["counters"].keys() - drops
    assert Sample("catenary_lb_pair_sessions", {**of, "pair": "2-3"}, 0.0) in told
    assert Sample("catenary_lb_peer_connected", of, 1.0) in told


@pytest.mark.parametrize(
    "state, reason, up",
    [
        (ChainState.ACTIVE, None, True),
        (ChainState.COOLING, "3 sessions are left", True),
        (ChainState.STEERED, "load balancer l1 can't be reached", False),
        (ChainState.FAILED, "no path", False),
    ],
)
def test_when_a_chain_is_up(state: ChainState, reason: str | None, up: bool) -> None:
    chain = ChainStatus(
        name="chain-1",
        segment="main",
        nfs=["n1"],
        tags=Tags(forward=2, reverse=3),
        weight=100,
        state=state,
        reason=reason,
        created=1.0,
        changed=2.0,
        p95=30.0,
    )
    status = StatusView(
        services=[ServiceStatus(name="l1", url="", ok=False)], segments=[], chains=[chain], counters={}
    )
    told = list(management_metrics.samples(OK, status, [], []))
    labels = ("chain-1", "main")
    assert management_metrics.UP(up, *labels) in told
    assert management_metrics.PART(0, "l1") in told
    assert management_metrics.PART(1, "store") in told
    cooling = state is ChainState.COOLING
    assert (management_metrics.BEGAN(2.0, *labels) in told) == cooling
    assert (management_metrics.PREDICTED(30.0, *labels, "0.95") in told) == cooling


def test_a_sample_has_the_labels_of_its_metric() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        management_metrics.UP(1, "chain-1")


def scrape(client: TestClient) -> str:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return answer.text


def samples(app: FastAPI) -> Iterator[Sample]:
    for family in text_string_to_metric_families(scrape(calling(app))):
        yield from family.samples
