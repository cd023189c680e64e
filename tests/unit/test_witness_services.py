"""What the management system tells of a run: its journal as events, what load balancers hold as pins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from catenary.client import ManagementClient
from catenary.errors import InvalidValue, Unavailable
from catenary.wire import HistoryEntry, SegmentSession
from tests.unit.witness_runs import SECOND, Run
from topologies.patience import PATIENCE_S
from witness.checker import judge
from witness.events import Event, Pin
from witness.services import Held, happened
from witness.watch import MOST, Looking, Watch

WALL = 1_700_000_000 * SECOND
KEY = "tcp 10.0.0.1:5000 10.0.0.2:80"
PRINTED = "10.0.0.1:5000 <-> 10.0.0.2:80/tcp"


def entry(kind: str, **fields: Any) -> HistoryEntry:
    fields = {"who": "ann@ops", "changes": {}} | fields
    return HistoryEntry.model_validate({"seq": 1, "at": 1_700_000_007.5, "kind": kind, **fields})


@pytest.mark.parametrize(
    ("told", "event"),
    [
        (entry("add", chain="chain-2", segment="main"), "change: add chain-2, by ann@ops"),
        (entry("rebalance", segment="main", text="3 idle sessions let go"),
         "change: rebalance main, 3 idle sessions let go, by ann@ops"),
        (entry("state", chain="chain-2", changes={"state": (None, "cooling")}), "state: chain-2, cooling"),
        (entry("fault", changes={"l2": (None, "refused")}), "fault: l2: refused"),
        (entry("fault", changes={"l2": ("refused", None)}), "well: l2: it answers again"),
        (entry("session", segment="main", chain="c1", text="move", changes={KEY: ("c1", "c2")}),
         f"session: c1, move, {KEY}: c1 -> c2"),
        (entry("epoch", changes={"epoch": (6, 7), "6-7": ({"state": "closed"}, None),
                                 "4-5": (None, {"state": "active", "weight": 50})}),
         "epoch: 7: 4-5 active weight 50, 6-7 gone"),
        (entry("apply", changes={"state": ("running", "succeeded")}), "apply: succeeded"),
        (entry("failure", chain="c1", text="no way"), "failure: c1, no way"),
    ],
)  # fmt: skip
def test_the_journals_entries_are_events_on_the_recordings_clock(told: HistoryEntry, event: str) -> None:
    (found,) = happened([told], WALL)
    assert (found.time_ns, str(found)) == (7_500_000_000, event)


def test_a_fault_that_kills_no_chain_names_none() -> None:
    (fault,) = happened([entry("fault", changes={"l2": (None, "refused")})], WALL)
    assert fault.chain == ""


def session(
    chain: str | None = "chain-1", epoch: int = 6, key: str = KEY, tags: bool = True
) -> SegmentSession:
    return SegmentSession.model_validate(
        {
            "key": key,
            "state": "established",
            "tags": {"forward": 4, "reverse": 5} if tags else None,
            "segment": "main",
            "chain": chain,
            "origin": {"placed": 1.0, "epoch": epoch, "cause": "taken_in"},
            **dict.fromkeys(("age", "idle", "seen", "rate"), 1.0),
            **dict.fromkeys(("packets", "bytes"), 1),
        }
    )


def test_of_a_pin_that_stays_the_first_and_the_last_reading_are_kept() -> None:
    held = Held()
    for now in range(1, 5):
        held.read("l1", [session()], now)
    for now in range(5, 8):
        held.read("l1", [session(None, 7)], now)
    held.read("l2", [session(), session(key="udp 10.0.0.1:1 10.0.0.2:2", tags=False)], 3)
    first, second = (
        Pin(1, "l1", PRINTED, "chain-1", 6, "taken in"),
        Pin(5, "l1", PRINTED, "4-5", 7, "taken in"),
    )
    assert held.pins() == (
        first,
        replace(first, time_ns=3, lb="l2"),
        replace(first, time_ns=4),
        second,
        replace(second, time_ns=7),
    )


@dataclass
class Management:
    """Stands in for the client: services in `silent` don't answer."""

    silent: set[str] = field(default_factory=set)
    held: int = 1

    def config(self) -> Any:
        return SimpleNamespace(segments={"main": SimpleNamespace(master="l1", slave="l2")})

    def sessions(self, at: str, **_: Any) -> Iterator[SegmentSession]:
        if at in self.silent:
            raise Unavailable(f"the {at} can't be reached")
        yield from [session()] * self.held

    def history(self, since: float, **_: Any) -> Iterator[HistoryEntry]:
        if "journal" in self.silent:
            raise Unavailable("the journal can't be reached")
        yield entry("add", chain="chain-2", at=since + 1)


class Thrice(Looking):
    """Sets `done` when it looks for the third time."""

    def __init__(self) -> None:
        super().__init__(0.001)
        self.looks = 0
        self.done = threading.Event()

    def look(self) -> None:
        self.looks += 1
        if self.looks == 3:
            self.done.set()


def test_it_looks_again_and_again_until_its_end() -> None:
    with Thrice() as looking:
        assert looking.done.wait(PATIENCE_S)
    seen = looking.looks
    looking.stop()
    assert looking.looks == seen


def watched(management: Management) -> Watch:
    return Watch(cast(ManagementClient, management), "main")


def test_what_can_not_be_asked_is_said_once_and_the_rest_is_told() -> None:
    management = Management()
    recording = replace(Run({"chain-1": ("n1",)}).recording(), wall_ns=WALL, begun_ns=SECOND)
    with watched(management) as watch:
        watch.look()
        management.silent = {"slave", "journal"}
        watch.look()
        told = watch.told(recording)
    assert {pin.lb for pin in told.pins} == {"l1", "l2"}
    assert told.events == ()
    assert told.missing == (
        "what l2 held, 2 of 3 times, at last because the slave can't be reached",
        "changes, epochs and faults of the journal: the journal can't be reached",
    )
    assert judge(told).summary()["missing"] == list(told.missing)
    management.silent.clear()
    with watched(management) as watch:
        assert watch.told(recording).events == (Event(2 * SECOND, "change", "add chain-2, by ann@ops"),)


def test_a_load_balancer_with_more_sessions_than_are_read_is_named() -> None:
    with watched(Management(held=MOST + 1)) as watch:
        missing = watch.told(Run({"chain-1": ("n1",)}).recording()).missing
    assert missing == tuple(
        f"what {lb} held of others than the {MOST} oldest sessions" for lb in ("l1", "l2")
    )


def test_another_segment_is_refused_before_anything_is_recorded() -> None:
    with pytest.raises(InvalidValue, match="knows no segment 'east': it has main"):
        Watch(cast(ManagementClient, Management()), "east")
