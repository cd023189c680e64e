"""Rates, shares and cool-downs from counters; the ring that keeps them; and the REST call that tells them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from catenary import wire
from catenary.chain import ChainState, PairState
from catenary.session import Timeouts
from catenary.tags import TagPair
from catenary.traffic import ChainTraffic, TrafficSample
from mgmt_system.dashboard import panels
from mgmt_system.rest import create
from mgmt_system.sampling import Sampling
from mgmt_system.traffic import ENDED_SHOWN, Heard, Ring, Sampler
from tests.serving import calling
from tests.unit.mgmt_fakes import Site
from tests.unit.mgmt_parts import FakeBalancer

TIMEOUTS = {"main": Timeouts()}


def chain(
    name: str = "one", forward: int = 2, state: ChainState = ChainState.ACTIVE, changed: float = 0.0
) -> wire.ChainView:
    tags = wire.Tags(forward=forward, reverse=forward + 1)
    return wire.ChainView(
        name=name, segment="main", nfs=["n1"], tags=tags, weight=100, state=state, created=0, changed=changed
    )


def heard(at: float, *pairs: tuple[int, int, int, int]) -> dict[str, Heard]:
    """Each pair: forward tag, live sessions, new ones, bytes forward (ten times as many come back)."""
    rows = [
        wire.PairStats(
            forward=tag,
            reverse=tag + 1,
            slot=0,
            state=PairState.ACTIVE,
            sessions=sessions,
            new_sessions=new,
            forward_packets=0,
            forward_bytes=size,
            reverse_packets=0,
            reverse_bytes=10 * size,
        )
        for tag, sessions, new, size in pairs
    ]
    stats = wire.BalancerStats(
        health=FakeBalancer("l1", role="master").health(),
        role="master",
        segment="main",
        epoch=1,
        pins=9,
        capacity=99,
        overflow=False,
        pairs=rows,
        counters={},
        states={"established": 8, "closing": 1},
    )
    return {"main": Heard(at, stats)}


def rates(row: ChainTraffic) -> tuple[float | None, ...]:
    return row.new, row.forward, row.reverse


def test_rates_are_differences_over_the_time_between_two_answers() -> None:
    sampler, chains = Sampler(), [chain(), chain("two", 4)]
    first = sampler.sample(100.0, chains, heard(5.0, (2, 1, 10, 100), (4, 3, 0, 0)), TIMEOUTS)
    assert [(row.sessions, row.share, *rates(row)) for row in first.chains] == [
        (1, 0.25, None, None, None),
        (3, 0.75, None, None, None),
    ]
    second = sampler.sample(101.0, chains, heard(7.0, (2, 0, 14, 300), (4, 0, 0, 0)), TIMEOUTS)
    assert [(row.sessions, row.share, *rates(row)) for row in second.chains] == [
        (0, None, 2.0, 100.0, 1000.0),
        (0, None, 0.0, 0.0, 0.0),
    ]


def test_a_chain_is_told_with_what_probes_say_of_it() -> None:
    well = wire.PairHealth(verdict="up", seconds=9.0, latency_ms=0.42, sent=9, lost=0, falls=0)
    said = heard(5.0, (2, 1, 10, 100))
    pairs = said["main"].stats.pairs
    pairs[0] = pairs[0].model_copy(update={"health": well})
    sample = Sampler().sample(100.0, [chain(), chain("two", 4)], said, TIMEOUTS)
    assert [row.health for row in sample.chains] == [well, None]
    rows = panels.chain_rows(sample.chains, {}, ())
    assert [(row["health"], row["raw_health"]) for row in rows] == [("up 0.42 ms", 0.42), ("-", None)]


def test_counters_that_began_anew_count_from_zero() -> None:
    sampler, chains = Sampler(), [chain(), chain("two", 4)]
    sampler.sample(100.0, chains, heard(5.0, (2, 1, 10, 500)), TIMEOUTS)
    sample = sampler.sample(101.0, chains, heard(6.0, (2, 1, 10, 100), (4, 1, 1, 1)), TIMEOUTS)
    assert [rates(row) for row in sample.chains] == [(10.0, 100.0, 1000.0), (1.0, 1.0, 10.0)]


def test_what_a_silent_master_carries_is_unknown_and_what_follows_is_a_mean() -> None:
    sampler = Sampler()
    sampler.sample(100.0, [chain()], heard(5.0, (2, 1, 0, 0)), TIMEOUTS)
    silent = sampler.sample(101.0, [chain()], {}, TIMEOUTS)
    assert (silent.chains[0].sessions, *rates(silent.chains[0])) == (None,) * 4
    assert silent.segments[0].pins is None
    sample = sampler.sample(104.0, [chain()], heard(9.0, (2, 1, 8, 40)), TIMEOUTS)
    assert rates(sample.chains[0]) == (2.0, 10.0, 100.0)
    assert (sample.segments[0].pins, sample.segments[0].capacity) == (9, 99)
    assert sample.segments[0].states == {"established": 8, "closing": 1}


def test_a_failed_chain_has_no_traffic_though_another_has_its_tags() -> None:
    chains = [chain("bad", state=ChainState.FAILED), chain()]
    sample = Sampler().sample(100.0, chains, heard(5.0, (2, 7, 0, 0)), TIMEOUTS)
    assert [row.sessions for row in sample.chains] == [None, 7]


def test_a_cool_down_is_told_beside_what_was_predicted_when_it_began() -> None:
    sampler = Sampler()
    sampler.sample(100.0, [chain(changed=90.0)], heard(5.0, (2, 40, 100, 0)), TIMEOUTS)
    cooling = chain(state=ChainState.COOLING, changed=101.0).model_copy(update={"p50": 20.0, "p95": 31.0})
    [begun] = sampler.sample(101.5, [cooling], heard(6.5, (2, 30, 100, 0)), TIMEOUTS).cooling
    assert (begun.began, begun.sessions, begun.left, begun.ended) == (101.0, 40, 30, None)
    assert (begun.p50, begun.p95) == (20.0, 31.0)
    [later] = sampler.sample(111.0, [cooling], heard(16.0, (2, 5, 100, 0)), TIMEOUTS).cooling
    assert later == begun.model_copy(update={"left": 5})
    [ended] = sampler.sample(131.0, [], {}, TIMEOUTS).cooling
    assert ended == begun.model_copy(update={"left": 0, "ended": 30.0})
    assert sampler.sample(131.1 + ENDED_SHOWN, [], {}, TIMEOUTS).cooling == []


def test_a_removal_that_was_cancelled_is_no_cool_down() -> None:
    sampler = Sampler()
    cooling = chain(state=ChainState.COOLING, changed=101.0)
    [begun] = sampler.sample(101.5, [cooling], heard(6.5, (2, 30, 100, 0)), TIMEOUTS).cooling
    assert (begun.sessions, begun.p50) == (30, None)  # it was never seen active
    assert sampler.sample(102.0, [chain(changed=101.8)], {}, TIMEOUTS).cooling == []


def test_a_ring_is_bounded_by_count_and_by_bytes() -> None:
    ring = Ring(count=3)
    assert ring.since(None, 9) == []
    for number in range(5):
        ring.put(float(number), b"%d" % number)
    assert ring.since(-1.0, 9) == [b"2", b"3", b"4"]
    assert ring.since(2.0, 1) == [b"3"]
    assert ring.since(None, 9) == [b"4"]
    assert ring.since(4.0, 9) == []
    small = Ring(size=1)
    small.put(0.0, b"first")
    small.put(1.0, b"second")
    assert small.since(0.0, 9) == small.since(None, 9) == [b"second"]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.add("n1", name="one")
    site.settle()
    yield site
    site.close()


def test_the_rest_call_tells_what_the_masters_said(site: Site, eventually: Callable[..., None]) -> None:
    with calling(create(site.running(), None)) as client:

        def sample() -> TrafficSample | None:
            found = client.get("/v1/traffic").json()
            return TrafficSample.model_validate(found[0]) if found else None

        eventually(sample)
        site.master.sessions[TagPair(2, 3)] = 5
        eventually(lambda: (found := sample()) and found.chains[0].sessions == 5)
        newest = sample()
        assert newest
        assert newest.chains[0].share == 1.0
        later = client.get("/v1/traffic", params={"since": newest.at - 1e-4, "limit": 1}).json()
        assert TrafficSample.model_validate(later[0]) == newest
        assert len(client.get("/v1/traffic", params={"since": 0, "limit": 1}).json()) == 1


def test_a_sample_waits_for_no_master_and_moments_only_grow(site: Site) -> None:
    site.master.down = True
    sampling = Sampling(site.peers, site.network, site.manager.chains, clock=lambda: 50.0)
    sampling.sample()
    site.master.down = False
    sampling.sample()
    first, second = (json.loads(row) for row in sampling.read(0.0, 9))
    assert first["at"] == 50.0
    assert second["at"] > 50.0
    assert [row["chains"][0]["sessions"] for row in (first, second)] == [None, 0]
    sampling.stop()
