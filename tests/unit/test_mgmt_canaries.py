"""Canaries: their share, whatever chains there are beside them; promoted, or withdrawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary import wire
from catenary.chain import Chain, ChainState
from catenary.config import ServiceConfig
from catenary.errors import Conflict
from catenary.tags import TagPair
from mgmt_system import canaries
from mgmt_system.applying import Condition, Options
from mgmt_system.records import SELF, ChainRecord, Goal
from mgmt_system.scaling import Scaling
from tests.unit.mgmt_fakes import Site, network_text

pytestmark = pytest.mark.unit


def record(name: str, number: int, weight: int, canary: int | None = None) -> ChainRecord:
    chain = Chain(name, (f"n-{name}",), TagPair(2 * number + 2, 2 * number + 3), weight)
    return ChainRecord(name, chain, "main", ChainState.ACTIVE, Goal.PRESENT, 0.0, 0.0, canary=canary)


@given(st.integers(1, 50), st.integers(1, 8))
def test_a_share_is_kept_beside_any_number_of_chains(share: int, chains: int) -> None:
    fellows = [record(f"c{number}", number, 100) for number in range(chains)]
    weight = canaries.kept("new", [*fellows, record("new", 9, 1, share)]).chain.weight
    assert weight / (weight + 100 * chains) == pytest.approx(share / 100, abs=0.005)


def test_two_canaries_get_theirs() -> None:
    records = [record("old", 0, 100), record("a", 1, 1, 20), record("b", 2, 1, 30)]
    assert canaries.due(records) == ["a", "b"]
    weights = [canaries.kept(name, records).chain.weight for name in ("a", "b")]
    assert weights == [40, 60]


def test_alone_it_gets_everything() -> None:
    assert canaries.due([record("new", 0, 1, 20)]) == []


def site_with_canary() -> tuple[Site, Scaling]:
    site = Site()
    site.add("n1", name="old")
    site.settle()
    site.add("n2", name="new", canary=20)
    site.settle()
    return site, Scaling(site.ledger, site.manager, site.peers, site.network, monotonic=site.clock)


def weights(site: Site) -> dict[str, int]:
    """As the master has them."""
    tags = {chain.tags.pair(): chain.name for chain in site.manager.chains()}
    return {tags[pair]: weight for pair, weight in site.master.weights.items() if pair in tags}


def test_its_weight_follows_the_others() -> None:
    site, scaling = site_with_canary()
    assert weights(site) == {"old": 100, "new": 1}, "until it has its share it gets next to nothing"
    scaling.step()
    assert weights(site) == {"old": 100, "new": 25}
    site.add("n3", name="third")
    site.settle()
    scaling.step()
    assert weights(site) == {"old": 100, "new": 50, "third": 100}
    assert site.manager.chain("new").canary == 20


def test_nobody_weighs_a_canary_by_hand() -> None:
    site, _ = site_with_canary()
    tags = site.manager.chain("new").tags
    request = wire.Rebalance(weights=[wire.PairWeight(**tags.model_dump(), weight=77)])
    with pytest.raises(Conflict, match="canary 'new' gets 20 % whatever it weighs: promote or withdraw it"):
        site.manager.rebalance(request)


def test_promoted_it_is_a_chain_like_the_others() -> None:
    site, scaling = site_with_canary()
    scaling.step()
    records = site.records()
    after = canaries.promoted("new", records)
    assert (after.chain.weight, after.canary) == (100, None)
    site.manager.reweigh("promote", "new", lambda _: after, SELF, None)
    assert weights(site) == {"old": 100, "new": 100}
    site.restart()
    assert site.manager.chain("new").canary is None
    with pytest.raises(Conflict, match="chain 'new' is no canary"):
        canaries.promoted("new", site.records())


def test_a_document_starts_and_promotes_one() -> None:
    site, scaling = site_with_canary()
    config = site.applying.view().config
    assert config.chains["new"].canary == 20
    assert site.applying.plan(config, Options()).changes == []
    scaling.step()
    assert site.applying.plan(config, Options()).changes == [], "its weight is no part of the document"
    more = config.chains["new"].model_copy(update={"canary": None})
    site.applying.apply(
        config.model_copy(update={"chains": config.chains | {"new": more}}), Options(), Condition()
    )
    site.settle()
    assert weights(site) == {"old": 100, "new": 100}


def test_a_share_and_a_weight_contradict_each_other() -> None:
    text = network_text() + "chains: {new: {nfs: [n1], canary: 10, weight: 50}}"
    with pytest.raises(Exception, match="the weight of canary 'new' follows from its share of 10 %"):
        ServiceConfig.load(text)
    with pytest.raises(ValueError, match="the weight of a canary follows from its share"):
        wire.ChainRequest(nfs=["n1"], canary=10, weight=50)
