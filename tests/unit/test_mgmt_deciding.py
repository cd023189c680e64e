"""Requests at the same time: of one segment one after the other, of two segments side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from catenary import wire
from catenary.errors import Conflict, PreconditionFailed
from mgmt_system import manager
from mgmt_system.deciding import Deciding
from mgmt_system.etags import etag
from tests.unit.mgmt_fakes import Site
from tests.unit.mgmt_master import second_pair
from tests.unit.mgmt_parts import Fake
from tests.unit.test_mgmt_applying import apply, file
from tests.unit.test_mgmt_together import SECOND
from topologies.patience import PATIENCE_S

A_MOMENT_S = 0.2
"""What need not wait is done by then, or the test does not see that it does not wait."""
CHAINS = """
  one: {nfs: [n1], segment: main}
  two: {nfs: [shared], segment: main}
  three: {nfs: [n2], segment: second}
  four: {nfs: [shared], segment: second}
"""


@pytest.fixture
def site() -> Iterator[Site]:
    """Two chains in each of two segments."""
    site = Site(network=SECOND)
    site.peers.balancers.update(second_pair())  # type: ignore[attr-defined]
    apply(site, file(CHAINS, SECOND))
    site.settle()
    yield site
    site.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(24) as pool:
        yield pool


class Held:
    """The first call of this name hangs from `began` on, until it may go on."""

    def __init__(self, part: Fake, call: str) -> None:
        self._call = call
        self.began, self._go_on = threading.Event(), threading.Event()
        part.fault = self._fault

    def _fault(self, call: str, after: bool) -> None:
        if call == self._call and not after and not self.began.is_set():
            self.began.set()
            assert self._go_on.wait(PATIENCE_S)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_error: object) -> None:
        self._go_on.set()


def waits(call: Future[Any]) -> bool:
    return not wait([call], A_MOMENT_S).done


def tags(site: Site) -> list[int]:
    return [vid for record in site.records() for vid in record.chain.tags.ids]


def test_a_master_that_hangs_keeps_only_its_own_segment_waiting(site: Site, pool: ThreadPoolExecutor) -> None:
    with Held(site.master, "rebalance") as held:
        first = pool.submit(site.manager.cordon, "one", force=False)
        assert held.began.wait(PATIENCE_S)
        second = pool.submit(site.manager.cordon, "two", force=False)
        assert site.manager.cordon("three", force=False).cordoned
        assert site.manager.remove("three", force=False).kind == "remove"
        assert site.add("n3", name="five", segment="second").state == "running"
        assert waits(second)
    assert first.result(PATIENCE_S).cordoned
    with pytest.raises(Conflict, match="'two' is the last of segment 'main' that takes sessions"):
        second.result(PATIENCE_S)


def test_a_chain_is_not_removed_while_the_other_one_is_cordoned(site: Site, pool: ThreadPoolExecutor) -> None:
    with Held(site.master, "rebalance") as held:
        first = pool.submit(site.manager.cordon, "one", force=False)
        assert held.began.wait(PATIENCE_S)
        second = pool.submit(site.manager.remove, "two", force=False)
        assert waits(second)
    assert first.result(PATIENCE_S).cordoned
    with pytest.raises(Conflict, match="'two' is the last active one of segment 'main'"):
        second.result(PATIENCE_S)


def test_an_apply_waits_for_an_add_and_the_next_add_for_the_apply(
    site: Site, pool: ThreadPoolExecutor
) -> None:
    more = "  six: {nfs: [shared], segment: main}\n  seven: {nfs: [shared], segment: second}"
    document = file(f"{CHAINS}  five: {{nfs: [n3], segment: second}}\n{more}", SECOND)
    with Held(site.controller, "check") as held:
        first = pool.submit(site.add, "n3", name="five", segment="second")
        assert held.began.wait(PATIENCE_S)
        applied = pool.submit(apply, site, document)
        assert waits(applied)
        last = pool.submit(site.add, "shared", name="eight", segment="main")
        assert waits(last)
    operations = [first.result(PATIENCE_S).id, applied.result(PATIENCE_S), last.result(PATIENCE_S).id]
    site.settle()
    assert len(tags(site)) == len(set(tags(site))) == 2 * 8
    assert set(site.states().values()) == {"active"}
    # The apply takes over what it says too, and is not through with the rest when the next one is accepted.
    ended = [site.manager.operation(operation).state for operation in operations]
    assert ended[1:] == ["succeeded", "succeeded"]
    assert site.applying.view().config.chains.keys() >= {"five", "six", "seven", "eight"}


def test_two_segments_do_not_get_the_same_nf(site: Site, pool: ThreadPoolExecutor) -> None:
    with Held(site.controller, "check") as held:
        first = pool.submit(site.add, "n3", name="first", segment="main")
        assert held.began.wait(PATIENCE_S)
        second = pool.submit(site.add, "n3", name="second", segment="second")
        assert waits(second)
    assert first.result(PATIENCE_S).state == "running"
    with pytest.raises(Conflict, match="NF 'n3' is used by chain 'first'"):
        second.result(PATIENCE_S)


def test_chains_that_come_at_once_get_names_and_tags_of_their_own(
    site: Site, pool: ThreadPoolExecutor
) -> None:
    segments = ["main", "second"] * 12
    added = [pool.submit(site.add, "shared", segment=segment) for segment in segments]
    for call in added:
        call.result(PATIENCE_S)
    assert len(site.records()) == 4 + len(segments)
    assert len(tags(site)) == len(set(tags(site))) == 2 * len(site.records())


def test_chains_that_go_at_once_are_all_accepted_at_the_first_attempt(
    site: Site, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "ATTEMPTS", 1)
    names = [site.add("shared", segment=segment).chain for segment in ["main", "second"] * 12]
    gone = [pool.submit(site.manager.remove, name, force=False) for name in names]
    assert {call.result(PATIENCE_S).state for call in gone} == {"running"}


def test_who_asks_on_condition_of_all_chains_waits_for_all_segments(
    site: Site, pool: ThreadPoolExecutor
) -> None:
    match = frozenset({etag(site.manager.chains_revision())})
    with Held(site.master, "rebalance") as held:
        first = pool.submit(site.manager.cordon, "one", force=False)
        assert held.began.wait(PATIENCE_S)
        second = pool.submit(site.manager.rebalance, wire.Rebalance(), "second", match=match)
        request = wire.ChainRequest(nfs=["n3"], segment="second")
        third = pool.submit(site.manager.add, request, match=match)
        assert waits(second)
    assert first.result(PATIENCE_S).cordoned
    for call in (second, third):
        with pytest.raises(PreconditionFailed, match="the list of chains has changed"):
            call.result(PATIENCE_S)


def test_a_name_that_has_come_to_another_segment_is_decided_afresh(
    site: Site, pool: ThreadPoolExecutor
) -> None:
    site.manager.remove("two", force=False)
    with site.manager.deciding.segment("main"):
        again = pool.submit(site.manager.remove, "two", force=False)
        assert waits(again)
        site.settle()
        site.add("shared", name="two", segment="second")
        site.settle()
    with pytest.raises(Conflict, match="'two' was removed, and has come again to segment 'second'"):
        again.result(PATIENCE_S)


def test_who_decides_alone_is_not_overtaken_for_ever(pool: ThreadPoolExecutor) -> None:
    deciding, order = Deciding(), list[str]()

    def alone() -> None:
        with deciding.alone():
            order.append("alone")

    def later() -> None:
        with deciding.segment("b"):
            order.append("later")

    with deciding.segment("a"):
        first = pool.submit(alone)
        assert waits(first)
        second = pool.submit(later)
        assert waits(second)
    wait([first, second], PATIENCE_S)
    assert order == ["alone", "later"]
