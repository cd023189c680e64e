"""Many chains in one apply, with a real controller, Open vSwitch and a real pair."""

from __future__ import annotations

import time

from catenary.config import ChainConfig
from catenary.errors import Unavailable
from experiments.management.plan import Plan
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import Talks
from topologies.wide import wide

CLAIMS = (Claim("apply_200_s", at_most=10),)


def measure(plan: Plan, say: Say) -> Part:
    """`apply_200_s`: from the request until its operation has succeeded; then all of it is looked for."""
    with Testbed(blueprint=wide(plan.wide)) as testbed:
        chains = {f"chain-{nf}": ChainConfig(nfs=[nf], segment="main") for nf in testbed.blueprint.wires}
        config = testbed.network.model_copy(update={"chains": chains})
        begun = time.monotonic()
        operation = testbed.management.apply(config)
        accepted = time.monotonic() - begun
        if operation is None:
            raise Unavailable("there was nothing to apply")
        done = testbed.management.wait(operation, 2 * PATIENCE_S, poll=0.02)
        took = time.monotonic() - begun
        if done.state != "succeeded":
            raise Unavailable(f"the apply has {done.state}: {done.reason}")
        rules = _look(testbed)
    say(f"accepted after {accepted:.1f} s, {plan.wide} chains carry traffic after {took:.1f} s")
    figures = {"apply_200_s": Figure(round(took, 2), f"s, {plan.wide} chains, {rules} OpenFlow rules")}
    return Part(figures, CLAIMS, facts={"apply_accepted_s": round(accepted, 2)})


def _look(testbed: Testbed) -> int:
    """The rules of all chains; raises `Unavailable` unless switches and pair have all, and carry traffic."""
    chains = testbed.management.chains()
    tags = {(chain.tags.forward, chain.tags.reverse) for chain in chains}
    for name, balancer in testbed.balancers.items():
        if {(pair.forward, pair.reverse) for pair in balancer.pairs().pairs} != tags:
            raise Unavailable(f"load balancer {name} has other tag pairs than the chains")
    steered = testbed.controller.chains()
    waiting = [chain.name for chain in steered if not chain.installed]
    if len(steered) != len(chains) or waiting:
        raise Unavailable(f"{len(steered)} of {len(chains)} chains are steered, and {len(waiting)} wait")
    installed = sum(len(testbed.ovs.flows(switch)) for switch in testbed.blueprint.switches)
    rules = sum(chain.rules for chain in steered)
    if installed < rules:
        raise Unavailable(f"the switches have {installed} rules, the chains alone need {rules}")
    with Talks(testbed.hosts["h1"], testbed.hosts["h2"], name="sessions") as talks:
        broken = talks.wait_rounds(1).failures
    if broken:
        raise Unavailable(f"{len(broken)} sessions through the chains are broken: {broken[0]}")
    return rules
