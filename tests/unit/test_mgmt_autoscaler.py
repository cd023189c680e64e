"""The autoscaler's rule, as it is decided: metrics in, decisions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.autoscale import AutoscaleConfig
from mgmt_system.autoscaler import ChainLoad, Cost, Memory, Reading, Verdict, cheapest, decide

pytestmark = pytest.mark.unit


def policy(**said: object) -> AutoscaleConfig:
    plain = {
        "minimum": 1,
        "maximum": 5,
        "targets": {"sessions": 100},
        "interval": 10,
        "in_window": 60,
        "provisioner": {"copies": [[f"n{number}"] for number in range(20)]},
    }
    return AutoscaleConfig.model_validate(plain | said)


def loads(*sessions: float | None) -> list[ChainLoad]:
    return [ChainLoad(f"c{number}", {"sessions": value}) for number, value in enumerate(sessions)]


@dataclass
class Segment:
    """A segment that does what is decided, at once, and spreads its sessions evenly."""

    policy: AutoscaleConfig
    chains: int = 1
    now: float = 0.0
    memory: Memory = field(default_factory=Memory)
    told: list[tuple[float, Verdict]] = field(default_factory=list)

    def step(self, sessions: float | None, *, missing: str | None = None) -> Verdict:
        each = None if sessions is None else sessions / max(self.chains, 1)
        reading = Reading(self.now, loads(*[each] * self.chains), missing=missing)
        verdict, self.memory = decide(self.policy, reading, self.memory, self.now)
        self.chains += {"out": verdict.count, "in": -verdict.count, "hold": 0}[verdict.verb]
        self.told.append((self.now, verdict))
        self.now += self.policy.interval
        return verdict

    def run(self, load: Sequence[float | None]) -> list[int]:
        chains = []
        for sessions in load:
            self.step(sessions)
            chains.append(self.chains)
        return chains


def test_so_many_chains_that_each_carries_its_target() -> None:
    segment = Segment(policy())
    verdict = segment.step(290)
    assert (verdict.verb, verdict.count, verdict.desired) == ("out", 2, 3)
    assert verdict.targets[0].wants == 3
    assert segment.step(290).verb == "hold"


def test_it_goes_up_and_down_with_the_load() -> None:
    segment = Segment(policy(in_window=30))
    assert segment.run([50, 250, 250, 250, 50, 50, 50, 50, 50]) == [1, 3, 3, 3, 3, 3, 3, 1, 1]


def test_within_the_tolerance_nothing_changes() -> None:
    segment = Segment(policy(tolerance=0.1), chains=2)
    assert segment.run([219, 181, 200] * 10) == [2] * 30
    assert segment.step(221).verb == "out"


def test_more_only_after_a_window_that_wanted_more_throughout() -> None:
    segment = Segment(policy(out_window=20))
    assert segment.run([250, 250, 50, 250, 250]) == [1, 1, 1, 1, 1]
    assert segment.run([250]) == [3]


def test_a_peak_holds_up_a_removal_for_the_window() -> None:
    segment = Segment(policy(in_window=60), chains=3)
    segment.run([250, *[50] * 4, 250])
    for at in range(1, 6):
        assert segment.step(50).verb == "hold", at
    assert segment.step(50).verb == "hold", "the peak was 60 s ago"
    assert segment.step(50).verb == "in"


def test_a_window_is_not_over_before_it_has_been_seen() -> None:
    segment = Segment(policy(in_window=60), chains=3)
    assert segment.run([10] * 6) == [3] * 6
    assert segment.run([10]) == [1]


def test_after_a_gap_the_window_begins_anew() -> None:
    segment = Segment(policy(in_window=60), chains=3)
    segment.run([10] * 5)
    segment.now += 100
    assert segment.run([10] * 6) == [3] * 6


def test_what_is_missing_or_old_holds() -> None:
    segment = Segment(policy(), chains=2)
    verdict = segment.step(1000, missing="l1 can't be reached")
    assert (verdict.verb, verdict.reason) == ("hold", "l1 can't be reached")
    verdict = segment.step(None)
    assert (verdict.verb, verdict.reason) == ("hold", "sessions of some chain not known")
    verdict, _ = decide(segment.policy, Reading(0.0, loads(900)), Memory(), 31.0)
    assert (verdict.verb, verdict.reason) == ("hold", "what is known is 31 s old")


def test_one_chain_that_does_not_tell_holds() -> None:
    verdict, _ = decide(policy(), Reading(0.0, loads(900, None)), Memory(), 0.0)
    assert verdict.verb == "hold"


def test_fewer_than_the_minimum_are_added_whatever_they_carry() -> None:
    verdict, _ = decide(policy(minimum=2), Reading(0.0, loads(None)), Memory(), 0.0)
    assert (verdict.verb, verdict.count) == ("out", 1)
    verdict, _ = decide(policy(), Reading(0.0), Memory(), 0.0)
    assert (verdict.verb, verdict.count) == ("out", 1)


def test_more_than_the_maximum_go_without_a_window() -> None:
    verdict, _ = decide(policy(maximum=2), Reading(0.0, loads(90, 90, 90)), Memory(), 0.0)
    assert (verdict.verb, verdict.count) == ("in", 1)


def test_what_is_on_its_way_counts() -> None:
    verdict, _ = decide(policy(), Reading(0.0, loads(300), coming=2), Memory(), 0.0)
    assert verdict.verb == "hold"
    verdict, _ = decide(policy(), Reading(0.0, loads(300), coming=1), Memory(), 0.0)
    assert (verdict.verb, verdict.count) == ("out", 1)
    verdict, _ = decide(policy(in_window=0), Reading(0.0, loads(1, 1), coming=1), Memory(), 0.0)
    assert verdict.verb == "hold", "none is removed while another comes"


def test_chains_that_are_down_take_room() -> None:
    verdict, _ = decide(policy(maximum=3), Reading(0.0, loads(900), others=1), Memory(), 0.0)
    assert (verdict.verb, verdict.count) == ("out", 1)
    verdict, _ = decide(policy(maximum=3), Reading(0.0, loads(900), others=2), Memory(), 0.0)
    assert (verdict.verb, verdict.told) == ("hold", "full")


def test_the_target_that_wants_most_counts() -> None:
    both = policy(targets={"sessions": 100, "throughput": 30})
    carried = [ChainLoad("c0", {"sessions": 10.0, "throughput": 110.0})]
    verdict, _ = decide(both, Reading(0.0, carried), Memory(), 0.0)
    assert [target.wants for target in verdict.targets] == [1, 4]
    assert verdict.count == 3


def test_the_cheapest_cool_down_goes_first() -> None:
    costs = [
        Cost("unknown", None, 0, 10),
        Cost("long", 600.0, 1, 10),
        Cost("short", 5.0, 900, 10),
        Cost("short-too", 5.0, 100, 10),
        Cost("short-young", 5.0, 100, 1),
    ]
    names = [cost.name for cost in cheapest(costs, 5)]
    assert names == ["short-young", "short-too", "short", "long", "unknown"]


POLICIES = st.builds(
    lambda minimum, more, out, into, tolerance: policy(
        minimum=minimum, maximum=minimum + more, out_window=out, in_window=into, tolerance=tolerance
    ),
    st.integers(1, 4),
    st.integers(0, 8),
    st.sampled_from([0, 10, 40]),
    st.sampled_from([0, 30, 100]),
    st.sampled_from([0, 0.1, 0.5]),
)
LOADS = st.lists(st.one_of(st.none(), st.floats(0, 2000)), max_size=40)


@given(POLICIES, LOADS, st.integers(0, 15))
def test_never_below_the_minimum_nor_above_the_maximum(
    config: AutoscaleConfig, load: list[float | None], chains: int
) -> None:
    segment = Segment(config, chains)
    for sessions in load:
        before = segment.chains
        verdict = segment.step(sessions)
        if verdict.verb == "out":
            assert segment.chains <= config.maximum
        if verdict.verb == "in":
            assert segment.chains >= config.minimum >= 1
        if sessions is None and before >= config.minimum:
            assert verdict.verb == "hold"


@given(POLICIES, LOADS)
def test_no_flapping_within_a_window(config: AutoscaleConfig, load: list[float | None]) -> None:
    """None goes before a whole window after the last wish for as many, and none comes before its window."""
    segment = Segment(config, config.minimum)
    for sessions in load:
        have = segment.chains
        verdict = segment.step(sessions)
        at = segment.told[-1][0]
        wishes = [
            (moment, max(target.wants or 0 for target in told.targets))
            for moment, told in segment.told
            if told.verb != "hold" or told.told not in ("missing",)
        ]
        if verdict.verb == "in":
            window = [wish for moment, wish in wishes if moment >= at - config.in_window]
            assert max(window) < have
            assert segment.told[0][0] <= at - config.in_window
        if verdict.verb == "out" and have >= config.minimum:
            window = [wish for moment, wish in wishes if moment >= at - config.out_window]
            assert min(window) > have


@given(
    POLICIES,
    st.lists(st.floats(0, 500), max_size=6),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_counts_are_within_what_there_is(
    config: AutoscaleConfig, sessions: list[float], coming: int, others: int
) -> None:
    reading = Reading(0.0, loads(*sessions), coming, others)
    verdict, _ = decide(config, reading, Memory(), 0.0)
    if verdict.verb == "out":
        assert verdict.count > 0
        assert len(sessions) + coming + others + verdict.count <= config.maximum
    if verdict.verb == "in":
        assert 0 < verdict.count <= len(sessions) - config.minimum
        assert not coming
    if verdict.verb == "hold":
        assert not verdict.count
