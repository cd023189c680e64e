"""A segment that scales by itself, on fakes: what is asked for, what is told, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from catenary import wire
from catenary.autoscale import ScaleView
from catenary.chain import ChainState
from catenary.client import ManagementClient
from catenary.config import ServiceConfig
from catenary.errors import CatenaryError, Unavailable
from mgmt_system import metrics
from mgmt_system.applying import Condition, Options
from mgmt_system.provisioning import Cancelled
from mgmt_system.scaling import Scaling
from mgmt_system.segment_scaler import SegmentScaler
from tests.unit.mgmt_fakes import Site, network_text

pytestmark = pytest.mark.unit

SCALED = """
autoscale:
  main:
    maximum: 3
    targets: {sessions: 100}
    interval: 1
    in_window: 5
    provisioner: {copies: [[n1], [n2], [n3]]}
"""
HOOKED = SCALED.replace("[n3]]", "[n3]], command: [nf], timeout: 0.5")


class Recorder:
    """A provisioner that can be told to fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.fault: Callable[[str, Sequence[str]], str | None] = lambda action, nfs: None

    def start(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        self._do("start", nfs)

    def stop(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        self._do("stop", nfs)

    def _do(self, action: str, nfs: Sequence[str]) -> None:
        self.calls.append((action, *nfs))
        if fault := self.fault(action, nfs):
            raise Unavailable(fault)


class Scaled(Site):
    """A site whose time passes in seconds, in which engine and autoscaler do what is due."""

    def __init__(self, network: str = network_text() + SCALED, hooks: Path | None = None) -> None:
        super().__init__(network=network)
        self.hooks = hooks
        self.scaling = self._new()

    def _new(self) -> Scaling:
        return Scaling(
            self.ledger, self.manager, self.peers, self.network, self.hooks, self.clock, self.clock
        )

    def begin_anew(self) -> None:
        """Another process, on the same store."""
        self.scaling.stop()
        self.restart()
        self.scaling = self._new()

    def carry(self, *sessions: int) -> None:
        """So many live sessions on the active chains, in their order."""
        active = [chain for chain in self.manager.chains() if chain.state == ChainState.ACTIVE]
        self.master.sessions = {
            chain.tags.pair(): count for chain, count in zip(active, sessions, strict=False)
        }

    def carry_for_a_second(self, latency_ms: float | None = None, **counted: int) -> ScaleView:
        """Each chain counts so much more meanwhile, and its probes take so long."""
        for row in self.master.stats().pairs:
            more = {name: getattr(row, name) + count for name, count in counted.items()}
            self.master.counted[row.pair()] = more
            if latency_ms is not None:
                up = wire.PairHealth(verdict="up", seconds=1, latency_ms=latency_ms, sent=1, lost=0, falls=0)
                self.master.healths[row.pair()] = up
        return self.tick()

    def tick(self, seconds: int = 1) -> ScaleView:
        for _ in range(seconds):
            self.now += 1.0
            for _ in range(3):  # a tick is shorter than an interval: what is due is done
                self.scaling.step()
                self._provisioned()
            self.engine.settle()
            self.engine.settle()
        (view,) = self.scaling.views()
        return view

    def _provisioned(self) -> None:
        for scaler in self.scaling._scalers.values():
            for copy in scaler._copies._copies:
                if copy.work is not None:
                    copy.work.exception(timeout=10)

    def active(self) -> list[str]:
        return [chain.nfs[0] for chain in self.manager.chains() if chain.state == ChainState.ACTIVE]

    def told(self, kind: str) -> list[str]:
        self.ledger.flush()
        head = self.ledger.snapshot().head
        events = [entry.event for entry in self.ledger.entries(1, head.next)]
        return [event.text or "" for event in events if event.kind == kind]


@pytest.fixture
def sites() -> Iterator[list[Scaled]]:
    found: list[Scaled] = []
    yield found
    for site in found:
        site.scaling.stop()


@pytest.fixture
def site(sites: list[Scaled]) -> Scaled:
    sites.append(Scaled())
    return sites[-1]


def with_recorder(site: Scaled, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr("mgmt_system.segment_scaler.CommandHook", lambda *_: recorder)
    return recorder


def test_from_none_to_the_minimum_then_up_and_down(site: Scaled) -> None:
    site.tick(3)
    assert site.active() == ["n1"]
    site.carry(250)
    view = site.tick(2)
    assert site.active() == ["n1", "n2", "n3"]
    assert view.reason == "as many as are wanted; sessions 83.33 a chain, target 100, wants 3"
    assert "out 1 -> 3 chains; sessions 250 a chain, target 100, wants 3" in site.told("scale")
    site.carry(20, 10, 30)
    site.tick(6)
    assert len(site.active()) == 1, "two cool down"
    operations = [item for item in site.manager.operations() if item.kind == "remove"]
    assert {item.who for item in operations} == {"autoscaler"}
    assert {item.why for item in operations} == {"3 -> 1 chains; sessions 20 a chain, target 100, wants 1"}
    (said,) = [text for text in site.told("scale") if text.startswith("in ")]
    assert said.startswith("in 3 -> 1 chains; sessions 20 a chain, target 100, wants 1: chain-")
    assert "sessions)" in said


@pytest.mark.parametrize(
    ("target", "busy", "quiet", "figures"),
    [
        ("new_sessions: 20", {"new_sessions": 50}, {}, "new_sessions 50 a chain, target 20, wants 3"),
        (
            "throughput: 4",
            {"forward_bytes": 250_000, "reverse_bytes": 1_000_000},
            {"reverse_bytes": 100_000},
            "throughput 10 a chain, target 4, wants 3",
        ),
        (
            "latency: 0.002",
            {"latency_ms": 5.0},
            {"latency_ms": 0.5},
            "latency 0.005 a chain, target 0.002, wants 3",
        ),
    ],
)
def test_up_and_down_by_each_other_target(
    sites: list[Scaled], target: str, busy: dict[str, Any], quiet: dict[str, Any], figures: str
) -> None:
    probed = network_text().replace("timeouts:", "health: {}, timeouts:")
    site = Scaled(probed + SCALED.replace("sessions: 100", target))
    sites.append(site)
    site.tick(3)
    for _ in range(3):
        site.carry_for_a_second(**quiet)
    assert site.active() == ["n1"]
    for _ in range(4):
        site.carry_for_a_second(**busy)
    assert site.active() == ["n1", "n2", "n3"]
    assert f"out 1 -> 3 chains; {figures}" in site.told("scale")
    for _ in range(8):
        view = site.carry_for_a_second(**quiet)
    assert (len(site.active()), view.chains) == (1, 1)
    assert len([text for text in site.told("scale") if text.startswith("in 3 -> 1 chains")]) == 1


def test_what_cools_down_by_its_own_order_is_taken_back_first(site: Scaled) -> None:
    site.tick(3)
    site.carry(150)
    site.tick(2)
    assert len(site.active()) == 2
    site.carry(10, 10)
    site.tick(6)
    (left,) = site.active()
    assert [chain.state for chain in site.manager.chains()].count(ChainState.COOLING) == 1
    site.carry(190)
    site.tick(2)
    assert sorted(site.active()) == ["n1", "n2"], "not n3"
    assert "cancel" in [item.kind for item in site.manager.operations()]
    assert left in site.active()


def test_what_an_operator_removes_is_not_taken_back(site: Scaled) -> None:
    site.tick(3)
    site.carry(150)
    site.tick(2)
    gone = next(chain for chain in site.manager.chains() if chain.nfs == ["n2"])
    site.carry(150, 50)
    site.manager.remove(gone.name, force=False)
    site.tick(3)
    assert sorted(site.active()) == ["n1", "n3"]


def test_a_silent_master_holds_and_is_told_once(site: Scaled) -> None:
    site.tick(3)
    site.master.down = True
    view = site.tick(5)
    assert (view.verb, view.held, view.chains) == ("hold", True, None)
    assert view.reason.startswith("l1 can't be reached: connection refused")
    site.master.down = False
    assert not site.tick(2).held
    told = [text for text in site.told("scale") if not text.startswith("out")]
    assert [text.partition(":")[0] for text in told] == ["hold", "it decides again"]


def test_a_dry_run_tells_and_does_nothing(sites: list[Scaled]) -> None:
    site = Scaled(network_text() + SCALED.replace("maximum", "mode: dry-run\n    maximum"))
    sites.append(site)
    site.add("n1")
    site.settle()
    site.carry(250)
    view = site.tick(4)
    assert (view.verb, view.desired, view.chains) == ("out", 3, 1)
    assert site.active() == ["n1"]
    assert site.told("scale") == [
        "dry run, it would scale out 1 -> 3 chains; sessions 250 a chain, target 100, wants 3"
    ]


def test_paused_and_resumed_by_rest_and_it_lasts(site: Scaled) -> None:
    from catenary.autoscale import ModeRequest
    from mgmt_system.records import SELF
    from mgmt_system.scale_rest import _put_mode

    site.tick(3)
    operation = _put_mode(site.applying, "main", ModeRequest(mode="paused"), SELF)
    assert operation is not None
    site.carry(900)
    assert site.tick(3).reason == "it is paused"
    assert site.active() == ["n1"]
    assert site.manager.operation(operation.id).state == "succeeded"
    site.begin_anew()
    assert site.tick(3).mode == "paused"
    assert _put_mode(site.applying, "main", ModeRequest(mode="paused"), SELF) is None
    _put_mode(site.applying, "main", ModeRequest(mode="act"), SELF)
    site.carry(900)
    site.tick(4)
    assert len(site.active()) == 3
    with pytest.raises(CatenaryError, match="segment 'west' has no autoscaler: there is main"):
        _put_mode(site.applying, "west", ModeRequest(mode="act"), SELF)


def test_a_document_says_nothing_of_its_chains(site: Scaled) -> None:
    site.tick(3)
    config = site.applying.view().config
    assert not config.chains
    assert site.applying.plan(config, Options()).changes == []
    wider = config.autoscale["main"].model_copy(update={"maximum": 2})
    site.applying.apply(config.model_copy(update={"autoscale": {"main": wider}}), Options(), Condition())
    site.tick(2)
    assert site.active() == ["n1"]
    bare = config.model_copy(update={"autoscale": {}})
    plan = site.applying.plan(bare, Options())
    assert [(item.verb, item.kind) for item in plan.changes] == [("remove", "autoscale"), ("remove", "chain")]
    assert plan.refused, "the last chain goes by force only"


def test_a_canary_and_a_chain_that_is_down_are_no_capacity(site: Scaled) -> None:
    site.tick(3)
    site.add("n3", name="trial", canary=10)
    site.settle()
    site.carry(120, 500)
    site.tick(2)
    assert sorted(site.active()) == ["n1", "n2", "n3"]
    assert {chain.name: chain.canary for chain in site.manager.chains()}["trial"] == 10


def test_a_program_starts_and_stops_each_copy(sites: list[Scaled], monkeypatch: pytest.MonkeyPatch) -> None:
    site = Scaled(network_text() + HOOKED)
    sites.append(site)
    recorder = with_recorder(site, monkeypatch)
    site.tick(3)
    assert recorder.calls[:3] == [("stop", "n1"), ("stop", "n2"), ("stop", "n3")], "nobody knows what runs"
    assert recorder.calls[3:] == [("start", "n1")]
    site.carry(150)
    site.tick(2)
    site.carry(10, 10)
    site.tick(6)
    site.carry(10)
    site.tick(6)
    assert recorder.calls[4][:2] == ("start", "n2")
    assert len(recorder.calls) == 6, "what has drained is stopped"
    assert recorder.calls[5][0] == "stop"
    assert site.told("provision")[-1] == f"stop {recorder.calls[5][1]} done"


def test_a_copy_that_fails_is_put_aside_and_another_one_taken(
    sites: list[Scaled], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Scaled(network_text() + HOOKED)
    sites.append(site)
    recorder = with_recorder(site, monkeypatch)
    recorder.fault = lambda action, nfs: "no such image" if (action, *nfs) == ("start", "n1") else None
    view = site.tick(4)
    assert site.active() == ["n2"]
    assert recorder.calls.count(("start", "n1")) == 1
    assert recorder.calls.count(("stop", "n1")) == 2, "what is left of it is taken away"
    assert "start n1 failed: no such image" in site.told("provision")
    shown = {copy.nfs[0]: (copy.state, copy.reason) for copy in view.copies}
    assert shown["n1"] == ("put aside", "no such image")
    assert view.failures == 1
    samples = {
        sample.metric.name: sample.value
        for sample in metrics.samples(site.manager.health(), site.status.gather([]), [], [view])
    }
    assert samples["catenary_management_provisioner_failures_total"] == 1
    recorder.fault = lambda action, nfs: None
    site.carry(250)
    site.tick(12)
    assert sorted(site.active()) == ["n1", "n2", "n3"], "later it is tried again"


def test_when_all_copies_fail_what_is_there_goes_on(
    sites: list[Scaled], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Scaled(network_text() + HOOKED)
    sites.append(site)
    recorder = with_recorder(site, monkeypatch)
    site.tick(3)
    recorder.fault = lambda action, nfs: "no room"
    site.carry(250)
    view = site.tick(6)
    assert site.active() == ["n1"]
    assert view.reason.endswith("but no copy is free for 2 of them")
    assert len(recorder.calls) < 20, "not again and again"


def test_another_process_stops_what_was_being_started(
    sites: list[Scaled], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Scaled(network_text() + HOOKED)
    sites.append(site)
    recorder = with_recorder(site, monkeypatch)
    site.tick(3)
    recorder.calls.clear()
    site.begin_anew()
    site.tick(2)
    assert sorted(recorder.calls) == [("stop", "n2"), ("stop", "n3")], "n1 is in use"


def test_a_chain_that_can_not_be_made(sites: list[Scaled]) -> None:
    site = Scaled(network_text() + SCALED.replace("[n2], [n3]", "[lonely], [n3]"))
    sites.append(site)
    site.tick(3)
    site.carry(150)
    site.tick(6)
    assert sorted(site.active()) == ["n1", "n3"]
    (told,) = [text for text in site.told("provision") if "lonely" in text]
    assert told.startswith("no chain of lonely: chain ")
    assert "NF 'lonely' can't be reached from l1" in told


def test_who_does_not_lead_decides_nothing(site: Scaled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(site.ledger), "leads", property(lambda _: False))
    view = site.tick(3)
    assert view.reason == "another management system leads, and decides"
    assert not site.manager.chains()


def test_a_store_that_can_not_be_written_holds(site: Scaled, monkeypatch: pytest.MonkeyPatch) -> None:
    site.tick(3)
    monkeypatch.setattr(type(site.ledger), "fault", property(lambda _: "no space left"))
    site.carry(900)
    site.scaling.step()
    assert site.scaling.views()[0].reason == "no space left"


def test_another_provisioner_waits_for_what_runs(site: Scaled) -> None:
    site.tick(3)
    before = site.scaling._scalers["main"]
    assert isinstance(before, SegmentScaler)
    text = network_text() + SCALED.replace("[n3]", "[shared]")
    site.network.put(ServiceConfig.load(text))
    site.tick(1)
    assert site.scaling._scalers["main"] is not before
    assert site.active() == ["n1"]


def test_client_has_calls_for_all_of_it() -> None:
    for name in ("autoscalers", "set_autoscale_mode", "promote_canary"):
        assert callable(getattr(ManagementClient, name))
