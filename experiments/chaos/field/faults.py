"""Every kind of fault: do it, see that it is in force, undo it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from experiments.chaos.field.scene import Scene
from experiments.chaos.field.schedule import Kind, Strike
from experiments.chaos.field.storm import CHANGES, Storm
from topologies.wiring import CONTROL_BRIDGE

CLOCK_STEPS_S = (3600, -600, 86_400 * 40)
"""How far a daemon's clock steps, in turn: an hour on, 600 s back (but not below 0), 40 days on."""
_CLOCKED = (("l1",), ("l2",), ("ms", "controller"))
"""Daemons whose clocks step together."""
_FLOOD, _FLOOD_RATE = 1400, 1000.0
_ASKED, _ANSWERED = ("ask_sent", "hint_sent"), ("answer_taken", "answer_late")
"""Counters of the slave."""


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
    slave's inner port), answers (odd IDs, out of the master's).

    Beside the crowd talk sessions that rest for longer than a lease holds: each datagram of the server asks.
    """
    testbed, traffic, resting = scene.testbed, scene.traffic, f"resting-{turn}"
    counted = [0, 0]
    ways = (("s2", testbed.interface("l2", "inner"), 0), ("s1", testbed.interface("l1", "inner"), 1))
    matches = {switch: f"in_port={port},vlan_vid={0x1000 + odd:#x}/0x1001" for switch, port, odd in ways}

    def counters() -> list[int]:
        """Asks of the slave, and answers that it took."""
        seen = testbed.balancers["l2"].stats().counters
        return [sum(seen.get(name, 0) for name in names) for names in (_ASKED, _ANSWERED)]

    def strike() -> None:
        traffic.open_resting(resting)
        cut()
        counted[:] = counters()

    def cut() -> None:
        for switch, match in matches.items():
            testbed.ovs.ofctl("add-flow", switch, f"priority=65535,{match},actions=drop")

    def mend() -> None:
        for switch, match in matches.items():
            testbed.ovs.ofctl("--strict", "del-flows", switch, f"priority=65535,{match}")

    def unanswered() -> bool:
        """Has the rule dropped what the slave asked, and did no answer come?"""
        flows = [flow for flow in testbed.ovs.flows("s2") if "priority=65535" in flow]
        if not flows:
            cut()  # the controller, in the middle of a look at its rules, took ours for an old one
        asked, answered = counters()
        if answered > counted[1]:
            counted[:] = asked, answered  # they were under way
        return any("n_packets=0," not in flow for flow in flows) and asked > counted[0]

    def end() -> None:
        mend()
        scene.own.cut.extend(traffic.prove(resting).cut)
        scene.own.asked, scene.own.unanswered = traffic.close(resting)

    return Fault("bypass path cut", strike, unanswered, end)


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
    """Chains that come and go in quick succession, beside those that do so anyway."""
    storm = Storm(scene, turn)
    return Fault(f"{CHANGES} changes of chains", storm.blow, storm.raged, storm.end)


def _step_clock(scene: Scene, turn: int) -> Fault:
    """The next daemon begins in a time namespace of its own: its monotonic clock has stepped; the kernel's,
    by which pins live, has not. The one after that steps back."""
    testbed = scene.testbed
    services = _CLOCKED[turn % len(_CLOCKED)]
    step = CLOCK_STEPS_S[turn // len(_CLOCKED) % len(CLOCK_STEPS_S)]
    step = max(step, 1 - int(time.monotonic()))
    namespace = testbed.run_dir / f"clock-{turn}"

    def restart() -> None:
        namespace.touch()
        make = ["unshare", f"--time={namespace}", f"--monotonic={step}", "--fork", "true"]
        testbed.hosts["root"].run(make)
        for service in services:
            testbed.kill(service)
        for service in services:
            testbed.restart(service, ["nsenter", f"--time={namespace}", "--"], wait=False)

    def stepped() -> bool:
        processes = ("self", *(testbed.services.pid(service) for service in services))
        ours, *theirs = (os.readlink(f"/proc/{process}/ns/time") for process in processes)
        return ours not in theirs

    return Fault(f"clock of {' and '.join(services)} steps by {step:+d} s", restart, stepped)


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

    def full() -> bool:
        """On a slow machine the first are gone before it is asked: then more must come."""
        if not scene.probes.master.stats().overflow:
            traffic.flood(_FLOOD, _FLOOD_RATE)
        return scene.probes.master.stats().overflow

    def fill() -> None:
        full()
        traffic.open(late)

    def end() -> None:
        scene.own.cut.extend(traffic.prove(late).cut)
        traffic.close(late)

    return Fault(f"{_FLOOD} sessions more", fill, full, end)


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
