"""The switches as they are now, and the threads that keep each of them at what it should hold.

Nothing here waits inside an event of the OpenFlow library: events only note what happened and wake a thread.
A switch is synced by difference: what is right stays untouched (and its traffic with it), what is missing is
added first, what is stale goes last. So neither a restart of the controller nor a reconnect stops a frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from catenary.errors import CatenaryError, Unavailable
from controller.discovery import PERIOD, SETTLE, LinkTable
from controller.edge import base_rules
from controller.network import Network, Port, Topology
from controller.pipeline import CountedFlow, Flow, Rule, difference, resolve

REPLY_TIMEOUT = 5.0
"""Seconds to wait for a barrier or for statistics: a switch under full load answers late, not never."""
RETRY = 0.5
"""Seconds before a sync that failed is tried again."""

log = structlog.get_logger("controller")


@dataclass(frozen=True)
class LivePort:
    """A port that a switch has: its OpenFlow number, and whether it is up."""

    number: int
    up: bool


class Channel(Protocol):
    """One connection to a switch. Every call is thread-safe; waiting raises `Unavailable` in time."""

    dpid: int

    def ports(self) -> Mapping[str, LivePort]:
        """The present ports by name, without the reserved ones."""

    def send(
        self, add: Sequence[Flow], delete: Sequence[Flow], cookie: int | None = None
    ) -> Callable[[float], None]:
        """Send changes and a barrier; the answer, called with a timeout, waits until they are done.

        `add` also replaces, `delete` takes exactly these flows, `cookie` every flow that carries it.
        """

    def flows(self, timeout: float, cookie: int | None = None) -> list[CountedFlow]:
        """Every flow of the switch, or those with this cookie, with counters."""

    def probe(self, port: LivePort) -> None:
        """Send one discovery frame out of a port."""


class Member:
    """A switch of the network file: its connection, if there is one, and whether it holds what it should."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        """Held while flows are read and changed, so that a sync and a request don't undo each other."""
        self.channel: Channel | None = None
        self.synced = False
        self.missing: frozenset[str] = frozenset()
        """Ports that rules name and the switch has not."""
        self.dirty = threading.Event()
        self.gone = False


@dataclass(frozen=True)
class Standing:
    """Of each switch: why no rule can be there, or else its ports."""

    missing: Mapping[str, str]
    ports: Mapping[str, frozenset[str]]

    def waiting_for(self, rules: Iterable[Rule]) -> list[str]:
        """What keeps these rules from being installed: switches, and ports they don't have."""
        waits: set[str] = set()
        for rule in rules:
            if rule.switch in self.missing:
                waits.add(self.missing[rule.switch])
            else:
                absent = rule.ports() - self.ports[rule.switch]
                waits |= {f"port {name} of switch {rule.switch}" for name in absent}
        return sorted(waits)


class Fabric:
    """All switches of a network; `desired` gives the rules of chains and segments for one of them."""

    def __init__(
        self,
        network: Network,
        desired: Callable[[str], list[Rule]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network, self._desired, self._clock = network, desired, clock
        self._members = {name: Member(name) for name in network.switches}
        self._names = {dpid: name for name, dpid in network.switches.items()}
        self._attached = network.attached()
        self._links = LinkTable()
        self._links_lock = threading.Lock()
        self._strangers: dict[int, Channel] = {}
        """Connected switches that the network has not, by datapath ID: it may have them later."""
        self._changed = clock()
        self._probe_now = threading.Event()
        self._stop = threading.Event()
        self._started = False

    def start(self) -> None:
        """Start one thread a switch and one for discovery; they are daemons and end with the process."""
        self._started = True
        for member in self._members.values():
            self._start(member)
        threading.Thread(target=self._discover, name="discovery", daemon=True).start()

    def _start(self, member: Member) -> None:
        name = f"sync-{member.name}"
        threading.Thread(target=self._keep, args=(member,), name=name, daemon=True).start()

    def rewire(self, network: Network) -> None:
        """Go on with another network; one change at a time. A switch that it has no more is left alone."""
        known = dict(self._members)
        dpids = {name: dpid for dpid, name in self._names.items()}
        for name in [name for name, dpid in dpids.items() if network.switches.get(name) != dpid]:
            member = known.pop(name)
            if member.channel is not None:
                self._strangers[dpids[name]] = member.channel
                self.disconnected(member.channel)
            member.gone = True
            member.dirty.set()
        fresh = [Member(name) for name in network.switches if name not in known]
        self._members = known | {member.name: member for member in fresh}
        self._names = {dpid: name for name, dpid in network.switches.items()}
        self._network, self._attached = network, network.attached()
        for member in fresh:
            if self._started:
                self._start(member)
            stranger = self._strangers.pop(network.switches[member.name], None)
            if stranger is not None:
                self.connected(stranger)
                member.dirty.set()
        for name in known:
            self.refresh(name)

    def stop(self) -> None:
        self._stop.set()
        self._probe_now.set()
        for member in self._members.values():
            member.dirty.set()

    # --- events of the OpenFlow side -----------------------------------------------------------------

    def connected(self, channel: Channel) -> None:
        name = self._names.get(channel.dpid)
        if name is None:
            self._strangers[channel.dpid] = channel
            log.warning("unknown switch left alone", dpid=channel.dpid, fix="add it to the configuration")
            return
        member = self._members[name]
        member.channel, member.synced = channel, False
        self._touch()
        log.info("switch connected", switch=name)
        member.dirty.set()

    def disconnected(self, channel: Channel) -> None:
        member = self._members.get(self._names.get(channel.dpid, ""))
        # A switch that came back may have done so before its old connection was found dead.
        if member is None or member.channel is not channel:
            return
        member.channel, member.synced = None, False
        with self._links_lock:
            self._links.keep(frozenset(), member.name)
        self._touch()
        log.warning("switch disconnected", switch=member.name)

    def ports_changed(self, channel: Channel) -> None:
        member = self._members.get(self._names.get(channel.dpid, ""))
        if member is None or member.channel is not channel:
            return
        up = frozenset(Port(member.name, name) for name, port in channel.ports().items() if port.up)
        with self._links_lock:
            lost = self._links.keep(up, member.name)
        if lost:
            log.warning("link lost", switch=member.name)
        self._touch()
        member.dirty.set()

    def heard(self, source: tuple[int, int], at: tuple[int, int]) -> None:
        """A probe came in; both ends are (datapath ID, port number)."""
        sender, receiver = self._port(*source), self._port(*at)
        if sender is None or receiver is None or {sender, receiver} & self._attached:
            return
        with self._links_lock:
            new = self._links.heard(sender, receiver, self._clock())
        if new:
            log.info("link found", a=str(sender), b=str(receiver))
            self._touch()

    def _port(self, dpid: int, number: int) -> Port | None:
        member = self._members.get(self._names.get(dpid, ""))
        if member is None or member.channel is None:
            return None
        ports = member.channel.ports().items()
        return next((Port(member.name, name) for name, port in ports if port.number == number), None)

    def _touch(self) -> None:
        self._changed = self._clock()

    # --- what is there -------------------------------------------------------------------------------

    def topology(self) -> Topology:
        with self._links_lock:
            links = self._links.links()
        ready = (name for name, member in self._members.items() if member.channel and member.synced)
        return Topology(frozenset(ready), links)

    def unsettled(self) -> str | None:
        """Why the topology may still be incomplete, or None once nothing changed for `SETTLE` seconds."""
        age = self._clock() - self._changed
        return f"discovery is not finished (last change {age:.1f} s ago)" if age < SETTLE else None

    def is_connected(self, switch: str) -> bool:
        return self._members[switch].channel is not None

    def ports(self, switch: str) -> dict[str, LivePort]:
        channel = self._members[switch].channel
        return dict(channel.ports()) if channel else {}

    def standing(self) -> Standing:
        """What every switch has at this moment: to be asked about many rules."""
        missing, ports = {}, {}
        for name, member in self._members.items():
            channel = member.channel
            if channel is None:
                missing[name] = f"switch {name}"
            elif not member.synced:
                missing[name] = f"rules of switch {name}"
            else:
                ports[name] = frozenset(channel.ports())
        return Standing(missing, ports)

    def flows(self, switch: str, cookie: int | None = None) -> list[CountedFlow]:
        """Every flow that the switch has now, or those with this cookie; raises `Unavailable`."""
        return self._channel(switch).flows(REPLY_TIMEOUT, cookie)

    def _channel(self, switch: str) -> Channel:
        channel = self._members[switch].channel
        if channel is None:
            raise Unavailable(f"switch {switch!r} is not connected")
        return channel

    # --- changes -------------------------------------------------------------------------------------

    def install(self, rules: Sequence[Rule]) -> None:
        """Add rules on all their switches at once and wait for every barrier; raises `Unavailable`.

        Nothing is sent when a switch is not connected or lacks a port that a rule names.
        """
        with self._held(sorted({rule.switch for rule in rules})) as channels:
            batches = []
            for name, channel in channels.items():
                ports = {port: live.number for port, live in channel.ports().items()}
                flows = [_resolved(rule, ports) for rule in rules if rule.switch == name]
                batches.append((channel, flows))
            _await([channel.send(flows, ()) for channel, flows in batches])

    def remove(self, cookie: int, switches: Iterable[str]) -> None:
        """Delete every flow with this cookie and wait for every barrier; raises `Unavailable`."""
        with self._held(sorted(set(switches))) as channels:
            _await([channel.send((), (), cookie) for channel in channels.values()])

    def change(self, switches: Sequence[str], before: Iterable[Rule], after: Iterable[Rule]) -> None:
        """Take switches from some rules to others and wait for every barrier; raises `Unavailable`.

        What both have stays untouched. Rules that name a port which a switch lacks wait until it is there.
        """
        old, new = list(before), list(after)
        with self._held(sorted(switches)) as channels:
            waits = []
            for name, channel in channels.items():
                ports = {port: live.number for port, live in channel.ports().items()}
                add, delete = difference(_present(new, name, ports), _present(old, name, ports))
                waits.append(channel.send(add, delete))
            _await(waits)

    def refresh(self, switch: str) -> None:
        """Have the switch compared with what it should hold, soon and in the background."""
        self._members[switch].dirty.set()

    @contextmanager
    def _held(self, switches: Sequence[str]) -> Iterator[dict[str, Channel]]:
        # Always in the order of names: two callers that want the same switches can't block each other.
        with ExitStack() as held:
            for name in switches:
                held.enter_context(self._members[name].lock)
            yield {name: self._channel(name) for name in switches}

    # --- threads -------------------------------------------------------------------------------------

    def _keep(self, member: Member) -> None:
        while not self._stop.is_set() and not member.gone:
            member.dirty.wait()
            member.dirty.clear()
            channel = member.channel
            if channel is None or self._stop.is_set():
                continue
            try:
                self._sync(member, channel)
            except CatenaryError as error:
                log.warning("sync failed", switch=member.name, reason=error.detail, retry_s=RETRY)
                self._stop.wait(RETRY)
                member.dirty.set()

    def _sync(self, member: Member, channel: Channel) -> None:
        with member.lock:
            ports = {name: port.number for name, port in channel.ports().items()}
            rules = base_rules(self._network, member.name, ports) + self._desired(member.name)
            desired = _present(rules, member.name, ports)
            present = [counted.flow for counted in channel.flows(REPLY_TIMEOUT)]
            add, delete = difference(desired, present)
            channel.send(add, delete)(REPLY_TIMEOUT)
            missing = frozenset(name for rule in rules for name in rule.ports() - ports.keys())
            if member.channel is channel and not member.synced:
                member.synced = True
                self._touch()
        if add or delete:
            log.info("switch synced", switch=member.name, added=len(add), deleted=len(delete))
        if missing != member.missing:
            member.missing = missing
            if missing:
                log.warning("ports missing", switch=member.name, ports=sorted(missing))
        self._probe_now.set()

    def _discover(self) -> None:
        while not self._stop.is_set():
            for member in self._members.values():
                channel = member.channel
                if channel is not None and member.synced:
                    self._probe(member.name, channel)
            self._probe_now.wait(PERIOD)
            self._probe_now.clear()
            with self._links_lock:
                lost = self._links.expire(self._clock())
            if lost:
                log.warning("link lost", reason="no discovery frame came")
                self._touch()

    def _probe(self, switch: str, channel: Channel) -> None:
        try:
            for name, port in channel.ports().items():
                if port.up and Port(switch, name) not in self._attached:
                    channel.probe(port)
        except Unavailable as gone:
            # Its links are taken away when the event of the lost connection comes.
            log.debug("not probed", switch=switch, reason=gone.detail)


def _await(waits: Iterable[Callable[[float], None]]) -> None:
    for wait in waits:
        wait(REPLY_TIMEOUT)


def _present(rules: Iterable[Rule], switch: str, ports: Mapping[str, int]) -> list[Flow]:
    """The rules of a switch that name no port which it lacks."""
    flows = [resolve(rule, ports) for rule in rules if rule.switch == switch]
    return [flow for flow in flows if flow is not None]


def _resolved(rule: Rule, ports: Mapping[str, int]) -> Flow:
    flow = resolve(rule, ports)
    if flow is None:
        absent = ", ".join(sorted(rule.ports() - ports.keys()))
        raise Unavailable(
            f"switch {rule.switch!r} has no port {absent}: attach it, or correct the network file"
        )
    return flow
