"""What the REST interface calls: steer, unsteer, insert, and views of chains, rules and topology.

A chain counts from the moment that its rules are about to be sent, so that a switch which reconnects
meanwhile gets them too; when a switch refuses, everything is taken back and nothing is remembered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from catenary import wire
from catenary.chain import Chain
from catenary.config import NetworkConfig
from catenary.errors import CatenaryError, Conflict, NotFound, Unavailable
from catenary.explanations import ChainHops, HopView
from controller import rewiring, statefile
from controller.config import network_of
from controller.counted import rule_views, switch_view
from controller.detours import Detours
from controller.fabric import Fabric, Standing
from controller.hops import way
from controller.insertion import check_alone, outers
from controller.pipeline import Rule
from controller.steering import (
    AskPlan,
    NoPath,
    Plan,
    ask_rules,
    chain_cookie,
    chain_rules,
    plan_asks,
    plan_chain,
    route,
    segment_cookie,
)
from controller.views import attachments, health_view, hop_view, link_view
from controller.wanted import Wanted

log = structlog.get_logger("controller")


class Conductor:
    """The steered chains of a network. Changes are one at a time; views never wait for a change.

    `config` is the network until another one is put; that one stays over a restart, in the file `state`.
    """

    def __init__(
        self,
        config: NetworkConfig,
        state: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        saved = statefile.load(state, config) if state else statefile.Saved()
        self._state, self._put = state, saved.config
        self._config = saved.config or config.network
        self._wanted = Wanted(
            network_of(self._config),
            {plan.chain.name: plan for plan in saved.chains},
            {ask.segment: ask for ask in saved.asks},
            dict(saved.inserted),
            set(saved.fenced),
            {path.segment: path for path in saved.around},
        )
        self._wanted.exchange(saved.exchanged)
        self._timed: dict[str, float] = {}
        """When pairs were inserted by this process, by the clock that nobody sets."""
        self._inserting: str | None = None
        self._clock, self._wall = clock, wall
        self._one_change = threading.Lock()
        self._data = threading.Lock()
        self.fabric = Fabric(self._wanted.network, self._desired, clock)
        locks = self._one_change, self._data
        self.detours = Detours(self._wanted, self.fabric, locks, self._save, lasting=state is not None)

    def _desired(self, switch: str) -> list[Rule]:
        with self._data:
            return self._wanted.rules([switch])

    def _all_rules(self, plans: Iterable[Plan]) -> list[Rule]:
        with self._data:
            return self._wanted.all_rules(plans)

    # --- changes -------------------------------------------------------------------------------------

    def steer(self, name: str, request: wire.SteerRequest) -> wire.SteeredChain:
        """`steer_all` of one."""
        return self.steer_all({name: request})[0]

    def steer_all(self, requests: Mapping[str, wire.SteerRequest]) -> list[wire.SteeredChain]:
        """Install the rules of chains, of all or none, and wait for every barrier. Again is answered alike.

        Raises what `plan_chain` raises, `Conflict` for another chain under one of these names, and
        `Unavailable` when a switch is missing or does not answer; then nothing of new chains is left.
        """
        with self._one_change:
            new, asks = self._plan(requests)
            self._add(requests, new, asks)
            for plan in new.values():
                log.info("chain steered", chain=plan.chain.name, path=route(self._wanted.network, plan))
            standing = self.fabric.standing()
            return [self._view(self._wanted.plans[name], standing) for name in requests]

    def check_all(self, requests: Mapping[str, wire.SteerRequest]) -> None:
        """Raise what `steer_all` would raise, as far as can be told without sending; change nothing."""
        with self._one_change:
            self._plan(requests)

    def unsteer(self, name: str) -> None:
        """Delete every rule of a chain and wait for every barrier; `NotFound` if it is not steered.

        With the last chain of a segment go its asks. `Unavailable` when a switch is missing: the chain
        then stays, marked as being removed, until the call is made again.
        """
        with self._one_change:
            plan = self._known(name)
            rules = chain_rules(self._wanted.network, plan)
            last = all(p.segment != plan.segment for n, p in self._wanted.plans.items() if n != name)
            with self._data:
                self._wanted.removing.add(name)
            self.fabric.remove(chain_cookie(name), {rule.switch for rule in rules})
            if last:
                switches = {
                    rule.switch for rule in ask_rules(self._wanted.network, self._wanted.asks[plan.segment])
                }
                self.fabric.remove(segment_cookie(plan.segment), switches)
            with self._data:
                del self._wanted.plans[name]
                self._wanted.removing.discard(name)
                if last:
                    del self._wanted.asks[plan.segment]
            self._refresh_edges(plan.segment)
            self._save()
            log.info("chain unsteered", chain=name)

    def insert(self, segment: str) -> wire.SegmentView:
        """Lead the traffic of a plain segment through its pair; done when both sides' switches answered.

        The pair must know the chain before. Raises `NotFound`, `Conflict` when nothing is steered there or
        this controller would forget it, `Unavailable` when a switch is missing; then nothing has changed.
        Again is answered alike.
        """
        with self._one_change:
            if segment not in self._wanted.network.segments:
                known = ", ".join(sorted(self._wanted.network.segments))
                raise NotFound(f"unknown segment {segment!r}: this network has {known}")
            if not self._wanted.plain(segment):
                return self.segment(segment)
            plan = next((plan for plan in self._wanted.plans.values() if plan.segment == segment), None)
            if plan is None:
                raise Conflict(f"segment {segment!r} has no chain: steer the one that carries its traffic")
            if self._state is None:
                raise Conflict(
                    f"segment {segment!r} can't be inserted: a controller without --state would forget it"
                )
            self._insert(plan)
            log.info("segment inserted", segment=segment, chain=plan.chain.name)
            return self.segment(segment)

    def _insert(self, plan: Plan) -> None:
        with self._data:
            self._inserting = plan.segment
            self._wanted.inserted[plan.segment] = self._wall()
        try:
            self.fabric.install(self._all_rules([plan]))
            with self._data:  # only now nothing goes past the pair any more
                self._wanted.inserted[plan.segment] = self._wall()
                self._timed[plan.segment] = self._clock()
            self._save()
        except CatenaryError:
            with self._data:
                del self._wanted.inserted[plan.segment]
                self._timed.pop(plan.segment, None)
            raise
        finally:
            with self._data:
                self._inserting = None
            self._refresh_edges(plan.segment)

    def _refresh_edges(self, segment: str) -> None:
        for outer in outers(self._wanted.network, segment):
            self.fabric.refresh(outer.switch)

    def _present(self, name: str, request: wire.SteerRequest) -> Plan | None:
        plan = self._wanted.plans.get(name)
        if plan is None:
            return None
        if name in self._wanted.removing:
            raise Conflict(f"chain {name!r} is being removed: delete it again, then steer it")
        if self._request(plan) != request:
            held = f"tags {plan.chain.tags}, NFs {', '.join(plan.chain.nfs)}, segment {plan.segment}"
            raise Conflict(f"chain {name!r} is steered already, with {held}: use another name")
        return plan

    def _plan(self, requests: Mapping[str, wire.SteerRequest]) -> tuple[dict[str, Plan], dict[str, AskPlan]]:
        """Paths for the chains that are new, each beside those before it, and for asks of new segments."""
        plans, asks = dict[str, Plan](), dict[str, AskPlan]()
        for name, request in requests.items():
            if self._present(name, request) is None:
                plans[name], ask = self._plan_one(
                    name, request, [*self._wanted.plans.values(), *plans.values()]
                )
                asks |= {ask.segment: ask} if ask.segment not in self._wanted.asks else {}
        if plans:
            what = f"chain {', '.join(map(repr, plans))} can't be steered yet"
            if unsettled := self.fabric.unsettled():
                raise Unavailable(f"{what}: {unsettled}")
            rules = [rule for plan in plans.values() for rule in chain_rules(self._wanted.network, plan)]
            for segment in {plan.segment for plan in plans.values()}:
                rules += ask_rules(self._wanted.network, (self._wanted.asks | asks)[segment])
            if waits := self.fabric.standing().waiting_for(rules):
                raise Unavailable(f"{what}: waiting for {', '.join(waits)}")
        return plans, asks

    def _plan_one(self, name: str, request: wire.SteerRequest, others: list[Plan]) -> tuple[Plan, AskPlan]:
        chain = Chain(name, tuple(request.nfs), request.tags.pair())
        topology = self.fabric.topology()
        absent = sorted(self._wanted.network.switches.keys() - topology.switches)
        waiting = f"switches not connected: {', '.join(absent)}" if absent else self.fabric.unsettled()
        try:
            plan = plan_chain(self._wanted.network, topology, chain, request.segment, others)
            if self._wanted.plain(plan.segment):
                check_alone(
                    self._wanted.network,
                    plan,
                    [other for other in others if self._wanted.plain(other.segment)],
                )
            return plan, self._wanted.asks.get(plan.segment) or plan_asks(
                self._wanted.network, topology, plan.segment
            )
        except NoPath as conflict:
            # The missing path may lead over a switch or a link that is not there yet.
            if waiting:
                raise Unavailable(f"{conflict.detail} ({waiting})") from conflict
            raise

    def _add(self, names: Iterable[str], new: Mapping[str, Plan], asks: Mapping[str, AskPlan]) -> None:
        with self._data:
            self._wanted.plans |= new
            self._wanted.asks |= asks
        try:
            self.fabric.install(self._all_rules([self._wanted.plans[name] for name in names]))
            if new:
                self._save()
        except CatenaryError:
            self._take_back(new, asks)
            raise

    def _take_back(self, new: Mapping[str, Plan], asks: Iterable[str]) -> None:
        with self._data:
            for name in new:
                del self._wanted.plans[name]
            for segment in asks:
                del self._wanted.asks[segment]
        for switch in {
            rule.switch for plan in new.values() for rule in chain_rules(self._wanted.network, plan)
        }:
            self.fabric.refresh(switch)

    def _save(self, put: NetworkConfig | None = None) -> None:
        if self._state is not None:
            with self._data:
                plans, asks = tuple(self._wanted.plans.values()), tuple(self._wanted.asks.values())
                saved = statefile.Saved(
                    plans,
                    asks,
                    dict(self._wanted.inserted),
                    put or self._put,
                    tuple(sorted(self._wanted.fenced)),
                    tuple(self._wanted.around.values()),
                    tuple(sorted(self._wanted.exchanged)),
                )
            statefile.save(self._state, saved)

    def put_network(self, config: NetworkConfig, *, check: bool = False) -> wire.NetworkView:
        """Go on with another network, or with `check` only say whether that could be.

        Raises `Conflict` for what a steered chain uses and would find changed; then nothing has changed. The
        switches are brought up to it in the background, as whenever one connects.
        """
        with self._one_change:
            network = rewiring.exchanged(network_of(config), self._wanted.exchanged)
            rewiring.check(
                self._wanted.network, network, self._wanted.plans.values(), self._wanted.asks.values()
            )
            around = self._wanted.around.values()
            rewiring.check_detours(self._wanted.network, network, self._wanted.fenced, around)
            if check or config.revision == self._config.revision:
                return self.network()
            self._save(put=config)
            with self._data:
                self._wanted.network, self._config, self._put = network, config, config
            self.fabric.rewire(network)
            log.info("network changed", revision=config.revision)
            return self.network()

    # --- views ---------------------------------------------------------------------------------------

    def network(self) -> wire.NetworkView:
        return wire.NetworkView(revision=self._config.revision)

    def _known(self, name: str) -> Plan:
        plan = self._wanted.plans.get(name)
        if plan is None:
            raise NotFound(f"chain {name!r} is not steered")
        return plan

    def _request(self, plan: Plan) -> wire.SteerRequest:
        tags = wire.Tags.of(plan.chain.tags)
        return wire.SteerRequest(segment=plan.segment, tags=tags, nfs=list(plan.chain.nfs))

    def _view(self, plan: Plan, standing: Standing) -> wire.SteeredChain:
        name, rules = plan.chain.name, self._wanted.rules_of(plan)
        waits = ["its removal"] if name in self._wanted.removing else standing.waiting_for(rules)
        return wire.SteeredChain(
            **self._request(plan).model_dump(),
            name=name,
            cookie=chain_cookie(name),
            path=route(self._wanted.network, plan),
            rules=len(rules),
            installed=not waits,
            waiting_for=waits,
        )

    def chains(self) -> list[wire.SteeredChain]:
        with self._data:
            plans = sorted(self._wanted.plans.values(), key=lambda plan: plan.chain.name)
        standing = self.fabric.standing()
        return [self._view(plan, standing) for plan in plans]

    def segments(self) -> list[wire.SegmentView]:
        return [self.segment(name) for name in sorted(self._wanted.network.segments)]

    def segment(self, name: str) -> wire.SegmentView:
        """An insertion that may be taken back yet is none. Its age never runs ahead of either clock."""
        with self._data:
            plain = self._wanted.plain(name) or self._inserting == name
            since, timed = self._wanted.inserted.get(name), self._timed.get(name)
            around = name in self._wanted.around
        if plain or since is None:
            return wire.SegmentView(name=name, inserted=not plain, around=around)
        ago = min(self._wall() - since, float("inf") if timed is None else self._clock() - timed)
        return wire.SegmentView(name=name, inserted=True, ago=max(0.0, ago), around=around)

    def rules(self, name: str) -> list[wire.RuleView]:
        """The rules of a chain with the counters of the switches; a rule that is not there says so."""
        with self._data:
            plan = self._known(name)
        return list(rule_views(self.fabric, self._wanted.rules_of(plan), chain_cookie(name)).values())

    def hops(self, name: str) -> ChainHops:
        """The same in the order in which frames meet them; asks and answers are not among them."""
        with self._data:
            plan = self._known(name)
        rules = self._wanted.rules_of(plan)
        views = rule_views(self.fabric, rules, chain_cookie(name))

        def seen(*, forward: bool) -> list[HopView]:
            found = way(self._wanted.network, plan, rules, forward=forward)
            return [hop_view(met, views[met.rule]) for met in found]

        return ChainHops(
            name=name, segment=plan.segment, forward=seen(forward=True), reverse=seen(forward=False)
        )

    def topology(self) -> wire.TopologyView:
        """Switches with what their table misses dropped, links as discovered, and what is attached."""
        links = sorted(self.fabric.topology().links)
        return wire.TopologyView(
            switches=[
                switch_view(self.fabric, name, dpid) for name, dpid in self._wanted.network.switches.items()
            ],
            links=[link_view(link) for link in links],
            attachments=attachments(self._wanted.network),
        )

    def health(self) -> wire.ControllerHealth:
        """`degraded` while a switch is missing, or a chain waits for rules, a port or a link."""
        expected = self._wanted.network.switches
        missing = [name for name in expected if not self.fabric.is_connected(name)]
        links, standing = self.fabric.topology().links, self.fabric.standing()
        with self._data:
            plans = list(self._wanted.plans.values())
        waits = {}
        # A missing switch explains its lost links and rules; they are told once all switches are there.
        for plan in plans if not missing else []:
            lost = [f"link {link}" for link in sorted(plan.links() - links)]
            waits[plan.chain.name] = standing.waiting_for(self._wanted.rules_of(plan)) + lost
        return health_view(expected, missing, waits)
