"""Switches and controller over mutual TLS, with a real Open vSwitch: who is let in, and new certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from catenary import certs
from catenary.certs import Folder
from catenary.tls import Identity
from controller.steering import chain_cookie
from tests.isolation import isolated
from tests.netns.controller_world import ONE, PLAIN, PORTS, Controller, build, cut_off, reconnect
from topologies.ovs import OpenVSwitch
from topologies.services import wait_until

TLS = "ssl:127.0.0.1:6653"


def options(folder: Folder) -> list[str]:
    own = folder.identity("controller")
    files = {"cert": own.cert, "key": own.key, "ca": folder.ca}
    return [word for name, path in files.items() for word in (f"--openflow-tls-{name}", str(path))]


def show(ovs: OpenVSwitch, identity: Identity, ca: Path) -> None:
    """What this host's switches show from now on, and whom they trust."""
    ovs.vsctl("set-ssl", str(identity.key), str(identity.cert), str(ca))


@isolated
def test_switches_of_one_authority_are_let_in_and_no_others(tmp_path: Path) -> None:
    folder, other = Folder(tmp_path / "certs"), Folder(tmp_path / "other")
    for each in (folder, other):
        certs.init(each.path, {"controller": [], "a": []}, datetime.now(UTC))
    controller = Controller(tmp_path, *options(folder))
    with OpenVSwitch(tmp_path / "ovs") as ovs:
        show(ovs, folder.identity("a"), folder.ca)
        build(ovs, TLS)
        controller.start()
        try:
            wait_until(controller.ready, "discovery")
            steered = controller.client.steer("chain-1", ONE)  # each switch has answered a barrier
            cookie = f"cookie={chain_cookie('chain-1'):#x}"
            assert steered.rules == sum(cookie in line for name in PORTS for line in ovs.flows(name))
            cut_off(ovs, "s3")
            show(ovs, other.identity("a"), folder.ca)
            refused(ovs, controller, TLS, "certificate verify failed")
            show(ovs, folder.identity("a"), folder.ca)
            refused(ovs, controller, PLAIN, "SSL")
            certs.renew(folder.path, [], datetime.now(UTC))
            reconnect(ovs, "s3", TLS)
            wait_until(lambda: controller.client.chains()[0].installed, "s3 with its rules")
            assert "certificates were read anew" in controller.log
        finally:
            print(controller.log)
            controller.stop()


def refused(ovs: OpenVSwitch, controller: Controller, target: str, why: str) -> None:
    """s3 tries to connect to this, and fails; the other switches stay."""
    logged = len(controller.log)
    reconnect(ovs, "s3", target)

    def told() -> bool:
        lines = controller.log[logged:].splitlines()
        return any("a switch was refused" in line and why in line for line in lines)

    wait_until(told, f"a refusal: {why}")
    wait_until(lambda: controller.client.health().switches_connected == 3, "three switches that stay")
