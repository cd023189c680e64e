"""A real Prometheus scrapes all services of the testbed: the dashboard shows them, and each alert fires by
what it is about, and by nothing else."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from catenary.autoscale import AutoscaleConfig, ProvisionerConfig, TargetsConfig
from catenary.config import HealthConfig, SegmentConfig
from catenary.wire import ChainRequest, TimeoutsModel
from tests.dashboards import queries
from tests.e2e.prometheus import RULES, Prometheus
from tests.isolation import isolated
from topologies.credentials import Credentials
from topologies.hosts import inside
from topologies.outages import bring_back, lose_machine
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import FIG4, Testbed
from topologies.traffic import Talks, Transfers, WebServer

SHORT = TimeoutsModel(
    tcp_opening=1, tcp_established=3, tcp_closing=0.5, udp=20, other=2, neighbour=2, lease=0.5, transit=0.2
)
TABLE = 2048
LB = {"segment": "main"}
DRY_RUN = AutoscaleConfig(
    mode="dry-run",
    maximum=1,
    targets=TargetsConfig(sessions=100),
    interval=1.0,
    provisioner=ProvisionerConfig(copies=[["n2"]]),
)
OPEN = replace(FIG4, segments={"main": SegmentConfig(master="l1", slave="l2", when_lb_gone="fail-open")})


@contextmanager
def watched() -> Iterator[tuple[Testbed, Prometheus]]:
    """The testbed with two chains, and a Prometheus that reaches all four services."""
    with Testbed(blueprint=OPEN, timeouts=SHORT, sessions=TABLE) as testbed:
        testbed.add_chain(["n1"], name="chain-1")
        testbed.add_chain(["n2"], name="chain-2")
        made = Credentials(testbed.run_dir / "credentials")
        own = made.identity()
        files = {"balancer.token": made.token_file, "ca.pem": made.ca}
        files |= {"prometheus.pem": own.cert, "prometheus.key": own.key}
        with Prometheus(testbed.hosts["root"], testbed.run_dir, files) as prometheus:
            wait_until(lambda: prometheus.targets_up() == 4, "not all targets are up", interval=0.2)
            yield testbed, prometheus


@isolated
def test_every_panel_has_data_and_every_alert_fires() -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus: run `make test`, or tools/install.sh test")
    with watched() as (testbed, prometheus):
        h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
        with (
            WebServer(h2) as web,
            Transfers(h1, web.url("20k"), name="load", parallel=4, sessions=40) as load,
        ):
            assert load.wait(PATIENCE_S).failures == 0
        with Talks(h1, h2, name="talks", sessions=16):
            assert not prometheus.firing()
            testbed.management.remove_chain("chain-1")
            every_panel_has_data(prometheus)
            a_tag_contradicts_a_pin(testbed, prometheus)
            assert prometheus.firing().keys() <= {"CatenaryAffinityMismatch", "CatenaryCoolDownStuck"}
            the_table_fills(testbed, prometheus)
            the_slave_dies(testbed, prometheus)
            prometheus.wait_firing("CatenaryCoolDownStuck", chain="chain-1", **LB)
            the_slaves_machine_dies(testbed, prometheus)
            a_chain_dies(testbed, prometheus)
            a_chain_waits(testbed, prometheus)
            the_autoscaler_sees_nothing(testbed, prometheus)
        assert prometheus.fired == set(re.findall(r"- alert: (\w+)", RULES.read_text()))


def every_panel_has_data(prometheus: Prometheus) -> None:
    left = dict(queries())
    assert len(left) > 15

    def all_have() -> bool:
        for panel, query in list(left.items()):
            if prometheus.values(query):
                del left[panel]
        return not left

    try:
        wait_until(all_have, "panels have no data", interval=0.5)
    finally:
        assert not left


def a_tag_contradicts_a_pin(testbed: Testbed, prometheus: Prometheus) -> None:
    """What comes out of chain-2 towards the master bears the tag of chain-1 instead."""
    pairs = {name: testbed.management.chain(name).tags for name in ("chain-1", "chain-2")}
    inner = testbed.interface("l1", "inner")
    match = f"dl_vlan={pairs['chain-2'].reverse}"
    actions = f"set_field:{4096 + pairs['chain-1'].reverse}->vlan_vid,output:{inner}"
    testbed.ovs.ofctl("add-flow", "s1", f"priority=60000,cookie=0xbad,{match},actions={actions}")
    try:
        prometheus.wait_firing("CatenaryAffinityMismatch", role="master", **LB)
    finally:
        testbed.ovs.ofctl("del-flows", "s1", "cookie=0xbad/-1")


def the_table_fills(testbed: Testbed, prometheus: Prometheus) -> None:
    """As many UDP sessions as there is room for: one a port."""
    with inside(testbed.hosts["h1"]):
        client = socket.socket(type=socket.SOCK_DGRAM)
    with client:

        def nearly_full() -> bool:
            for port in range(10_000, 10_000 + TABLE):
                client.sendto(b"hello", (testbed.hosts["h2"].address(), port))
            found = testbed.balancers["l1"].stats()
            return found.pins > 0.95 * found.capacity

        wait_until(nearly_full, "the table does not fill", interval=0.2)
    prometheus.wait_firing("CatenaryTableNearlyFull", role="master", **LB)


def the_slave_dies(testbed: Testbed, prometheus: Prometheus) -> None:
    testbed.kill("l2")
    prometheus.wait_firing("CatenaryPeerLost", role="master", **LB)
    prometheus.wait_firing("CatenaryPartDown", part="l2")
    prometheus.wait_firing("CatenaryTargetDown", job="catenary-lb", instance="10.255.0.12:8082")
    testbed.restart("l2")
    prometheus.wait_silent("CatenaryPeerLost")


def a_chain_dies(testbed: Testbed, prometheus: Prometheus) -> None:
    """All its rules and ports are there, and nothing passes: only probes can tell."""
    config, health = testbed.management.config(), HealthConfig(interval=0.5, timeout=0.3)
    segments = {
        name: segment.model_copy(update={"health": health}) for name, segment in config.segments.items()
    }
    scaled = config.model_copy(update={"segments": segments, "autoscale": {"main": DRY_RUN}, "chains": {}})
    testbed.management.apply(scaled)
    wait_until(lambda: verdict(testbed) == "up", "chain-2 is not up")
    assert not prometheus.query('ALERTS{alertname="CatenaryChainDown"}')
    testbed.firewalls["n2"].stop()
    prometheus.wait_firing("CatenaryChainDown", chain="chain-2", **LB)


def verdict(testbed: Testbed) -> str | None:
    found = next(item for item in testbed.management.status().chains if item.name == "chain-2")
    return found.health.verdict if found.health else None


def the_slaves_machine_dies(testbed: Testbed, prometheus: Prometheus) -> None:
    lose_machine(testbed, "l2")
    prometheus.wait_firing("CatenaryBalancerGone", balancer="l2", **LB)
    prometheus.wait_firing("CatenaryLedAround", **LB)
    bring_back(testbed, "l2")
    prometheus.wait_silent("CatenaryLedAround")


def a_chain_waits(testbed: Testbed, prometheus: Prometheus) -> None:
    """Nobody steers it while the controller is gone."""
    testbed.kill("controller")
    testbed.management.add_chain(ChainRequest(nfs=["n3"], name="waits"))
    prometheus.wait_firing("CatenaryChainDown", chain="waits", **LB)


def the_autoscaler_sees_nothing(testbed: Testbed, prometheus: Prometheus) -> None:
    """Only the master tells what chains carry."""
    testbed.kill("l1")
    prometheus.wait_firing("CatenaryAutoscalerHeld", **LB)
