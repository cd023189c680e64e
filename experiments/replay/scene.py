"""One replay: a testbed in one setting, the capture through it, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

import numpy as np

from catenary.session import End, SessionKey, Timeouts, end_text
from experiments.replay.comparing import Alarm, Outcome
from experiments.replay.ends import Seat, replay
from experiments.replay.pacing import Player
from experiments.replay.sessions import Session
from experiments.replay.setting import Setting
from topologies.blueprint import Blueprint
from topologies.nfs import catalog
from topologies.nfs.function import Alert, NetworkFunction
from topologies.testbed import FIG4, Testbed
from witness.checker import judge
from witness.places import places_of
from witness.recording import Recording
from witness.taps import Limits, Taps

_SETTLE_S = 0.01
_QUIET_S = 0.25
_SWITCHES = ("s3", "s4", "s5")


@dataclass(frozen=True)
class Pace:
    """`speed` times that of the capture (None: as fast as packets arrive); `wait_s` until one is lost."""

    speed: float | None = 1.0
    wait_s: float = 2.0


def blueprint(setting: Setting) -> Blueprint:
    """The paper's testbed with as many NFs as there are chains, each on one of its middle switches."""
    main = FIG4.segments["main"].model_copy(update={"policy": setting.policy, "affinity": setting.affinity})
    nfs = {f"n{number + 1}": _SWITCHES[number % len(_SWITCHES)] for number in range(setting.chains)}
    return replace(FIG4, nfs=nfs, segments={"main": main})


def played(sessions: Sequence[Session], setting: Setting, pace: Pace) -> Outcome:
    """Bring up a testbed in this setting, replay `sessions` through its chains, and take it down again."""
    drawing = blueprint(setting)
    chains = {f"chain-{number}": nf for number, nf in enumerate(drawing.nfs, 1)}
    testbed = Testbed(
        blueprint=drawing, nf=catalog.named(setting.nf), nf_rate_mbit=None, data_plane=setting.dataplane
    )
    with testbed:
        for name, nf in chains.items():
            testbed.add_chain([nf], name=name)
        return through(testbed, chains, sessions, pace, setting.name)


def through(
    testbed: Testbed, chains: Mapping[str, str], sessions: Sequence[Session], pace: Pace, name: str
) -> Outcome:
    """Replay `sessions` from h1, for all clients, and h2, for all servers; `chains` have one NF each."""
    with Taps(places_of(testbed.network), Limits.of(Timeouts())) as taps:
        player = Player(sessions, begin=time.monotonic(), speed=pace.speed, wait_s=pace.wait_s)
        missed = replay(player, _seat(testbed, "h1"), _seat(testbed, "h2"))
        time.sleep(_SETTLE_S)  # a snapshot leaves out what has just come
        recording = taps.snapshot({chain: (nf,) for chain, nf in chains.items()})
    names = {session.key: session.name for session in sessions}
    return Outcome(
        name=name,
        deliveries=dict(zip(names.values(), player.deliveries(), strict=True)),
        placements=placements(recording, names),
        alarms={chain: alarms(_all_alerts(testbed.nfs[nf]), sessions) for chain, nf in chains.items()},
        # All has arrived, or will not: nothing is in flight.
        failures=judge(recording, in_flight_s=0.0).failures,
        again=player.again,
        foreign=player.foreign,
        missed=missed,
    )


def placements(recording: Recording, names: Mapping[SessionKey, str]) -> dict[str, tuple[str, ...]]:
    """The chains that each of these sessions was seen on, by the taps of their NFs, which no two share."""
    owner = {nf: chain for chain, nfs in recording.chains.items() for nf in nfs}
    chains = [owner.get(place.nf) for place in recording.places]
    found: dict[str, set[str]] = {}
    for session, place in np.unique(recording.records["key"][["session", "place"]]):
        name, chain = names.get(recording.key(int(session))), chains[int(place)]
        if name is not None and chain is not None:
            found.setdefault(name, set()).add(chain)
    return {name: tuple(sorted(on)) for name, on in found.items()}


def alarms(alerts: Sequence[Alert], sessions: Sequence[Session]) -> tuple[Alarm, ...]:
    """The alerts, each with the session whose ends it names; its own words where there is none."""
    names = {frozenset((session.key.low, session.key.high)): session.name for session in sessions}
    found = []
    for alert in alerts:
        client = End(ip_address(alert.client), alert.client_port)
        server = End(ip_address(alert.server), alert.server_port)
        own = f"{end_text(client)} -> {end_text(server)}"
        found.append(Alarm(f"{alert.signature} {alert.message}", names.get(frozenset((client, server)), own)))
    return tuple(found)


def _all_alerts(nf: NetworkFunction) -> list[Alert]:
    """When no more come: one that forwards by another's hands may be behind what has arrived."""
    found: list[Alert] = []
    until = time.monotonic() + _QUIET_S
    while time.monotonic() < until:
        time.sleep(_QUIET_S / 5)
        if len(now := nf.alerts()) > len(found):
            found, until = now, time.monotonic() + _QUIET_S
    return found


def _seat(testbed: Testbed, name: str) -> Seat:
    return Seat(testbed.hosts[name], f"{name}-eth0", testbed.network.hosts[name].mac)
