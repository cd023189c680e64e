"""The testbed with Suricata as its NFs: what one that needs whole sessions finds in them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice

import pytest

from tests.e2e import static_chains
from tests.injections import INJECTIONS, fetch
from tests.isolation import isolated
from topologies.nfs.suricata import Suricata
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import Transfers, WebServer

Eventually = Callable[..., None]
pytestmark = pytest.mark.skipif(
    shutil.which("suricata") is None, reason="needs suricata: run tools/install.sh ids"
)


def inject(testbed: Testbed, count: int) -> list[int | None]:
    """So many injections, each in a session of its own: the clients' ports."""
    server = testbed.hosts["h2"].address()
    return [fetch(testbed.hosts["h3"], server, path) for path in islice(cycle(INJECTIONS), count)]


def told(testbed: Testbed) -> dict[str, Counter[int]]:
    """By instance: how many alerts each client port has raised."""
    return {name: Counter(alert.client_port for alert in nf.alerts()) for name, nf in testbed.nfs.items()}


@isolated
def test_each_injection_is_detected_once_by_one_of_two_instances(eventually: Eventually) -> None:
    with Testbed(nf=Suricata) as testbed, WebServer(testbed.hosts["h2"]) as web:
        testbed.add_chain(["n1"])
        testbed.add_chain(["n2"])
        # Whole files first: frames of full size, and what a card is left to cut, of both families.
        files = [web.url("500k"), web.url("500k", 6)]
        with Transfers(testbed.hosts["h1"], files, name="files", parallel=4, sessions=8) as load:
            assert load.wait(PATIENCE_S).failures == 0
        ports = inject(testbed, 60)
        assert all(ports)
        eventually(lambda: sum(by.total() for by in told(testbed).values()) >= 60, what="the alerts")
        by = told(testbed)
    assert by["n1"] + by["n2"] == Counter(ports)
    assert all(by[name].total() > 5 for name in ("n1", "n2")), by
    assert not by["n3"]
    assert testbed.lasting_leftovers() == []


@isolated
def test_an_injection_whose_answer_crosses_another_instance_is_missed(eventually: Eventually) -> None:
    """What a violation of affinity looks like: all answered, and none told."""
    with Testbed(services=False, nf=Suricata) as testbed, WebServer(testbed.hosts["h2"]):
        static_chains.install(testbed, 1, reverse_by=1)
        assert all(inject(testbed, 8))
        static_chains.install(testbed, 1)
        whole = inject(testbed, 8)
        assert all(whole)
        eventually(lambda: told(testbed)["n1"].total() >= 8, what="the alerts of whole sessions")
        assert told(testbed) == {"n1": Counter(whole), "n2": Counter(), "n3": Counter()}
