"""What an apply takes goes when what it brings is there, whoever else asks for something meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.config import ServiceConfig
from catenary.errors import Conflict, Unavailable
from catenary.tags import TagPair
from mgmt_system.sampling import Sampling
from mgmt_system.store import changes
from tests.unit.mgmt_fakes import Site, network_text
from tests.unit.mgmt_master import second_pair
from tests.unit.test_mgmt_applying import MORE_BALANCERS, MORE_SEGMENTS, apply, file

ONE, TWO, THREE = (
    file(f"  {name}: {{nfs: [{nf}]}}") for name, nf in (("one", "n1"), ("two", "n2"), ("three", "n3"))
)
BOTH = file("  one: {nfs: [n1]}\n  two: {nfs: [n2]}")
INSERTED = network_text().replace("main: {", "main: {inserted: false, ")
OLD, NEW = TagPair(2, 3), TagPair(4, 5)


@pytest.fixture
def site() -> Site:
    """Chain `one` is active."""
    site = Site()
    apply(site, ONE)
    site.settle()
    return site


def inserted_site(ago: float) -> Site:
    """The pair was put around chain `one` so many seconds ago."""
    site = Site(network=INSERTED)
    site.controller.inserted["main"] = None
    apply(site, file("  one: {nfs: [n1]}", INSERTED))
    site.settle()
    site.manager.insert("main")
    site.controller.inserted["main"] = ago
    site.settle()
    return site


def steps(site: Site, count: int = 5) -> None:
    """Each leaves a chain that takes sessions."""
    for _ in range(count):
        site.step()
        assert PairState.ACTIVE in site.master.states.values(), site.states()


# --- what leaves waits for what comes


def test_nothing_leaves_before_the_controller_has_said_that_the_pair_is_inserted() -> None:
    site = inserted_site(1e9)
    apply(site, file("  two: {nfs: [n2]}", INSERTED))
    epoch = site.master.epoch
    steps(site, 1)
    assert site.states() == {"one": "active", "two": "steered"}
    assert "chain two is not ready yet" in str(site.manager.chain("one").reason)
    steps(site, 1)
    assert (site.master.epoch, site.master.states[NEW]) == (epoch + 1, PairState.ACTIVE)
    assert site.states()["one"] == "cooling", "in the same epoch"


def test_nothing_leaves_while_a_pair_adopts_the_sessions_that_it_found() -> None:
    site = inserted_site(1.0)
    apply(site, file("  two: {nfs: [n2]}", INSERTED))
    steps(site)
    assert site.states() == {"one": "active", "two": "steered"}
    assert "adopts the sessions" in str(site.manager.chain("two").reason)
    site.controller.inserted["main"] = 1e9
    site.settle()
    assert site.states() == {"one": "removed", "two": "active"}


def test_nothing_leaves_while_what_comes_must_be_steered_again(site: Site) -> None:
    """And what may not leave yet gets its own rules back, and its pair."""
    site.master.down = True
    apply(site, TWO)
    for _ in range(3):
        site.step()
    assert site.states() == {"one": "active", "two": "steered"}
    site.master.down = False
    site.controller.restart_empty()

    def fault(call: str, after: bool) -> None:
        if call == "steer" and not after:
            raise Unavailable("waiting for switch s4")

    site.controller.fault = fault
    steps(site)
    assert site.states() == {"one": "active", "two": "steered"}
    steer = site.controller.steer

    def only_one(name: str, request: wire.SteerRequest) -> wire.SteeredChain:
        if name == "two":
            raise Unavailable("waiting for switch s4")
        return steer(name, request)

    site.controller.fault = lambda call, after: None
    site.controller.steer = only_one  # type: ignore[method-assign]
    site.master.restart_empty()
    site.step()
    steps(site)
    assert (set(site.controller.steered), set(site.master.states)) == ({"one"}, {OLD})
    site.controller.steer = steer  # type: ignore[method-assign]
    site.settle()
    assert site.states() == {"one": "removed", "two": "active"}


def test_a_deadline_counts_from_when_the_chain_is_let_go(site: Site) -> None:
    site.master.sessions[OLD] = site.slave.sessions[OLD] = 3
    site.controller.down = True
    apply(site, TWO, deadline=60.0, then="reset")
    for _ in range(3):
        site.now += 600
        site.step()
    assert (site.states()["one"], site.manager.chain("one").deadline) == ("active", None)
    site.controller.down = False
    steps(site)
    chain = site.manager.chain("one")
    assert (chain.state, chain.deadline) == ("cooling", chain.changed + 60)
    assert "end_sessions" not in site.master.calls
    site.now += 60
    site.settle()
    assert site.states() == {"one": "removed", "two": "active"}
    assert site.manager.operations()[-1].reset == 3


# --- other requests meanwhile


def test_what_takes_the_last_ones_place_is_removed_by_force_alone(site: Site) -> None:
    site.controller.down = True
    apply(site, TWO)
    steps(site, 2)
    with pytest.raises(Conflict, match="'two' is the only one of segment 'main' that is to take sessions"):
        site.manager.remove("two", force=False)
    with pytest.raises(Conflict, match="no chain of segment 'main' would take sessions"):
        apply(site, file())
    steps(site)
    site.manager.remove("two", force=True)
    site.controller.down = False
    site.settle()
    assert site.states() == {"one": "removed", "two": "removed"}


def test_one_of_several_that_come_may_be_removed(site: Site) -> None:
    site.controller.down = True
    apply(site, file("  two: {nfs: [n2]}\n  three: {nfs: [n3]}"))
    steps(site, 2)
    site.manager.remove("two", force=False)
    site.controller.down = False
    steps(site)
    assert site.states() == {"one": "removed", "two": "removed", "three": "active"}


@pytest.mark.parametrize("part", ["controller", "master"])
def test_a_second_apply_takes_over_what_the_first_has_not_done(site: Site, part: str) -> None:
    away = site.controller if part == "controller" else site.master
    away.down = True
    first = apply(site, BOTH)
    site.step()
    second = apply(site, file("  one: {nfs: [n1]}\n  two: {nfs: [n2], weight: 50}"))
    for _ in range(3):
        site.step()
    ended = site.manager.operation(first)
    assert (ended.state, site.manager.operation(second).state) == ("failed", "running")
    reason = f"operation {second} applied another configuration: chain 'two' shall be present"
    assert ended.reason == reason
    away.down = False
    site.settle()
    assert site.manager.operation(second).state == "succeeded"
    assert site.master.weights[NEW] == 50


def test_what_leaves_waits_for_what_a_second_apply_brings(site: Site) -> None:
    site.controller.down = True
    first = apply(site, TWO)
    steps(site, 2)
    epoch = site.ledger.snapshot().head.next
    second = apply(site, THREE)
    steps(site)
    assert site.states() == {"one": "active", "two": "requested", "three": "requested"}
    told = [entry.event for entry in site.ledger.entries(epoch, epoch + 9)]
    assert [(event.kind, event.chain) for event in told if event.operation == second] == [
        ("apply", None),
        ("remove", "two"),
        ("add", "three"),
    ]
    assert site.manager.operation(second).chains == ["two", "three", "one"]
    site.controller.down = False
    steps(site)
    assert site.states() == {"one": "removed", "two": "removed", "three": "active"}
    assert [site.manager.operation(it).state for it in (first, second)] == ["failed", "succeeded"]
    assert all(record.operation is None for record in site.ledger.snapshot().chains)


def test_what_leaves_waits_for_what_was_added_by_hand(site: Site) -> None:
    site.controller.down = True
    adding = site.add("n2", name="two")
    steps(site, 2)
    second = apply(site, TWO)
    steps(site)
    assert site.states() == {"one": "active", "two": "requested"}
    site.controller.down = False
    steps(site)
    assert site.states() == {"one": "removed", "two": "active"}
    assert [site.manager.operation(it).state for it in (adding.id, second)] == ["failed", "succeeded"]


def test_an_apply_goes_on_beside_another_that_is_through_but_for_a_cool_down(site: Site) -> None:
    site.master.sessions[OLD] = site.slave.sessions[OLD] = 1
    first = apply(site, TWO)
    steps(site)
    second = apply(site, file("  two: {nfs: [n2], weight: 50}"))
    steps(site)
    assert [site.manager.operation(it).state for it in (first, second)] == ["running", "succeeded"]
    site.master.sessions.clear()
    site.slave.sessions.clear()
    site.settle()
    assert site.manager.operation(first).state == "succeeded"


def test_a_corrective_apply_does_not_fail_with_what_failed_before_it(site: Site) -> None:
    site.controller.down = True
    first = apply(site, file("  two: {nfs: [n2]}\n  far: {nfs: [lonely]}"))
    site.controller.down = False
    unsteer = site.controller.unsteer
    site.controller.unsteer = lambda name: raise_unavailable()  # type: ignore[method-assign]
    steps(site, 2)
    second = apply(site, file("  one: {nfs: [n1]}\n  two: {nfs: [n2], weight: 50}"))
    site.controller.unsteer = unsteer  # type: ignore[method-assign]
    site.settle()
    assert [site.manager.operation(it).state for it in (first, second)] == ["failed", "succeeded"]
    assert site.states() == {"one": "active", "two": "active", "far": "failed"}


def raise_unavailable() -> None:
    raise Unavailable("try again")


def test_new_rules_wait_for_the_bypass_that_an_earlier_apply_brings(site: Site) -> None:
    def ports(port: int) -> ServiceConfig:
        rule = f"services: {{web: {{segments: [main], classifier: [{{protocol: tcp, ports: [{port}]}}]}}}}"
        return ServiceConfig.load(f"{network_text()}\n{rule}\nchains:\n  one: {{nfs: [n1]}}")

    site.master.down = True
    first = apply(site, ports(80))
    site.step()
    second = apply(site, ports(443))
    for _ in range(3):
        site.step()
    assert [site.manager.operation(it).state for it in (first, second)] == ["failed", "running"]
    site.master.down = False
    site.settle()
    assert site.manager.operation(second).state == "succeeded"
    assert [rule.rule().ports for rule in site.master.classifier] == [(443, 443)]


def test_what_the_controller_refused_once_is_not_held_against_the_next_apply(site: Site) -> None:
    stray = site.controller.steered["one"].model_copy(update={"name": "stray", "nfs": ["n3"]})
    site.controller.steered["stray"] = stray
    without = network_text().replace("  n3: {switch: s5, ingress: a, egress: b}\n", "")
    site.controller.down = True
    first = apply(site, file("  one: {nfs: [n1]}", without))
    site.controller.down = False
    steps(site, 3)
    assert site.manager.operation(first).state == "failed"
    second = apply(site, ONE)
    site.now += 0.1  # too soon for another look at all
    site.engine.settle()
    site.settle()
    assert (site.manager.operation(second).state, site.engine.faults()) == ("succeeded", {})


def test_what_was_taken_back_and_leaves_again_waits_too(site: Site) -> None:
    """It is on record as cooling, for its master may have been told; this one was not."""
    site.controller.down = True
    apply(site, TWO)
    steps(site, 2)
    apply(site, ONE)
    apply(site, THREE)
    steps(site)
    with pytest.raises(Conflict, match="no chain of segment 'main' would take sessions"):
        apply(site, file())
    site.controller.down = False
    steps(site)
    assert site.states() == {"one": "removed", "two": "removed", "three": "active"}


def test_a_bypass_goes_with_its_classifier_though_another_chain_fails(site: Site) -> None:
    """It would be one that no classifier leads to, which no document can say."""
    rule = "services: {web: {segments: [main], classifier: [{protocol: tcp, ports: [80]}]}}"
    apply(site, ServiceConfig.load(f"{network_text()}\n{rule}\nchains:\n  one: {{nfs: [n1]}}"))
    site.settle()
    site.controller.down = True
    operation = apply(site, file("  far: {nfs: [lonely]}"))
    site.controller.down = False
    site.settle()
    assert site.manager.operation(operation).state == "failed"
    assert site.states() == {"one": "active", "main-bypass": "removed", "far": "failed"}
    assert set(site.applying.view().config.chains) == {"one"}


# --- a segment that goes

SECOND = network_text().replace("balancers:\n", MORE_BALANCERS).replace("segments:\n", MORE_SEGMENTS)
ONLY_MAIN = "  one: {nfs: [n1], segment: main}"


def segments_site(nf: str) -> Site:
    """With chain `other` in segment `second`, unless it fails."""
    site = Site(network=SECOND)
    site.peers.balancers.update(second_pair())  # type: ignore[attr-defined]
    site.controller.down = True  # so that nobody sees beforehand that there is no path
    apply(site, file(f"{ONLY_MAIN}\n  other: {{nfs: [{nf}], segment: second}}", SECOND))
    site.controller.down = False
    site.settle()
    return site


def test_a_segment_goes_once_its_chains_are_removed() -> None:
    """The store remembers them, and what is removed refers to nothing."""
    site = segments_site("n3")
    apply(site, file(ONLY_MAIN, SECOND), force=True)
    site.settle()
    operation = apply(site, ONE)
    site.settle()
    assert site.manager.operation(operation).state == "succeeded"
    site.restart()
    site.settle()
    assert site.states() == {"one": "active", "other": "removed"}


def test_a_segment_stays_while_it_shows_a_chain_that_failed() -> None:
    site = segments_site("lonely")
    assert site.states() == {"one": "active", "other": "failed"}
    with pytest.raises(Conflict, match=r"segments.second: .* it shows chain 'other' \(failed\): remove that"):
        apply(site, ONE)
    site.manager.remove("other", force=False)
    site.settle()
    apply(site, ONE)
    site.settle()
    site.restart()
    assert site.states() == {"one": "active", "other": "removed"}


# --- what else an apply promises


def test_life_tables_are_asked_for_once_and_while_others_may_go_on() -> None:
    site = Site()
    apply(site, file("\n".join(f"  c{number}: {{nfs: [shared]}}" for number in range(6))))
    site.settle()
    free: list[bool] = []

    def other_request() -> None:
        with site.manager.deciding.alone():
            pass

    def fault(call: str, after: bool) -> None:
        if call == "lives":
            other = threading.Thread(target=other_request)
            other.start()
            other.join(5)
            free.append(not other.is_alive())

    site.master.fault = fault
    site.master.sessions = dict.fromkeys(site.master.states, 4)
    apply(site, file("  c0: {nfs: [shared]}"))
    assert free == [True]
    going = [record for record in site.records() if record.name != "c0"]
    assert all(record.p50 is not None and record.p95 is not None for record in going)


def test_what_an_apply_removed_is_on_record_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "REMOVED_KEPT", 2)
    site = Site()
    names = [f"c{number}" for number in range(8)]
    apply(site, file("\n".join(f"  {name}: {{nfs: [shared]}}" for name in names)))
    site.settle()
    pairs = list(site.master.states)
    site.master.sessions = dict.fromkeys(pairs, 1)
    operation = apply(site, file("  c0: {nfs: [shared]}"), deadline=0.0, then="reset")
    activity = site.slave.activity
    site.slave.activity = lambda pair: activity(pair).model_copy(update={"active": pair == pairs[1]})  # type: ignore[method-assign]
    for _ in range(6):
        site.step()
    assert list(site.states().values()).count("removed") == 6
    for nf in ("n1", "n2"):
        site.add(nf)
    site.slave.activity = activity  # type: ignore[method-assign]
    site.settle()
    assert site.manager.operation(operation).reset == 7


class Racing(threading.Event):
    """`stop` comes at the worst moment."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self.stop, self.stopped = stop, False

    def clear(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.stop()
        super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        assert self.is_set() or not self.stopped, "nobody wakes it"
        return True


def test_a_stop_is_not_slept_through(site: Site) -> None:
    site.engine._wake = Racing(site.engine.stop)
    site.engine.run(lambda: True)
    sampling = Sampling(site.peers, site.network, site.manager.chains, site.clock, site.clock)
    sampling._wake = Racing(sampling._stop.set)
    sampling._run()
