"""The journal: each change with its author, and the chains of every past moment."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from catenary import wire
from catenary.errors import CatenaryError, InvalidValue, NotFound
from catenary.tags import TagPair
from mgmt_system.epochs import Epochs
from mgmt_system.history import Filter, History
from mgmt_system.journal import Event, JournalEntry, Retention, fields
from mgmt_system.records import SELF, Author, ChainRecord
from mgmt_system.store.ledger import Ledger
from tests.unit.mgmt_fakes import Site

ANN = Author("ann@ops", "worn out", "10.0.0.9", "req-1")


def journal(ledger: Ledger, **wanted: Any) -> list[JournalEntry]:
    return History(ledger).entries(Filter(**wanted), 0, 100_000)


def present(ledger: Ledger) -> dict[str, dict[str, Any]]:
    chains = map(without_operation, ledger.snapshot().chains)
    return {record.id: fields(record) for record in chains if record.state != "removed"}


def without_operation(record: ChainRecord) -> ChainRecord:
    """As the journal tells of a chain: its operation is said of each entry."""
    return replace(record, operation=None)


def replayed(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The chains of today as the journal alone tells them, from its first entry on."""
    chains: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(journal(ledger), 1):
        assert entry.seq == number
        if entry.event.id is None:
            continue
        chain = chains.setdefault(entry.event.id, dict.fromkeys(fields(next(iter(ledger.snapshot().chains)))))
        for key, (before, after) in entry.event.changes.items():
            assert chain[key] == before, entry
            chain[key] = after
        if chain["state"] == "removed":
            del chains[entry.event.id]
    return chains


def act(site: Site, chance: random.Random, *, restarts: bool = True) -> None:
    """Something that an operator may ask for, whether it is refused or not."""
    names = [record.name for record in site.records()] or ["chain-1"]
    name, force = chance.choice(names), chance.random() < 0.5
    pairs = list(site.master.states) or [TagPair(2, 3)]
    weights = [wire.PairAdd(forward=p.forward, reverse=p.reverse, weight=chance.randrange(9)) for p in pairs]
    deadline = chance.choice([None, 2.0])
    actions = [
        lambda: site.add(chance.choice(["n1", "n2", "n3"]), weight=chance.randrange(1, 9)),
        lambda: site.add("shared", name="twice"),
        lambda: site.manager.remove(name, force=force, deadline=deadline, then=deadline and "reset"),
        lambda: site.manager.cancel(name),
        lambda: site.manager.cordon(name, force=force),
        lambda: site.manager.uncordon(name),
        lambda: site.manager.rebalance(wire.Rebalance(weights=weights[:1])),
        lambda: site.master.sessions.update(dict.fromkeys(pairs[:1], chance.randrange(2))),
        lambda: setattr(site.master, "down", not site.master.down),
        lambda: site.master.restart_empty(),
        *([site.restart] if restarts else []),
    ]
    with suppress(CatenaryError):
        chance.choice(actions)()


def test_a_deadline_for_a_removal_under_way_is_told_as_a_removal() -> None:
    site = Site()
    for name in ("one", "two"):
        site.add("n1" if name == "one" else "n2", name=name)
    site.settle()
    site.master.sessions[site.manager.chain("one").tags.pair()] = 1
    site.manager.remove("one", force=False)
    site.step()
    site.manager.remove("one", force=False, deadline=60.0, then="reset", author=ANN)
    event = journal(site.ledger, who=ANN.who)[-1].event
    assert (event.kind, event.changes["then"]) == ("remove", (None, "reset"))


@pytest.mark.parametrize("seed", range(8))
def test_the_chains_of_every_past_moment_are_told(seed: int) -> None:
    site, chance = Site(), random.Random(seed)
    moments: list[tuple[float, list[ChainRecord]]] = []
    for _ in range(60):
        act(site, chance)
        if chance.random() < 0.7:
            site.step()
        moments.append((site.now, [*map(without_operation, site.records())]))
        site.now += 1.0
    history = History(site.ledger, site.clock)
    for at, records in moments:
        assert history.chains(at) == records, at
    assert replayed(site.ledger) == present(site.ledger)
    epochs = [entry.event.changes["epoch"] for entry in journal(site.ledger, kind="epoch")]
    assert [after for _, after in epochs] == sorted({after for _, after in epochs}), "they only grow"
    assert len(journal(site.ledger)) > 20, "too little happened"
    site.close()


def test_a_change_bears_its_author_to_the_end() -> None:
    site = Site()
    site.manager.add(wire.ChainRequest(nfs=["n1"]), author=ANN)
    site.settle()
    told = [(entry.event.kind, entry.event.author) for entry in journal(site.ledger)]
    assert told == [("add", ANN), ("state", ANN), ("epoch", ANN), ("state", ANN)]
    states = [entry.event.changes["state"] for entry in journal(site.ledger, chain="chain-1")]
    assert states == [(None, "requested"), ("requested", "steered"), ("steered", "active")]
    operation = site.manager.operations()[0]
    assert {entry.event.operation for entry in journal(site.ledger, chain="chain-1")} == {operation.id}
    assert (operation.who, operation.why, operation.request) == ("ann@ops", "worn out", "req-1")
    site.master.restart_empty()
    site.settle()
    assert journal(site.ledger)[-1].event.author == SELF
    site.close()


def test_each_request_is_told() -> None:
    site = Site()
    manager = site.manager
    for nf in ("n1", "n2"):
        site.add(nf)
    site.settle()
    before = len(journal(site.ledger))
    weight = wire.PairAdd(forward=2, reverse=3, weight=7)
    manager.cordon("chain-2", force=False, author=ANN)
    manager.uncordon("chain-2", author=ANN)
    manager.rebalance(wire.Rebalance(weights=[weight], move_idle=1), author=ANN)
    site.master.sessions[TagPair(4, 5)] = 1
    manager.remove("chain-2", force=False, author=ANN)
    site.step()
    manager.cancel("chain-2", author=ANN)
    entries = [entry.event for entry in journal(site.ledger)[before:]]
    assert {event.author for event in entries} == {ANN}
    kinds = [event.kind for event in entries if event.kind not in ("epoch", "state")]
    assert kinds == ["cordon", "uncordon", "rebalance", "weight", "rebalance", "remove", "cancel"]
    assert entries[1].changes == {"weight": (100, 0), "uncordoned": (None, 100)}
    assert next(event for event in entries if event.kind == "weight").changes == {"weight": (100, 7)}
    site.close()


def test_every_epoch_of_a_master_is_told() -> None:
    site = Site()
    seen: list[int] = []
    site.master.fault = lambda call, after: seen.append(site.master.epoch) if after else None
    for nf in ("n1", "n2"):
        site.add(nf)
        site.settle()
    site.manager.remove("chain-1", force=False)
    site.settle()
    site.master.epoch += 5  # by itself: somebody else changed its pairs
    site.restart()
    site.settle()
    told = [entry.event.changes["epoch"] for entry in journal(site.ledger, kind="epoch")]
    epochs = [*dict.fromkeys(seen), site.master.epoch]
    assert [after for _, after in told] == epochs
    assert [before for before, _ in told] == [0, *epochs[:-1]]
    first = journal(site.ledger, kind="epoch")[0].event
    assert (first.segment, first.changes["2-3"][0], first.changes["2-3"][1]["state"]) == (
        "main",
        None,
        "active",
    )
    site.close()


def test_failures_are_told() -> None:
    site = Site()
    site.master.states[TagPair(3, 9)] = next(iter(wire.PairState))
    site.master.weights[TagPair(3, 9)] = 1
    site.manager.add(wire.ChainRequest(nfs=["n1"], tags=wire.Tags(forward=2, reverse=3)), author=ANN)
    site.settle()
    failure = next(entry.event for entry in journal(site.ledger, kind="failure"))
    assert failure.author == ANN
    assert "is in use by (3, 9)" in str(failure.text)
    site.controller.down = True
    site.step()
    site.controller.down = False
    site.step()
    faults = [entry.event.changes["controller"] for entry in journal(site.ledger, kind="fault")]
    reason = "controller can't be reached: connection refused"
    assert faults == [(None, reason), (reason, None)]
    site.close()


def test_the_oldest_entries_go_by_size_and_what_is_left_still_holds() -> None:
    site, chance = Site(), random.Random(1)
    site.restart(retention=Retention(size=8000))
    moments = []
    for _ in range(80):
        act(site, chance, restarts=False)
        site.step()
        moments.append((site.now, [*map(without_operation, site.records())]))
        site.now += 1.0
    head, history = site.ledger.snapshot().head, History(site.ledger, site.clock)
    entries = journal(site.ledger)
    assert (entries[0].seq, entries[-1].seq) == (head.first, head.next - 1)
    assert head.first > 1
    assert head.size <= 8000 + 2000, "more than one write beyond its bound"
    covered = [(at, records) for at, records in moments if at >= head.since]
    assert 0 < len(covered) < len(moments)
    for at, records in covered:
        assert history.chains(at) == records
    with pytest.raises(
        NotFound, match=r"chains of 1970-01-01T00:16:\d\dZ are not known: the journal reaches "
    ):
        history.chains(moments[0][0])
    site.close()


def test_the_oldest_entries_go_by_age_even_if_nothing_happens() -> None:
    site = Site()
    site.restart(retention=Retention(age=100.0))
    site.add("n1")
    site.settle()
    assert journal(site.ledger)
    site.now += 101.0
    site.step()
    assert journal(site.ledger) == []
    history = History(site.ledger, site.clock)
    assert history.chains(site.now) == site.records()
    site.add("n2")
    assert [entry.seq for entry in journal(site.ledger)] == [5]
    site.close()


def test_moments_never_go_back() -> None:
    site = Site()
    site.add("n1")
    site.now -= 500.0
    site.add("n2")
    assert [entry.at for entry in journal(site.ledger)] == [1000.0, 1000.0]
    site.close()


def test_a_moment_to_come_is_refused() -> None:
    site = Site()
    with pytest.raises(
        InvalidValue, match="1970-01-01T00:33:20Z is still to come: it is 1970-01-01T00:16:40Z"
    ):
        History(site.ledger, site.clock).chains(2000.0)
    with pytest.raises(NotFound, match="the journal reaches back to 1970-01-01T00:16:40Z"):
        History(site.ledger, site.clock).chains(999.0)
    site.close()


def test_entries_are_found_by_what_they_tell() -> None:
    site = Site()
    for number in range(40):
        site.now = 1000.0 + number
        site.manager.add(wire.ChainRequest(nfs=["shared"]), author=Author(f"user-{number % 2}"))
    found = journal(site.ledger, since=1010.0, until=1019.5, who="user-1")
    assert [entry.at for entry in found] == [1011.0, 1013.0, 1015.0, 1017.0, 1019.0]
    history = History(site.ledger)
    assert [entry.seq for entry in history.entries(Filter(since=1030.5), 0, 3)] == [32, 33, 34]
    assert [entry.seq for entry in history.entries(Filter(since=1030.5), 38, 3)] == [39, 40]
    assert history.entries(Filter(since=2000.0), 0, 3) == []
    assert history.entries(Filter(chain="chain-9", kind="add"), 0, 3)[0].event.changes["nfs"] == (
        None,
        ["shared"],
    )
    site.close()


def chain_set(epoch: int) -> wire.ChainSet:
    return wire.ChainSet(segment="main", epoch=epoch, designated=None, pairs=[])


def test_an_answer_that_was_overtaken_is_no_epoch() -> None:
    epochs = Epochs({"main": 5})
    assert epochs.learn(chain_set(6)) == {"epoch": (5, 6)}
    assert epochs.learn(chain_set(5)) is None, "asked before, answered after"
    assert epochs.learn(chain_set(6)) is None
    assert epochs.learn(chain_set(7)) == {"epoch": (6, 7)}
    assert epochs.learn(chain_set(1)) is None
    assert epochs.learn(chain_set(1)) == {"epoch": (7, 1)}, "the master has begun anew"


def test_a_write_that_another_process_has_overtaken_is_refused_and_all_is_read_afresh() -> None:
    site = Site()
    other = Ledger(site.store, lambda what: None, site.clock)
    site.add("n1")
    snapshot = other.snapshot()
    assert snapshot.chains == []
    assert not other.accept(snapshot, [], [], ANN)
    assert [record.name for record in other.snapshot().chains] == ["chain-1"]
    assert other.accept(other.snapshot(), [], [], ANN)
    other.tell(Event("rebalance", ANN, {}, "main"))
    site.ledger.tell(Event("rebalance", ANN, {}, "main"))
    assert [entry.seq for entry in journal(site.ledger)] == [1, 2, 3]
    site.close()
