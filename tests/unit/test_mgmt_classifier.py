"""Classifiers on fakes: the bypass comes and goes with them, in one epoch with all else of an apply."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from catenary.chain import PairState
from catenary.config import ServiceConfig
from catenary.errors import Conflict
from catenary.tags import TagPair
from catenary.wire import PairWeight, Rebalance
from mgmt_system import plan_tables
from mgmt_system.applying import Condition, Options
from tests.unit.mgmt_fakes import Site, network_text

WEB = "{protocol: tcp, ports: [80, 8000-8099]}"
MAIL = "{protocol: tcp, ports: [25], client: [10.0.0.0/8]}"
BYPASS = "main-bypass"


def file(*traffic: str, chains: str = "one: {nfs: [n1]}") -> ServiceConfig:
    service = f"services: {{web: {{segments: [main], classifier: [{', '.join(traffic)}]}}}}"
    return ServiceConfig.load(f"{network_text()}\n{service}\nchains:\n  {chains}")


@pytest.fixture
def site() -> Site:
    return Site()


def apply(site: Site, config: ServiceConfig) -> str:
    operation = site.applying.apply(config, Options(), Condition())
    assert operation is not None
    return operation.id


def applied(site: Site, config: ServiceConfig) -> None:
    operation = apply(site, config)
    site.settle()
    assert site.manager.operation(operation).state == "succeeded"


def ports(site: Site) -> list[tuple[int, int] | None]:
    return [rule.ports for rule in site.master.classifier]


def test_chains_bypass_and_rules_come_in_one_epoch(site: Site) -> None:
    operation = apply(site, file(WEB))
    site.step()
    assert (site.master.epoch, site.states()) == (1, {"one": "active", BYPASS: "active"})
    assert ports(site) == [(80, 80), (8000, 8099)]
    assert site.controller.steered[BYPASS].nfs == []
    assert site.manager.operation(operation).chains == ["one", BYPASS]
    (pair,) = site.master.bypasses
    assert site.master.weights[pair] == 0


def test_new_rules_are_told_once_and_waited_for(site: Site) -> None:
    applied(site, file(WEB))
    site.slave.down = True  # so the master takes no change
    operation = apply(site, file(WEB, MAIL))
    site.step()
    assert site.manager.operation(operation).state == "running"
    site.slave.down = False
    site.settle()
    assert site.manager.operation(operation).state == "succeeded"
    assert (site.master.epoch, ports(site)) == (2, [(80, 80), (8000, 8099), (25, 25)])
    assert [rule.entry for rule in site.master.classifier] == [0, 0, 1]
    site.settle()
    assert site.master.epoch == 2


def test_without_a_classifier_all_enters_and_the_bypass_cools_down(site: Site) -> None:
    applied(site, file(WEB))
    (pair,) = site.master.bypasses
    site.master.sessions[pair] = 2
    operation = apply(site, file())
    site.step()
    assert (site.master.classifier, site.master.states[pair]) == ([], PairState.COOLING)
    assert site.manager.operation(operation).state == "running", "what passes by is not cut"
    assert site.states() == {"one": "active", BYPASS: "cooling"}
    apply(site, file(MAIL))
    site.settle()
    assert (site.master.states[pair], ports(site)) == (PairState.ACTIVE, [(25, 25)])
    site.master.sessions.clear()
    applied(site, file())
    assert site.states() == {"one": "active", BYPASS: "removed"}
    assert not site.master.bypasses


def test_a_master_that_lost_its_rules_gets_them_back(site: Site) -> None:
    applied(site, file(WEB))
    site.master.classifier = []
    site.settle()
    assert ports(site) == [(80, 80), (8000, 8099)]
    site.master.restart_empty()
    site.settle()
    assert ports(site) == [(80, 80), (8000, 8099)]
    assert len(site.master.bypasses) == 1


def test_a_restarted_management_system_goes_on(site: Site) -> None:
    apply(site, file(WEB))
    site.restart()
    site.settle()
    assert site.states() == {"one": "active", BYPASS: "active"}
    assert ports(site) == [(80, 80), (8000, 8099)]


def test_what_is_in_force_can_be_applied_again(site: Site) -> None:
    applied(site, file(WEB))
    exported = site.applying.view().config
    assert exported.chains[BYPASS].nfs == []
    for document in (exported, file(WEB)):
        assert site.applying.apply(document, Options(), Condition()) is None


def test_a_bypass_of_ones_own_name_and_tags(site: Site) -> None:
    past = "past: {nfs: [], tags: {forward: 90, reverse: 91}}"
    applied(site, file(WEB, chains=f"one: {{nfs: [n1]}}\n  {past}"))
    assert site.states() == {"one": "active", "past": "active"}
    assert site.master.bypasses == {TagPair(90, 91)}


def test_one_bypass_takes_the_place_of_another(site: Site) -> None:
    applied(site, file(WEB))
    applied(site, file(WEB, chains="one: {nfs: [n1]}\n  past: {nfs: []}"))
    assert site.states() == {"one": "active", BYPASS: "removed", "past": "active"}
    assert ports(site) == [(80, 80), (8000, 8099)]


def test_only_the_configuration_moves_a_bypass(site: Site) -> None:
    applied(site, file(WEB))
    (pair,) = site.master.bypasses
    weight = PairWeight(forward=pair.forward, reverse=pair.reverse, weight=7)
    for order in (
        lambda: site.manager.remove(BYPASS, force=True),
        lambda: site.manager.cordon(BYPASS, force=True),
        lambda: site.manager.uncordon(BYPASS),
        lambda: site.manager.cancel(BYPASS),
        lambda: site.manager.rebalance(Rebalance(weights=[weight])),
    ):
        with pytest.raises(Conflict, match="comes and goes with the classifier of its service"):
            order()
    with pytest.raises(Conflict, match="the last active one"):
        site.manager.remove("one", force=False)


def test_a_bypass_that_goes_takes_a_deadline(site: Site) -> None:
    applied(site, file(WEB))
    (pair,) = site.master.bypasses
    site.master.sessions[pair] = 2
    apply(site, file())
    site.step()
    operation = site.manager.remove(BYPASS, force=False, deadline=5.0, then="rebalance")
    site.settle()
    assert site.manager.operation(operation.id).moved == 2


def test_a_service_shows_what_enters_and_what_passes_by(site: Site) -> None:
    applied(site, file(WEB, MAIL))
    (pair,) = site.master.bypasses
    site.master.sessions = {TagPair(2, 3): 3, pair: 1}
    (service,) = site.applying.services()
    assert [entry.ports for entry in service.classifier] == [["80", "8000-8099"], ["25"]]
    assert service.sessions == 3, "those that entered"
    shares = {chain.name: chain.share for chain in service.chains}
    assert shares == {"one": 1.0, BYPASS: None}
    assert service.segments[0].entered == [3, 3, 4]
    console = Console(width=200, file=StringIO())
    console.print(plan_tables.service(service))
    told = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["traffic", "new", "in", "main"] in told
    assert ["protocol:", "tcp,", "ports:", "80", "8000-8099", "3"] in told
    assert ["passes", "by", "1"] in told
    plan = site.applying.plan(file(WEB, chains="two: {nfs: [n2]}"), Options())
    assert {share.chain for share in plan.segments[0].shares} == {"one", "two"}
