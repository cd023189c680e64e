"""Daemons that gave up what set-up takes go on as before: probes, lost workers, and their end."""

from __future__ import annotations

import json
import os
import signal
from ipaddress import IPv4Address

import pytest

from catenary import wire
from catenary.part_clients import BalancerClient
from lb_adapter.dataplane.base import DataPlaneName
from lb_adapter.process import RIGHTS
from tests.isolation import isolated
from tests.netns.pair import CLIENT, SERVER, Session, wire_up
from tests.netns.rights import check_rights
from tests.netns.test_lb_process import changed, connected, filters, master, slave
from tests.netns.test_native_process import worker_pid
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

ENDS = {"client": IPv4Address("10.9.0.1"), "server": IPv4Address("10.9.0.2")}
PROBES = wire.HealthOrder(health=wire.HealthCheckModel(kind="udp", interval=0.1, timeout=0.06, **ENDS))


def probed(client: BalancerClient) -> bool:
    health = client.stats().pairs[0].health
    return health is not None and health.verdict == "up"


def carriers() -> list[int]:
    """The workers, if there are any."""
    found = [worker_pid(*ports) for ports in (("l1o", "l1i"), ("l2o", "l2i"))]
    return [pid for pid in found if pid is not None]


@pytest.mark.parametrize("plane", ["ebpf", "af_packet"])
@isolated
def test_load_balancers_work_on_with_the_little_they_keep(plane: DataPlaneName) -> None:
    wire_up()
    client, kept = BalancerClient("http://127.0.0.1:8082"), RIGHTS[plane]
    processes = [slave("--data-plane", plane), master("--data-plane", plane)]
    wait_until(lambda: connected(client), "handshake")
    for process in processes:
        check_rights(process.pid, kept, kept)
    assert client.health().capabilities == list(kept)
    changed(client, wire.Change(add=[wire.PairAdd(forward=2, reverse=3)]))
    client.put_health(PROBES)
    wait_until(lambda: probed(client), "probes come back")
    workers = carriers()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(carriers()) == len(workers), "other workers")
    for pid in carriers():
        check_rights(pid, (), kept)  # its daemon has no right to narrow its bound
    for opener in (CLIENT, SERVER):
        with Session(opener) as session:
            session.talk()
    for process in processes:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, output
        said = [json.loads(line) for line in output.splitlines()]
        assert [line["kept"] for line in said if line["event"] == "capabilities given up"] == [list(kept)]
        assert not {"tick failed", "probes fail"} & {line["event"] for line in said}, output
    assert (filters("l1o"), carriers()) == ("", []), "given back"
