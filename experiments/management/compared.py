"""What is explained of sessions, against what the taps saw: live, ended, translated, and yet to come."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from catenary.explanations import SegmentExplanation, SessionStatus
from catenary.wire import TimeoutsModel
from experiments.management.plan import Plan
from experiments.management.talks import Caller, Server, Talk, kinds
from experiments.management.trails import Asked, Ports, Rule, Taps, counted, difference
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.nfs.nat import Nat
from topologies.services import wait_until
from topologies.testbed import FIG4, Testbed
from topologies.translated import SERVER, rewriting_testbed, sides, wait_for_exchange

CLAIMS = (
    Claim("explain_differs", at_least=0, at_most=0),
    Claim("foretold_differs", at_least=0, at_most=0),
)
SEED = 20
TIMES = TimeoutsModel(
    tcp_opening=600,
    tcp_established=600,
    tcp_closing=1,
    udp=600,
    other=1,
    neighbour=600,
    lease=1,
    transit=0.5,
)
"""Nothing expires but ICMP, and what is closed: loads change when it is said here."""
WIDER = replace(FIG4, nfs={**FIG4.nfs, "n4": "s4"})
"""With a fourth firewall, for a chain of two on different switches."""
CHAINS = {"chain-1": ("n1",), "chain-2": ("n2",), "chain-3": ("n4", "n3")}
POOLS = {"n1": "10.9.1.0/24", "n2": "10.9.2.0/24"}
"""Addresses to which each NF translates."""
LASTING = kinds(("tcp", "udp"))
ENDING = kinds(("tcp", "icmp"))
FLEETING = kinds(("icmp",))
FLEETING_NEW = 2
"""Of those that don't exist yet; each waits until the one before is over."""


@dataclass(frozen=True)
class Comparison:
    """Sessions of one status: all answers about them, and those that say otherwise than the taps saw it."""

    sessions: int
    told: Sequence[SegmentExplanation]
    differences: Sequence[str]


@dataclass
class Scene:
    """A testbed that is watched at all ports that an explanation can name, and what its rules had counted."""

    testbed: Testbed
    ports: Ports
    taps: Taps
    before: dict[Rule, int] = field(default_factory=dict)

    @classmethod
    def of(cls, testbed: Testbed, chains: Mapping[str, Sequence[str]], stack: ExitStack) -> Scene:
        """With these chains, and nothing in them yet."""
        config, network = testbed.network.segments["main"], testbed.network
        nfs = {name: network.nfs[name] for chain in chains.values() for name in chain}
        names = {network.balancers[name].inner: f"{name}.inner" for name in (config.master, config.slave)}
        names |= {nf.ingress: f"{name}.ingress" for name, nf in nfs.items()}
        names |= {nf.egress: f"{name}.egress" for name, nf in nfs.items()}
        taps = stack.enter_context(Taps(names))
        made = cls(testbed, Ports(names, config.master, config.slave, config.ask_id), taps)
        for name, row in chains.items():
            testbed.add_chain(row, name=name)
            made.before |= made.counters(name)
        return made

    def counters(self, chain: str) -> dict[Rule, int]:
        hops = self.testbed.controller.hops(chain)
        return counted([*hops.forward, *hops.reverse])

    def wait_counted(self, chains: Mapping[str, object]) -> None:
        """Switches tell of their counters late."""

        def all_moved() -> bool:
            now = {rule: count for name in chains for rule, count in self.counters(name).items()}
            return all(count > self.before.get(rule, 0) for rule, count in now.items())

        wait_until(all_moved, "rules of the chains have counted nothing")

    def told(self, text: str) -> SegmentExplanation:
        (segment,) = self.testbed.management.explain(text).segments
        return segment

    def wait_ended(self, talk: Talk) -> None:
        wait_until(lambda: self.told(talk.text).status == "ended", f"{talk.text} does not end")

    def compared(
        self, status: SessionStatus, asked: Sequence[Asked], told: Sequence[SegmentExplanation]
    ) -> Comparison:
        seen, before = self.taps.seen(), None if status == "new" else self.before
        found = [
            difference(one, item, seen, self.ports, status, before)
            for one, item in zip(asked, told, strict=True)
        ]
        return Comparison(len(asked), told, [one for one in found if one is not None])


def measure(plan: Plan, say: Say) -> Part:
    """`explain_differs`, and `foretold_differs` of sessions that were opened only then: wrong answers."""
    found: dict[str, Comparison] = {}
    with Testbed(blueprint=WIDER, timeouts=TIMES, nf_rate_mbit=None) as testbed, ExitStack() as stack:
        compared, _ = plain(testbed, plan.compared, stack)
    found |= compared
    _report(compared, say)
    with rewriting_testbed(TIMES) as testbed, ExitStack() as stack:
        found["translated"] = translated(testbed, plan.compared, stack)
    _report({"translated": found["translated"]}, say)
    new = found.pop("new")
    numbers = ", ".join(f"{item.sessions} {status}" for status, item in found.items())
    wrong = [difference for item in found.values() for difference in item.differences]
    figures = {
        "explain_differs": Figure(len(wrong), f"of the answers about {numbers} sessions"),
        "foretold_differs": Figure(len(new.differences), f"of {new.sessions} sessions, opened afterwards"),
    }
    return Part(figures, CLAIMS, [*wrong, *new.differences])


def _report(found: dict[str, Comparison], say: Say) -> None:
    for status, item in found.items():
        say(f"{item.sessions} {status} sessions compared, {len(item.differences)} wrong answers")


def plain(testbed: Testbed, count: int, stack: ExitStack) -> tuple[dict[str, Comparison], list[Talk]]:
    """So many live ones, ended ones, and new ones that are then opened. The live ones, open still.

    What must end afterwards is on the stack.
    """
    _know_each_other(testbed)
    scene = Scene.of(testbed, CHAINS, stack)
    addresses = {family: testbed.hosts["h2"].address(family) for family in (4, 6)}
    server = stack.enter_context(Server(testbed, addresses))
    caller = Caller(testbed, server, random.Random(SEED), stack)
    leaving, staying = caller.talks(ENDING, count), caller.talks(LASTING, count)
    coming = caller.talks(LASTING, count - FLEETING_NEW) + caller.talks(FLEETING, FLEETING_NEW)
    for each in (*leaving, *staying):
        each.open()
    for each in leaving:
        each.close()
    for each in leaving:
        scene.wait_ended(each)
    new = []
    for number, each in enumerate(coming):
        if number and coming[number - 1].kind in FLEETING:
            scene.wait_ended(coming[number - 1])
        new.append(scene.told(each.text))
        each.open()
    for each in staying:
        each.say()
    scene.wait_counted(CHAINS)
    live = [scene.told(each.text) for each in staying]
    ended = [scene.told(each.text) for each in leaving]
    found = {
        "live": scene.compared("live", [_asked(each) for each in staying], live),
        "ended": scene.compared("ended", [_asked(each) for each in leaving], ended),
        "new": scene.compared("new", [_asked(each) for each in coming], new),
    }
    return found, staying


def translated(testbed: Testbed, count: int, stack: ExitStack) -> Comparison:
    """So many sessions through NFs that translate, each told by both of its keys."""
    for name, pool in POOLS.items():
        stack.enter_context(Nat(testbed.hosts[name], *sides(name), pool))
    chains = {f"chain-{name[1:]}": (name,) for name in POOLS}
    scene = Scene.of(testbed, chains, stack)
    server = stack.enter_context(Server(testbed, {4: SERVER}))
    talks = Caller(testbed, server, random.Random(SEED), stack).talks(kinds(("tcp", "udp"), (4,)), count)
    for talk in talks:
        talk.open()
    wait_for_exchange(testbed)
    scene.wait_counted(chains)
    asked = [_asked(talk, outer=outer) for outer in (False, True) for talk in talks]
    told = [scene.told(one.text) for one in asked]
    found = scene.compared("live", asked, told)
    return Comparison(count, found.told, found.differences)


def _asked(talk: Talk, *, outer: bool = False) -> Asked:
    """By its key on the clients' side, or by the `outer` one."""
    text = talk.keys[1].text if outer else talk.text
    return Asked.of(text, talk.keys, (talk.client, talk.seen_as))


def _know_each_other(testbed: Testbed) -> None:
    """Clients and server need not ask for addresses: no load changes by that."""
    for a, b in (("h1", "h2"), ("h3", "h2"), ("h2", "h1"), ("h2", "h3")):
        lines = [
            f"ip neigh replace {testbed.hosts[b].address(family)} "
            f"lladdr {testbed.network.hosts[b].mac} dev {a}-eth0 nud permanent"
            for family in (4, 6)
        ]
        testbed.hosts[a].run(["sh", "-ec", "\n".join(lines)])
