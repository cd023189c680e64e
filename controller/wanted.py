"""What every switch should hold, made of what was asked for. Pure: whoever changes it holds a lock."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from controller.around import around_ends, around_rules, cut, fence_rules, ports_of
from controller.edge import Way, edge_rules
from controller.insertion import ends, outers, plain_rules
from controller.network import Network, Port
from controller.pipeline import Rule
from controller.steering import AskPlan, Plan, ask_rules, chain_rules


@dataclass
class Wanted:
    """Chains by name, asks by segment, and when pairs were inserted (seconds since the epoch).

    Chains that are being `removing` have no rules any more. `fenced` are load balancers, and `around` has the
    path of each segment that traffic is led around. `exchanged` are those that `network` has where their
    standbys were.
    """

    network: Network
    plans: dict[str, Plan]
    asks: dict[str, AskPlan]
    inserted: dict[str, float]
    fenced: set[str]
    around: dict[str, AskPlan]
    exchanged: frozenset[str] = frozenset()
    removing: set[str] = field(default_factory=set)

    def exchange(self, names: Collection[str]) -> None:
        """Have these load balancers where their standbys are now, and the other way round."""
        self.network = self.network.exchanged(names)
        self.exchanged ^= frozenset(names)

    def rules(self, switches: Collection[str]) -> list[Rule]:
        """Those of some switches, besides their classification and misses."""
        plans = [plan for name, plan in self.plans.items() if name not in self.removing]
        rules = [rule for plan in plans for rule in self.rules_of(plan)]
        rules += [rule for segment in {plan.segment for plan in plans} for rule in self.ask_rules(segment)]
        rules += [rule for plan in self.around.values() for rule in around_rules(self.network, plan)]
        rules += [rule for name in self.fenced for rule in fence_rules(self.network, name)]
        found = self.ends(plans)
        edges = self._cut(rule for switch in switches for rule in edge_rules(self.network, switch, found))
        return edges + [rule for rule in rules if rule.switch in switches]

    def plain(self, segment: str) -> bool:
        """Is the segment's pair not in the way of the traffic yet?"""
        return not self.network.segments[segment].inserted and segment not in self.inserted

    def rules_of(self, plan: Plan) -> list[Rule]:
        plain = self.plain(plan.segment)
        return self._cut(plain_rules(self.network, plan) if plain else chain_rules(self.network, plan))

    def ask_rules(self, segment: str) -> list[Rule]:
        """None while traffic is led around the segment: it bears the tag of asks."""
        return [] if segment in self.around else self._cut(ask_rules(self.network, self.asks[segment]))

    def edge_rules(self, segment: str) -> list[Rule]:
        """The edges of both sides of a segment."""
        found = self.ends(self.plans.values())
        switches = sorted({outer.switch for outer in outers(self.network, segment)})
        return self._cut(rule for switch in switches for rule in edge_rules(self.network, switch, found))

    def all_rules(self, plans: Iterable[Plan]) -> list[Rule]:
        """What must be there for chains to carry traffic. The edges come first: a frame that meets a new
        rule of a chain finds them."""
        plans = list(plans)
        segments = dict.fromkeys(plan.segment for plan in plans)
        edges = [rule for segment in segments for rule in self.edge_rules(segment)]
        rules = [rule for plan in plans for rule in self.rules_of(plan)]
        return [*edges, *rules, *(rule for segment in segments for rule in self.ask_rules(segment))]

    def ends(self, plans: Iterable[Plan]) -> dict[Port, Way | None]:
        """What the edges have in place of outer ports: the ends of plain chains, or nothing; the ends of the
        paths around segments."""
        plain = [segment for segment in self.network.segments if self.plain(segment)]
        found: dict[Port, Way | None] = {}
        for segment in plain:
            found |= dict.fromkeys(outers(self.network, segment))
        for plan in plans:
            if plan.segment in plain:
                found |= ends(self.network, plan)
        for path in self.around.values():
            found |= around_ends(self.network, path)
        return found

    def _cut(self, rules: Iterable[Rule]) -> list[Rule]:
        return cut(rules, {port for name in self.fenced for port in ports_of(self.network, name)})
