"""The management system, killed at every crash point of applies on the testbed, keeps all of one or nothing.

Two files take turns: each brings chains, takes others away, and changes the network and the services. For
each the service is started so that it dies at the first crash point of the apply, then at the second, and
so on until it lives to the end of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catenary.config import ChainConfig, NfAttachment, ServiceConfig, ServiceEntry
from catenary.errors import CatenaryError, Unavailable
from catenary.tags import TagPair
from catenary.wire import OperationView
from experiments.management.plan import Plan
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.services import wait_until
from topologies.testbed import FLEETING, Testbed

CLAIMS = (Claim("crash_points_ok", at_least=1, at_most=1),)
FIRST_POINT = "call to controller: check network"
"""What an apply that changes the network passes first."""
_CHAIN_COOKIE = 0xC
"""What the cookies of chains begin with, in 64 bits."""


@dataclass(frozen=True)
class Held:
    """What is at all parts once nothing moves any more.

    `config` is in force, `tags` are those of its chains. `pairs` are the tag pairs of each load balancer,
    `steered` those of the controller, `cookies` those of its chains, and `rules` those that switches have.
    """

    config: ServiceConfig
    tags: Mapping[str, TagPair]
    pairs: Mapping[str, frozenset[TagPair]]
    steered: Mapping[str, TagPair]
    cookies: Mapping[str, int]
    rules: frozenset[int]


def judge(
    held: Held, before: ServiceConfig, wanted: ServiceConfig, *, accepted: bool
) -> tuple[bool, list[str]]:
    """Is the change there? And what is wrong: half of it, an accepted one that is lost, parts that differ."""
    there = says_the_same(held.config, wanted)
    faults = []
    if not there and not says_the_same(held.config, before):
        faults.append("what is in force is neither the old file nor the new one")
    if accepted and not there:
        faults.append("an accepted change is lost")
    tags = frozenset(held.tags.values())
    faults += [f"{name} has other tag pairs" for name, pairs in held.pairs.items() if pairs != tags]
    if held.steered != held.tags:
        faults.append("the controller steers other chains")
    if held.rules != frozenset(held.cookies.values()):
        faults.append("the switches have rules of other chains")
    return there, faults


def says_the_same(one: ServiceConfig, other: ServiceConfig) -> bool:
    """Apart from tags."""
    return _untagged(one).revision == _untagged(other).revision


def _untagged(config: ServiceConfig) -> ServiceConfig:
    chains = {name: chain.model_copy(update={"tags": None}) for name, chain in config.chains.items()}
    return config.model_copy(update={"chains": chains})


def files(network: ServiceConfig) -> Sequence[ServiceConfig]:
    """The two that take turns: `red` alone, and `green` with `blue` on a network with one more NF."""

    def chain(nf: str) -> ChainConfig:
        return ChainConfig(nfs=[nf], segment="main")

    spare = NfAttachment(switch="s5", ingress="spare-in", egress="spare-out")
    return (
        network.model_copy(update={"chains": {"red": chain("n1")}}),
        network.model_copy(
            update={
                "nfs": {**network.nfs, "spare": spare},
                "services": {"web": ServiceEntry(segments=["main"])},
                "chains": {"green": chain("n2"), "blue": chain("n3")},
            }
        ),
    )


def measure(plan: Plan, say: Say) -> Part:
    """`crash_points_ok`: the share of kills after which every change was complete, or cleanly absent."""
    faults: list[str] = []
    with Testbed(timeouts=FLEETING) as testbed:
        victim = _Victim(testbed)
        one, other = files(testbed.network)
        victim.apply_to_the_end(one)
        kills, later, lived = 0, 0, 0
        while lived < 2 and (plan.kills is None or kills < plan.kills):
            lived = 0
            for before, wanted in ((one, other), (other, one)):
                trial = victim.trial(before, wanted, later)
                lived += trial.over
                kills += trial.point is not None
                if trial.faults:
                    faults.append(str(trial))
                say(f"{later}: {trial}")
            later += 1
    share = Figure(round(1 - len(faults) / kills, 4) if kills else None, f"of {kills} kills in applies")
    return Part({"crash_points_ok": share}, CLAIMS, faults)


@dataclass(frozen=True)
class Trial:
    """The crash point at which it died (None: it lived); was the apply `over` before? What is wrong."""

    point: str | None
    over: bool
    faults: Sequence[str]

    def __str__(self) -> str:
        return f"{self.point or 'it lived to the end'}: {', '.join(self.faults) or 'well'}"


class _Victim:
    """The testbed's management system, and the operator who starts it again."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._log = testbed.run_dir / "ms.log"

    def trial(self, before: ServiceConfig, wanted: ServiceConfig, later: int) -> Trial:
        """Apply a file; kill it so many crash points after the first."""
        services, told = self._testbed.services, len(self._told())
        services.restart("ms", through=("env", f"CATENARY_CRASH_AT={FIRST_POINT} +{later}"))
        operation = self._apply(wanted)
        over = False

        def ended() -> bool:
            nonlocal over
            over = self._is_over(operation)
            return over or "ms" not in services.running()

        wait_until(ended, "its death, or the end of the apply")
        services.restart("ms")
        died = self._told()[told:]
        wait_until(self._is_still, "nothing moves any more")
        there, faults = judge(self._held(), before, wanted, accepted=operation is not None)
        if not there:
            self.apply_to_the_end(wanted)
        return Trial(died[0] if died else None, over, faults)

    def apply_to_the_end(self, config: ServiceConfig) -> None:
        operation = self._testbed.management.apply(config)
        if operation is not None:
            wait_until(lambda: self._is_over(operation), "the end of an apply")
        wait_until(self._is_still, "nothing moves any more")

    def _apply(self, config: ServiceConfig) -> OperationView | None:
        """None if it died before it answered."""
        try:
            return self._testbed.management.apply(config)
        except Unavailable:
            wait_until(lambda: "ms" not in self._testbed.services.running(), "it can't be reached, but lives")
            return None

    def _told(self) -> list[str]:
        """The crash points at which it has died so far."""
        lines = self._log.read_text().splitlines()
        return [line.removeprefix("crash point: ") for line in lines if line.startswith("crash point: ")]

    def _is_over(self, operation: OperationView | None) -> bool:
        """Not before it is said to be: an answer that did not come tells nothing."""
        if operation is None:
            return False
        try:
            return self._testbed.management.operation(operation.id).state != "running"
        except CatenaryError:
            return False

    def _is_still(self) -> bool:
        management = self._testbed.management
        chains, operations = management.chains(), management.operations()
        moving = [chain for chain in chains if chain.state != "active" or chain.reason]
        running = [operation for operation in operations if operation.state == "running"]
        return not moving and not running and management.health().status == "ok"

    def _held(self) -> Held:
        testbed = self._testbed
        config = testbed.management.config()
        steered = testbed.controller.chains()
        flows = [flow for switch in testbed.blueprint.switches for flow in testbed.ovs.flows(switch)]
        cookies = {int(flow.partition("cookie=")[2].partition(",")[0], 16) for flow in flows}
        return Held(
            config=config,
            tags={name: chain.tags.pair() for name, chain in config.chains.items() if chain.tags},
            pairs={
                name: frozenset(pair.pair() for pair in balancer.pairs().pairs)
                for name, balancer in testbed.balancers.items()
            },
            steered={chain.name: chain.tags.pair() for chain in steered},
            cookies={chain.name: chain.cookie for chain in steered},
            rules=frozenset(cookie for cookie in cookies if cookie >> 48 == _CHAIN_COOKIE),
        )
