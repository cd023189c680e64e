"""What an autoscaler reads out of two looks at a master, target by target, in the unit of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catenary import wire
from catenary.autoscale import AutoscaleConfig
from mgmt_system.autoscaler import Memory, Reading, decide
from mgmt_system.loads import reading
from mgmt_system.traffic import Heard
from tests.unit.mgmt_fakes import Site

pytestmark = pytest.mark.unit

BEFORE = {"new_sessions": 100, "forward_bytes": 1_000_000, "reverse_bytes": 8_000_000}
NOW = {"sessions": 7, "new_sessions": 140, "forward_bytes": 2_000_000, "reverse_bytes": 11_000_000}
BACK = wire.PairHealth(verdict="up", seconds=9.0, latency_ms=2.5, sent=10, lost=0, falls=0)
LOST = BACK.model_copy(update={"latency_ms": None, "answered_ms": 2.5, "lost": 1})


@pytest.fixture
def site() -> Iterator[Site]:
    """With one chain."""
    made = Site()
    made.add("n1", name="chain-1")
    made.settle()
    yield made
    made.close()


def heard(site: Site, at: float, **counted: object) -> Heard:
    """The master at the moment `at`, all of whose chains have counted this."""
    stats = site.master.stats()
    pairs = [pair.model_copy(update=counted) for pair in stats.pairs]
    return Heard(at, stats.model_copy(update={"pairs": pairs}))


def read(site: Site, before: Heard | None, now: Heard) -> Reading:
    return reading(site.records(), before, now, starting=0)


def carried(site: Site, before: Heard | None, now: Heard) -> dict[str, float | None]:
    (load,) = read(site, before, now).serving
    return dict(load.carries)


def test_two_looks_give_what_a_chain_carries_in_the_units_of_the_targets(site: Site) -> None:
    before, now = heard(site, 10.0, **BEFORE), heard(site, 12.0, **NOW, health=BACK)
    assert carried(site, before, now) == {
        "sessions": 7,
        "new_sessions": pytest.approx(20),  # a second
        "throughput": pytest.approx(16),  # Mbit/s, both ways: 4 MB in 2 s
        "latency": pytest.approx(0.0025),  # s
    }


def test_one_look_gives_no_rates(site: Site) -> None:
    alone = {"sessions": 7, "new_sessions": None, "throughput": None, "latency": 0.0025}
    now = heard(site, 12.0, **NOW, health=BACK)
    assert carried(site, None, now) == alone
    assert carried(site, heard(site, 12.0, **BEFORE), now) == alone, "in no time"
    other = Heard(10.0, now.stats.model_copy(update={"pairs": []}))
    assert carried(site, other, now) == alone, "a chain that was not there"


def test_counters_that_begin_anew_are_no_negative_rates(site: Site) -> None:
    found = carried(site, heard(site, 10.0, **NOW), heard(site, 12.0, **BEFORE))
    assert (found["new_sessions"], found["throughput"]) == (50, pytest.approx(36))


@pytest.mark.parametrize("health", [None, LOST])
def test_without_probes_that_came_back_there_is_no_latency(
    site: Site, health: wire.PairHealth | None
) -> None:
    found = carried(site, heard(site, 10.0, **BEFORE), heard(site, 12.0, **NOW, health=health))
    assert found["latency"] is None
    assert found["throughput"] == pytest.approx(16)


def test_a_chain_that_its_master_does_not_know_is_missing(site: Site) -> None:
    now = heard(site, 12.0, **NOW)
    strange = Heard(12.0, now.stats.model_copy(update={"pairs": []}))
    assert read(site, None, strange).missing == ("the master load balancer does not know chain 'chain-1' yet")


@pytest.mark.parametrize(
    ("targets", "more"),
    [
        ({"sessions": 3.5}, 1),
        ({"new_sessions": 10}, 1),
        ({"throughput": 4}, 3),
        ({"latency": 0.001}, 2),
        ({"new_sessions": 20, "throughput": 16, "latency": 0.0025}, 0),
    ],
)
def test_a_decision_by_each_target(site: Site, targets: dict[str, object], more: int) -> None:
    policy = AutoscaleConfig.model_validate(
        {"maximum": 5, "targets": targets, "provisioner": {"copies": [["n1"]] * 5}}
    )
    found = read(site, heard(site, 10.0, **BEFORE), heard(site, 12.0, **NOW, health=BACK))
    verdict, _ = decide(policy, found, Memory(), 12.0)
    assert (verdict.verb, verdict.count) == (("out", more) if more else ("hold", 0))
