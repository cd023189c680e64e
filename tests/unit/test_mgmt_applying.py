"""Applies on fakes: all of a segment in one epoch, stale plans, and a process killed wherever it can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.config import ChainConfig, ServiceConfig, ServiceEntry
from catenary.errors import Conflict, InvalidValue, PreconditionFailed
from catenary.tags import TagPair
from mgmt_system.applying import Condition, Options
from mgmt_system.etags import etag
from mgmt_system.predictions import FRESH_S, Predictions
from mgmt_system.records import Author
from tests.unit.mgmt_fakes import Site, network_text

ANYTHING, PLAIN = Condition(), Options()


def file(text: str = "", network: str | None = None) -> ServiceConfig:
    chains = "\nchains:\n" + text if text else ""
    return ServiceConfig.load((network or network_text()) + chains)


ONE = file("  one: {nfs: [n1]}")
OTHERS = file("  two: {nfs: [n2]}\n  three: {nfs: [n3, shared], weight: 50}")


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def site() -> Site:
    return Site()


def apply(site: Site, config: ServiceConfig, **options: object) -> str:
    operation = site.applying.apply(config, Options(**options), ANYTHING)  # type: ignore[arg-type]
    assert operation is not None
    return operation.id


def test_one_request_swaps_all_chains_of_a_segment_in_one_epoch(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    epoch = site.master.epoch
    site.master.sessions[TagPair(2, 3)] = 1
    operation = site.manager.operation(apply(site, OTHERS))
    assert (operation.kind, operation.chains, operation.state) == (
        "apply",
        ["one", "two", "three"],
        "running",
    )
    site.step()
    assert site.master.epoch == epoch + 1
    assert {str(tags): state.value for tags, state in site.master.states.items()} == {
        "(2, 3)": "cooling",
        "(4, 5)": "active",
        "(6, 7)": "active",
    }
    assert site.manager.operation(operation.id).done == 2
    site.master.sessions.clear()
    site.settle()
    assert site.manager.operation(operation.id).state == "succeeded"
    assert site.states() == {"one": "removed", "two": "active", "three": "active"}
    assert site.applying.view().config.chains.keys() == {"two", "three"}


def test_applying_twice_changes_nothing(site: Site) -> None:
    apply(site, OTHERS)
    site.settle()
    calls, before = len(site.master.calls), site.ledger.operations()
    assert site.applying.apply(OTHERS, PLAIN, ANYTHING) is None
    exported = site.applying.view().config
    assert site.applying.apply(exported, PLAIN, ANYTHING) is None
    assert (len(site.master.calls), site.ledger.operations()) == (calls, before)


def test_a_stale_plan_is_refused_and_a_fresh_one_is_not(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    stale = site.applying.plan(OTHERS, PLAIN)
    site.add("n2", name="by-hand")
    with pytest.raises(Conflict, match="this plan is stale"):
        site.applying.apply(OTHERS, PLAIN, Condition(token=stale.token))
    site.manager.remove("by-hand", force=False)
    site.settle()
    fresh = site.applying.plan(OTHERS, PLAIN)
    with pytest.raises(Conflict, match="this plan is stale"):
        site.applying.apply(ONE.model_copy(update={"chains": {}}), PLAIN, Condition(token=fresh.token))
    assert site.applying.apply(OTHERS, PLAIN, Condition(token=fresh.token)) is not None
    # Said once more, because the answer was lost: it is so already.
    assert site.applying.apply(OTHERS, PLAIN, Condition(token=fresh.token)) is None


def test_a_new_weight_makes_a_plan_stale_too(site: Site) -> None:
    apply(site, OTHERS)
    site.settle()
    plan = site.applying.plan(ONE, Options(force=True))
    site.manager.cordon("two", force=False)
    with pytest.raises(Conflict, match="stale"):
        site.applying.apply(ONE, Options(force=True), Condition(token=plan.token))


def test_other_options_than_those_of_the_plan_make_it_stale(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    plan = site.applying.plan(OTHERS, PLAIN)
    for options in (Options(force=True), Options(deadline=5.0, then="reset")):
        with pytest.raises(Conflict, match=r"the options .* changed: plan again"):
            site.applying.apply(OTHERS, options, Condition(token=plan.token))
    assert site.applying.apply(OTHERS, PLAIN, Condition(token=plan.token)) is not None


def test_a_plan_to_take_a_chain_back_is_stale_once_it_is_gone(site: Site) -> None:
    apply(site, OTHERS)
    site.settle()
    site.master.sessions[TagPair(2, 3)] = 1
    site.manager.remove("two", force=False)
    site.step()
    plan = site.applying.plan(OTHERS, PLAIN)
    assert [(change.verb, change.name) for change in plan.changes] == [("take back", "two")]
    site.master.sessions.clear()
    site.settle()
    with pytest.raises(Conflict, match="stale"):
        site.applying.apply(OTHERS, PLAIN, Condition(token=plan.token))


def test_the_etag_of_another_configuration_is_refused(site: Site) -> None:
    read = frozenset({etag(site.applying.view().revision)})
    apply(site, ONE)
    with pytest.raises(PreconditionFailed, match="read it again"):
        site.applying.apply(OTHERS, PLAIN, Condition(match=read))


def test_weights_and_cordons_reach_the_master(site: Site) -> None:
    apply(site, OTHERS)
    site.settle()
    chains = {
        "two": ChainConfig(nfs=["n2"], weight=7),
        "three": ChainConfig(nfs=["n3", "shared"], weight=50, cordoned=True),
    }
    operation = apply(site, OTHERS.model_copy(update={"chains": chains}))
    site.settle()
    assert site.master.weights == {TagPair(2, 3): 7, TagPair(4, 5): 0}
    assert site.manager.operation(operation).state == "succeeded"
    assert site.manager.chain("three").cordoned
    apply(site, OTHERS)
    site.settle()
    assert site.master.weights == {TagPair(2, 3): 100, TagPair(4, 5): 50}


def test_what_a_segment_would_lose_stays_when_what_it_gets_fails(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    site.controller.down = True  # so that nobody sees beforehand that there is no path
    operation = apply(site, file("  far: {nfs: [lonely]}\n  two: {nfs: [n2]}"))
    site.controller.down = False
    site.settle()
    view = site.manager.operation(operation)
    assert view.state == "failed"
    assert view.reason is not None
    assert "chain 'far': chain 'far' has no path" in view.reason
    assert "what was to be removed from its segment stays" in view.reason
    assert site.states() == {"one": "active", "far": "failed", "two": "active"}
    assert site.master.states[TagPair(2, 3)] is PairState.ACTIVE


def test_nothing_leaves_while_what_comes_waits(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    site.controller.down = True
    apply(site, OTHERS)
    for _ in range(5):
        site.step()
    assert site.states() == {"one": "active", "two": "requested", "three": "requested"}
    site.controller.down = False
    site.settle()
    assert site.states() == {"one": "removed", "two": "active", "three": "active"}


def test_an_nf_comes_without_a_restart_and_its_chain_with_it(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    network = network_text().replace("nfs:\n", "nfs:\n  n4: {switch: s5, ingress: n4i, egress: n4e}\n")
    more = file("  one: {nfs: [n1]}\n  four: {nfs: [n4]}", network)
    plan = site.applying.plan(more, PLAIN)
    assert [(change.kind, change.name) for change in plan.changes] == [("nf", "n4"), ("chain", "four")]
    operation = apply(site, more)
    site.settle()
    assert site.manager.operation(operation).state == "succeeded"
    assert site.controller.known == more.network.revision
    site.restart()
    assert site.applying.view().config == site.applying.view().config.model_copy(update={"nfs": more.nfs})
    assert not site.applying.plan(more, PLAIN).changes
    site.controller.known = ""  # it restarted with a file of before
    site.step()
    assert site.controller.known == more.network.revision


def test_a_network_that_the_controller_refuses_is_refused_before(site: Site) -> None:
    site.controller.steered["stray"] = site.controller.steer("stray", steering("n3"))
    without = network_text().replace("  n3: {switch: s5, ingress: a, egress: b}\n", "")
    plan = site.applying.plan(file(network=without), PLAIN)
    assert [fault.text for fault in plan.refused] == ["NF 'n3' is used by chain 'stray'"]
    with pytest.raises(Conflict, match="NF 'n3' is used by chain 'stray'"):
        site.applying.apply(file(network=without), PLAIN, ANYTHING)


def steering(nf: str) -> wire.SteerRequest:
    return wire.SteerRequest(segment="main", tags=wire.Tags(forward=90, reverse=91), nfs=[nf])


def test_a_plan_tells_what_it_costs(site: Site) -> None:
    apply(site, file("  one: {nfs: [n1]}\n  two: {nfs: [n2]}"))
    site.settle()
    site.master.sessions = {TagPair(2, 3): 30, TagPair(4, 5): 10}
    site.now += 60
    plan = site.applying.plan(OTHERS, Options(deadline=60.0, then="reset"))
    (segment,) = plan.segments
    assert (segment.stay, segment.leave) == (10, 30)
    shares = {share.chain: (share.before, share.after) for share in segment.shares}
    assert shares == {
        "one": (0.5, 0.0),
        "two": (0.5, pytest.approx(2 / 3)),
        "three": (0.0, pytest.approx(1 / 3)),
    }
    (cooling,) = segment.cooling
    assert (cooling.chain, cooling.sessions) == ("one", 30)
    assert cooling.earliest is not None
    assert cooling.p50 is not None
    assert cooling.p95 is not None
    assert cooling.earliest <= cooling.p50 < cooling.p95
    assert 0 < (cooling.cut or 0) < 30
    site.master.down = True
    (segment,) = site.applying.plan(OTHERS, PLAIN).segments
    assert (segment.stay, segment.leave) == (None, None)


def test_a_life_table_is_asked_for_again_when_it_is_old(site: Site) -> None:
    apply(site, file("  one: {nfs: [n1]}\n  two: {nfs: [n2]}"))
    site.settle()
    site.master.sessions = {TagPair(2, 3): 30, TagPair(4, 5): 10}
    now = 0.0
    predictions = Predictions(site.peers, site.network, lambda: now)
    chains = site.ledger.snapshot().chains
    found = predictions.forecasts(chains)
    assert found.keys() == {"one", "two"}
    site.master.down = True
    now = FRESH_S - 0.1
    assert predictions.forecasts(chains) == found
    now = FRESH_S
    assert predictions.forecasts(chains) == {}


def test_a_plan_without_the_segment_of_a_chain_says_what_is_in_its_way(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    nothing = ServiceConfig(switches={}, nfs={}, balancers={}, segments={})
    plan = site.applying.plan(nothing, PLAIN)
    assert ["segments", "main"] in [fault.key for fault in plan.refused]


def test_a_deadline_goes_with_an_end() -> None:
    with pytest.raises(InvalidValue, match="a deadline goes with"):
        Options(deadline=5.0)


def test_a_chain_of_an_apply_may_be_removed_by_hand_meanwhile(site: Site) -> None:
    site.master.down = True
    operation = apply(site, OTHERS)
    site.step()
    site.manager.remove("three", force=True)
    site.master.down = False
    site.settle()
    assert site.states() == {"two": "active", "three": "removed"}
    view = site.manager.operation(operation)
    assert (view.state, view.reason) == ("failed", "chain 'three' was removed before it was active")


def test_a_chain_that_an_apply_has_brought_may_be_removed_by_hand(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    site.master.sessions[TagPair(2, 3)] = 1
    operation = apply(site, OTHERS)  # which waits for the cool-down of `one`
    site.step()
    site.manager.remove("three", force=True)
    site.master.sessions.clear()
    site.settle()
    assert site.states() == {"one": "removed", "two": "active", "three": "removed"}
    assert site.manager.operation(operation).state == "succeeded"


def test_a_removal_of_an_apply_that_is_cancelled_by_hand_fails_it(site: Site) -> None:
    apply(site, OTHERS)
    site.settle()
    site.master.sessions[TagPair(2, 3)] = 1
    operation = apply(site, ONE)
    site.step()
    site.manager.cancel("two")
    assert site.manager.operation(operation).state == "running"  # with its other chains
    site.settle()
    assert site.states() == {"one": "active", "two": "active", "three": "removed"}
    view = site.manager.operation(operation)
    assert (view.state, view.reason) == ("failed", "the removal of 'two' was cancelled")


def test_services_show_their_segments_and_chains(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    (service,) = site.applying.services()
    assert (service.name, [chain.name for chain in service.chains]) == ("main", ["one"])
    named = ONE.model_copy(update={"services": {"web": ServiceEntry(segments=["main"])}})
    apply(site, named)
    assert [service.name for service in site.applying.services()] == ["web"]


def crashing(at: int) -> tuple[Callable[[str], None], list[str]]:
    passed: list[str] = []

    def crash_point(what: str) -> None:
        passed.append(what)
        if len(passed) == at:
            raise Killed

    return crash_point, passed


def test_killed_at_every_point_of_an_apply_the_next_process_finishes_it() -> None:
    """All that is asked for is there in the end, or nothing of it was accepted, and it is asked for again."""
    at = 0
    while True:
        at += 1
        site = Site()
        apply(site, ONE)
        site.settle()
        crash_point, passed = crashing(at)
        site.restart(crash_point)
        try:
            apply(site, OTHERS)
            site.settle()
        except Killed:
            site.restart()
            site.applying.apply(OTHERS, PLAIN, ANYTHING)
            site.settle()
        assert site.states() == {"one": "removed", "two": "active", "three": "active"}, passed
        assert {operation.state for operation in site.ledger.operations()} == {"succeeded"}
        assert set(site.controller.steered) == {"two", "three"}
        assert set(site.master.states) == {TagPair(4, 5), TagPair(6, 7)}
        if len(passed) < at:
            break
    assert at > 15, "it passes its crash points"


def test_a_chain_is_taken_back_as_another_leaves_in_one_epoch(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    site.master.sessions[TagPair(2, 3)] = 1
    apply(site, OTHERS)
    site.step()
    epoch = site.master.epoch
    apply(site, ONE)
    site.step()
    assert site.master.epoch == epoch + 1
    assert site.master.states[TagPair(2, 3)] is PairState.ACTIVE
    site.settle()
    assert site.states() == {"one": "active", "two": "removed", "three": "removed"}


def test_what_shall_go_stays_if_the_other_comes_back_too_late(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    for balancer in (site.master, site.slave):
        balancer.sessions[TagPair(2, 3)] = 1
    apply(site, OTHERS)
    site.step()
    site.master.states[TagPair(2, 3)] = PairState.CLOSED  # and the next look is still to come
    operation = apply(site, ONE)
    for balancer in (site.master, site.slave):
        balancer.sessions.clear()
    site.settle()
    view = site.manager.operation(operation)
    assert (view.state, "what was to be removed" in (view.reason or "")) == ("failed", True)
    assert site.states() == {"one": "removed", "two": "active", "three": "active"}


def test_the_journal_tells_of_an_apply_and_of_each_of_its_chains(site: Site) -> None:
    apply(site, ONE)
    site.settle()
    before = site.ledger.snapshot().head.next
    author = Author("ann@ops", "a second firewall", "10.0.0.9", "req-1")
    operation = site.applying.apply(OTHERS, PLAIN, ANYTHING, author)
    assert operation is not None
    site.settle()
    told = [entry.event for entry in site.ledger.entries(before, site.ledger.snapshot().head.next)]
    assert {event.author for event in told} == {author}
    requests = [event for event in told if event.kind not in ("state", "epoch")]
    assert [(event.kind, event.chain) for event in requests] == [
        ("apply", None),
        ("remove", "one"),
        ("add", "two"),
        ("add", "three"),
        ("apply", None),
    ]
    assert {event.operation for event in requests} == {operation.id}


def test_a_segment_is_known_before_its_chains_are_on_record(site: Site) -> None:
    """The engine runs beside: it must never meet a chain whose segment it does not know."""
    second = network_text().replace("balancers:\n", MORE_BALANCERS).replace("segments:\n", MORE_SEGMENTS)
    seen: list[bool] = []

    def look(what: str) -> None:
        if what.startswith("store write"):
            known = site.network.segments
            seen.extend(stored.record.segment in known for stored in site.ledger.chains())

    site.restart(look)
    more = file("  one: {nfs: [n1], segment: main}\n  other: {nfs: [n3], segment: second}", second)
    assert site.applying.apply(more, PLAIN, ANYTHING) is not None
    assert seen == [True, True]


MORE_BALANCERS = """balancers:
  l3: {switch: s3, outer: o, inner: i, url: "http://127.0.0.1:4"}
  l4: {switch: s5, outer: o, inner: i, url: "http://127.0.0.1:5"}
"""
MORE_SEGMENTS = "segments:\n  second: {master: l3, slave: l4, ask_id: 4093}\n"
