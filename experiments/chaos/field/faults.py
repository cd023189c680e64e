"""Every kind of fault: do it, see that it is in force, undo it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from catenary.chain import ChainState
from catenary.errors import CatenaryError
from experiments.chaos.field.scene import Scene
from experiments.chaos.field.schedule import Kind, Strike
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.wiring import CONTROL_BRIDGE

STORM, STORM_EVERY_S = 16, 0.1
CLOCK_STEPS_S = (3600, -600, 86_400 * 40)
"""How far a daemon's clock steps, in turn: an hour on, 600 s back (but not below 0), 40 days on."""
_FLOOD, _FLOOD_RATE = 1400, 1000.0


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """`strike` does it, `undo` takes it back; both return once it is done. `in_force` asks the system."""

    what: str
    strike: Callable[[], None]
    in_force: Callable[[], bool]
    undo: Callable[[], None] = _nothing


def fault(strike: Strike, scene: Scene) -> Fault:
    """The fault that a strike of the schedule stands for."""
    return _MAKERS[strike.kind](scene, strike.turn)


def _calm(scene: Scene, turn: int) -> Fault:
    return Fault("nothing, for comparison", _nothing, lambda: True)


def _kill(service: str, scene: Scene, turn: int) -> Fault:
    testbed = scene.testbed
    return Fault(
        f"kill -9 {service}",
        partial(testbed.kill, service),
        lambda: service not in testbed.services.running() and not scene.probes.answers(service),
        partial(testbed.restart, service),
    )


def _cut_control(scene: Scene, turn: int) -> Fault:
    """A load balancer's leg of the control network: the master loses its slave, or the MS the master."""
    name, root = ("l2", "l1")[turn % 2], scene.testbed.hosts["root"]
    probes = scene.probes

    def turn_leg(state: str) -> None:
        root.run(["ip", "link", "set", f"{CONTROL_BRIDGE}-{name}", state])

    def missed() -> bool:
        """Has it been missed by whoever talks to it?"""
        other = probes.master.health() if name == "l2" else probes.management.health()
        return other.status == "degraded" and not probes.answers(name)

    return Fault(
        f"control link of {name} cut",
        partial(turn_leg, "down"),
        missed,
        partial(turn_leg, "up"),
    )


def _cut_bypass(scene: Scene, turn: int) -> Fault:
    """All that the load balancers send to each other past the chains: asks and hints (even IDs, out of the
    slave's inner port), answers (odd IDs, out of the master's)."""
    testbed = scene.testbed
    ways = (("s2", testbed.interface("l2", "inner"), 0), ("s1", testbed.interface("l1", "inner"), 1))
    matches = {switch: f"in_port={port},vlan_vid={0x1000 + odd:#x}/0x1001" for switch, port, odd in ways}

    def cut() -> None:
        for switch, match in matches.items():
            testbed.ovs.ofctl("add-flow", switch, f"priority=65535,{match},actions=drop")

    def mend() -> None:
        for switch, match in matches.items():
            testbed.ovs.ofctl("--strict", "del-flows", switch, f"priority=65535,{match}")

    def hit() -> bool:
        """Has it dropped anything yet? Every session that the server side opens asks."""
        flows = [flow for flow in testbed.ovs.flows("s2") if "priority=65535" in flow]
        if not flows:
            cut()  # the controller, in the middle of a look at its rules, took ours for an old one
        return any("n_packets=0," not in flow for flow in flows)

    return Fault("bypass path cut", cut, hit, mend)


def _lose_maps(name: str, scene: Scene, turn: int) -> Fault:
    """Daemon, programs and pinned maps are gone; a new daemon begins with nothing."""
    testbed = scene.testbed
    pins = testbed.pins(name)

    def lose() -> None:
        testbed.kill(name)
        off = "; ".join(f"tc qdisc del dev {name}-{port} clsact" for port in ("outer", "inner"))
        testbed.hosts[name].run(["sh", "-ec", f"{off}; rm -r {pins}"])

    return Fault(
        f"{name} loses its pinned maps", lose, lambda: not pins.exists(), partial(testbed.restart, name)
    )


def _storm(scene: Scene, turn: int) -> Fault:
    """Changes of one chain in quick succession, beside those that go on anyway."""
    management, master = scene.probes.management, scene.testbed.balancers["l1"]
    names: list[str] = []
    epochs: list[int] = []

    def blow() -> None:
        names.append(name := scene.churn.reserve())
        epochs.append(master.health().epoch)
        begun, done = time.monotonic(), 0
        changes = (
            management.remove_chain,
            management.cancel_removal,
            management.cordon_chain,
            management.uncordon_chain,
        )
        while done < STORM and time.monotonic() < begun + PATIENCE_S:
            with suppress(CatenaryError):  # the one before is still under way
                changes[done % len(changes)](name)
                scene.churn.count()
                done += 1
            time.sleep(max(begun + done * STORM_EVERY_S - time.monotonic(), 0.02))
        epochs.append(master.health().epoch)
        took = time.monotonic() - begun
        scene.churn.note(f"{done} changes of {name} in {took:.1f} s, epoch {epochs[0]} to {epochs[1]}")

    def settled() -> bool:
        """The chain takes sessions again (or is gone: then it will be added anew)."""
        view = management.chain(names[0])
        if view.state is ChainState.COOLING:
            management.cancel_removal(view.name)
        elif view.cordoned:
            management.uncordon_chain(view.name)
        else:
            return view.state in (ChainState.ACTIVE, ChainState.REMOVED)
        return False

    def end() -> None:
        wait_until(settled, "the end of the storm")
        scene.churn.release()

    what = f"{STORM} changes, {1 / STORM_EVERY_S:g} a second"
    return Fault(what, blow, lambda: epochs[1] - epochs[0] >= STORM // 4, end)


def _step_clock(scene: Scene, turn: int) -> Fault:
    """The next daemon begins in a time namespace of its own: its monotonic clock has stepped; the kernel's,
    by which pins live, has not. The one after that steps back."""
    testbed = scene.testbed
    service = ("l1", "l2", "ms")[turn % 3]
    step = max(CLOCK_STEPS_S[turn // 3 % len(CLOCK_STEPS_S)], 1 - int(time.monotonic()))
    namespace = testbed.run_dir / f"clock-{turn}"

    def restart() -> None:
        namespace.touch()
        make = ["unshare", f"--time={namespace}", f"--monotonic={step}", "--fork", "true"]
        testbed.hosts["root"].run(make)
        testbed.kill(service)
        through = ["nsenter", f"--time={namespace}", "--"]
        testbed.services.restart(service, wait=False, through=through)

    def stepped() -> bool:
        return os.readlink(f"/proc/{testbed.services.pid(service)}/ns/time") != os.readlink(
            "/proc/self/ns/time"
        )

    return Fault(f"clock of {service} steps by {step:+d} s", restart, stepped)


def _flap_link(scene: Scene, turn: int) -> Fault:
    """A link of the master, of the network function of a chain that takes sessions, or of the slave."""
    nf = scene.churn.nf_in_use()
    node, port = (("l1", "inner"), (nf, "eth0"), ("l2", "outer"), (nf, "eth1"), ("l1", "outer"))[turn % 5]
    host, interface = scene.testbed.hosts[node], f"{node}-{port}"

    def turn_link(state: str) -> None:
        host.run(["ip", "link", "set", interface, state])

    return Fault(
        f"link {interface} flaps",
        partial(turn_link, "down"),
        lambda: "state DOWN" in host.run(["ip", "link", "show", interface]),
        partial(turn_link, "up"),
    )


def _upgrade(scene: Scene, turn: int) -> Fault:
    """The programs of a load balancer are replaced beneath its daemon, as an operator does it."""
    testbed, name = scene.testbed, ("l1", "l2")[turn % 2]
    done: list[Mapping[str, object]] = []

    def replace() -> None:
        command = [sys.executable, "-m", "catenary.cli", "lb", "upgrade", "--json"]
        done.append(json.loads(testbed.hosts[name].run([*command, "--pin", str(testbed.pins(name))])))

    return Fault(f"catenary lb upgrade of {name}", replace, lambda: bool(done[0]["selftest"]))


def _full_table(scene: Scene, turn: int) -> Fault:
    """More sessions than the tables have room for, and a crowd that finds no pin any more."""
    traffic, late = scene.traffic, f"late-{turn}"

    def fill() -> None:
        traffic.flood(_FLOOD, _FLOOD_RATE)
        traffic.open(late)

    def end() -> None:
        scene.cut.extend(traffic.prove(late).cut)
        traffic.close(late)

    return Fault(f"{_FLOOD} sessions more", fill, lambda: scene.probes.master.stats().overflow, end)


_MAKERS: Mapping[Kind, Callable[[Scene, int], Fault]] = {
    Kind.CALM: _calm,
    Kind.KILL_MASTER: partial(_kill, "l1"),
    Kind.KILL_SLAVE: partial(_kill, "l2"),
    Kind.KILL_MS: partial(_kill, "ms"),
    Kind.KILL_CONTROLLER: partial(_kill, "controller"),
    Kind.CUT_CONTROL: _cut_control,
    Kind.CUT_BYPASS: _cut_bypass,
    Kind.LOSE_MASTER_MAPS: partial(_lose_maps, "l1"),
    Kind.LOSE_SLAVE_MAPS: partial(_lose_maps, "l2"),
    Kind.STORM: _storm,
    Kind.STEP_CLOCK: _step_clock,
    Kind.FLAP_LINK: _flap_link,
    Kind.UPGRADE: _upgrade,
    Kind.FULL_TABLE: _full_table,
}
