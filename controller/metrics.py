"""What the controller sees as metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from catenary import wire
from catenary.metrics import Metric, Sample

_CHAIN = ("chain", "segment")

HEALTHY = Metric("catenary_controller_healthy", "Is it ok (1), or degraded (0)?")
CONNECTED = Metric("catenary_controller_switch_connected", "Is this switch connected?", ("switch",))
UNWANTED = Metric(
    "catenary_controller_switch_dropped_packets_total", "Packets that no rule wanted.", ("switch",)
)
LINKS = Metric("catenary_controller_links", "Links between switches, as discovered.")
INSTALLED = Metric(
    "catenary_controller_chain_installed",
    "Are all rules of the chain in the switches, and all of its ports and links up?",
    _CHAIN,
)
RULES = Metric("catenary_controller_chain_rules", "OpenFlow rules of the chain.", _CHAIN)
METRICS = (HEALTHY, CONNECTED, UNWANTED, LINKS, INSTALLED, RULES)


def samples(
    health: wire.ControllerHealth, topology: wire.TopologyView, chains: Iterable[wire.SteeredChain]
) -> Iterator[Sample]:
    yield HEALTHY(health.status == "ok")
    yield LINKS(len(topology.links))
    for switch in topology.switches:
        yield CONNECTED(switch.connected, switch.name)
        yield UNWANTED(switch.dropped_packets, switch.name)
    for chain in chains:
        yield INSTALLED(chain.installed and not chain.waiting_for, chain.name, chain.segment)
        yield RULES(chain.rules, chain.name, chain.segment)
