"""The pure parts of `make bench-mgmt`: its documents, its load, and how it judges kills and cool-downs."""

from __future__ import annotations

import inspect
import random
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from catenary import plans
from catenary.config import NetworkConfig, ServiceConfig
from catenary.errors import InvalidValue, Unavailable
from catenary.explanations import HopView, SegmentExplanation
from catenary.session import SessionKey, Timeouts
from catenary.tags import TagPair
from catenary.wire import HistoryEntry, Tags
from catenary.wire.sessions import ChainLives, LifeTable
from experiments.management import load, stand_ins
from experiments.management.cooldowns import CoolDown, predicted, took
from experiments.management.crashes import Held, files, judge, says_the_same
from experiments.management.documents import many, turned
from experiments.management.run import MANAGEMENT
from experiments.management.scale import HISTORY_MB
from experiments.management.sessions import MEAN_S, WORD_S, lifetime, pauses
from experiments.management.trails import FROM, TO, Asked, Ports, Seen, Sighting, counted, difference
from mgmt_system.forecast import Outlook
from mgmt_system.traffic import Ring
from tests.unit.mgmt_fakes import network_text

KEYS = {
    "list_ms",
    "plan_ms",
    "reconcile_s",
    "memory_mb",
    "apply_200_s",
    "explain_ms",
    "explain_differs",
    "foretold_differs",
    "p99_ms",
    "errors",
    "crash_points_ok",
    "cooldown_prediction_ratio",
}


def test_every_figure_that_is_asked_for_has_a_claim() -> None:
    assert {claim.key for _, claims in MANAGEMENT.parts.values() for claim in claims} == KEYS


def test_chains_are_spread_evenly_and_are_a_valid_file() -> None:
    config = many(12, 3, spare=2)
    assert ServiceConfig.load(config.model_dump_json()) == config
    segments = [config.segment_of(chain) for chain in config.chains.values()]
    assert {segment: segments.count(segment) for segment in config.segments} == dict.fromkeys(segments, 4)
    assert len(config.nfs) == 12 + 3 * 2
    assert len({segment.ask_id for segment in config.segments.values()}) == 3
    with pytest.raises(InvalidValue, match="7 chains can't be spread evenly over 3"):
        many(7, 3)


def test_a_turned_file_changes_every_segment_and_nothing_else() -> None:
    before = many(12, 3, spare=1)
    after = turned(before)
    assert NetworkConfig.model_validate(after.network) == before.network
    gone, come = before.chains.keys() - after.chains.keys(), after.chains.keys() - before.chains.keys()
    assert {
        config.segment_of(config.chains[name])
        for config, names in ((before, gone), (after, come))
        for name in names
    } == set(before.segments)
    changed = [name for name, chain in after.chains.items() if before.chains.get(name, chain) != chain]
    assert len(gone) == len(come) == len(changed) == 3
    assert ServiceConfig.load(after.model_dump_json()) == after
    with pytest.raises(InvalidValue, match="no NF for another"):
        turned(many(12, 3))


def test_requests_come_evenly_and_in_their_mix() -> None:
    due = load.arrivals(50.0, 60.0, random.Random(1))
    assert [moment for moment, _ in due[:3]] == [0.0, 0.02, 0.04]
    kinds = [kind for _, kind in due]
    assert len(kinds) == 3000
    for kind, share in load.MIX.items():
        assert kinds.count(kind) / 3000 == pytest.approx(share / sum(load.MIX.values()), abs=0.03)
    writes = sum(share for kind, share in load.MIX.items() if kind in list(load.MIX)[-4:])
    assert writes / sum(load.MIX.values()) > 0.25


def test_no_two_writes_are_about_the_same_thing() -> None:
    config = many(12, 3, spare=2)
    calls = load.Calls(config, "op-1", random.Random(1))
    cordons = [calls.call("cordon or uncordon") for _ in range(4)]
    assert [call.method for call in cordons] == ["POST", "POST", "POST", "GET"], (
        "one chain a segment, then none"
    )
    assert len({call.path for call in cordons[:3]}) == 3
    cordons[0].done("")
    again = calls.call("cordon or uncordon")
    assert again.path == cordons[0].path.replace("/cordon", "/uncordon")
    assert calls.call("remove chain").method == "GET", "nothing was added yet"
    adds = [calls.call("add chain") for _ in range(7)]
    assert len({call.body for call in adds[:6]}) == 6
    assert adds[6].method == "GET", "no NF is used twice"
    adds[2].done("")
    assert calls.call("remove chain").path == "/v1/chains/added-3"


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (99, 99), (100, 99), (3000, 2970)])
def test_p99_is_the_smallest_that_99_of_100_do_not_exceed(count: int, rank: int) -> None:
    values = [float(value) for value in range(1, count + 1)]
    random.Random(1).shuffle(values)
    assert load.p99(values) == rank


def test_what_went_wrong_is_told_by_kind() -> None:
    answers = [load.Answer("health", 5.0), load.Answer("health", 9.0, "503: no"), load.Answer("plan", 700.0)]
    assert list(load.told(answers)) == [
        "health: 2 requests, p99 9 ms, 1 errors: 503: no",
        "plan: 1 requests, p99 700 ms",
    ]


def test_memory_has_room_for_a_full_history() -> None:
    assert inspect.signature(Ring).parameters["size"].default == HISTORY_MB * 10**6


# --- stand-ins


def stand_in(host: str) -> TestClient:
    return TestClient(stand_ins.build(many(4, 2)), base_url=f"http://{host}")


def test_a_stand_in_tells_lives_from_which_cool_downs_follow() -> None:
    with stand_in("127.0.1.1") as master:
        tags = [{"forward": 2, "reverse": 3}, {"forward": 4, "reverse": 5}]
        master.post("/v1/changes", json={"add": tags, "remove": [], "cancel": [], "forget": []})
        table = LifeTable.model_validate_json(master.get("/v1/lives").text)
    assert [pair.pair() for pair in table.pairs] == [TagPair(2, 3), TagPair(4, 5)]
    assert {lives_of(pair) for pair in table.pairs} == {stand_ins.SESSIONS}
    assert sum(table.tcp.closed) + sum(table.tcp.expired) == pytest.approx(table.tcp.risk[0], abs=1)
    found = Outlook(table, Timeouts()).forecast(table.pairs[0])
    assert 10 < found.earliest < found.p50 < found.p95 < 86_400


def lives_of(pair: ChainLives) -> int:
    return sum(cell.sessions for cell in pair.cells)


def test_a_call_without_an_answer_is_remembered() -> None:
    with stand_in("127.0.0.1") as controller:
        controller.get("/v1/health")
        assert controller.get("/unanswered").json() == []
        assert controller.get("/v1/chains/x/hops").status_code == 404
        assert controller.get("/unanswered").json() == ["GET /v1/chains/x/hops"]


def test_a_plan_without_predictions_is_not_measured() -> None:
    known, unknown = plans.CoolDown(chain="a", sessions=3, p50=1.0), plans.CoolDown(chain="b", sessions=3)

    def segment(*cooling: plans.CoolDown) -> plans.SegmentPlan:
        return plans.SegmentPlan(segment="main", stay=0, leave=0, shares=[], cooling=list(cooling))

    assert predicted([segment(known), segment()]) == [known]
    with pytest.raises(Unavailable, match="predicts no cool-down of b"):
        predicted([segment(known), segment(unknown)])


# --- explanations and taps


PORTS = Ports(
    {"p1": "l1.inner", "p2": "n1.ingress", "p3": "n1.egress", "p4": "l2.inner"}, "l1", "l2", ask_id=4094
)
WAY = (("s1", "p1", 2, "to-s2"), ("s2", "to-s1", 2, "p2"), ("s2", "p3", 0, "p4"))
"""Switch, port, VLAN ID, and where it goes: l1 hangs on s1, n1 and l2 on s2."""


def hops(tag: int, way: tuple[tuple[str, str, int, str], ...]) -> list[HopView]:
    found = []
    for number, (switch, port, vlan, out) in enumerate(way):
        after = {"p2": ["pop_vlan"], "p3": ["pop_vlan"]}.get(out, [] if vlan else [f"push_vlan:{tag}"])
        before, behind = way[number - 1], way[(number + 1) % len(way)]
        found.append(
            HopView(
                switch=switch,
                table=0,
                priority=1,
                cookie=1,
                match={"in_port": port, "vlan": vlan},
                actions=[*after, f"output:{out}"],
                packets=1,
                bytes=60,
                installed=True,
                source=PORTS.names.get(port) or f"{before[0]}:{before[3]}",
                target=PORTS.names.get(out) or f"{behind[0]}:{behind[1]}",
            )
        )
    return found


TOLD = SegmentExplanation(
    segment="main",
    status="live",
    tags=Tags(forward=2, reverse=3),
    nfs=["n1"],
    path=["l1", "n1", "l2"],
    forward=hops(2, WAY),
    reverse=hops(3, (("s2", "p4", 3, "p3"), ("s2", "p2", 0, "to-s1"), ("s1", "to-s2", 3, "p1"))),
)


def sighted(*places: tuple[str, str, int]) -> dict[Sighting, int]:
    return {Sighting(*place): number for number, place in enumerate(places)}


KEY = SessionKey.parse("10.0.0.1:4242 -> 10.0.0.2:80/tcp")
ASKED = Asked.of("it", [KEY], [KEY.low])
THERE = sighted(("p1", FROM, 2), ("p2", TO, 0), ("p3", FROM, 0), ("p4", TO, 2))
BACK = sighted(("p4", FROM, 3), ("p3", TO, 0), ("p2", FROM, 0), ("p1", TO, 3))
ASKING = sighted(("p4", FROM, 4094), ("p1", TO, 4094), ("p1", FROM, 3), ("p4", TO, 3), ("p4", FROM, 2))


def wrong(
    told: SegmentExplanation, there: dict[Sighting, int] = THERE, back: dict[Sighting, int] = BACK
) -> str | None:
    seen = Seen({(KEY, KEY.low): there, (KEY, KEY.high): back})
    return difference(ASKED, told, seen, PORTS, "live", dict.fromkeys(counted(told.forward), 0))


def test_what_is_told_as_it_was_seen_is_no_difference() -> None:
    assert wrong(TOLD) is None
    later = {sighting: number + len(ASKING) for sighting, number in BACK.items()}
    assert wrong(TOLD, back=ASKING | later) is None, "asks and their answers are no hops"


def edited(way: list[HopView], number: int, **changes: object) -> list[HopView]:
    return [hop.model_copy(update=changes) if at == number else hop for at, hop in enumerate(way)]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"status": "ended"}, "status"),
        ({"nfs": ["n2"]}, "NFs"),
        ({"path": ["l1", "l2"]}, "path"),
        ({"tags": Tags(forward=2, reverse=5)}, "tags"),
        ({"forward": edited(TOLD.forward, 0, match={"in_port": "p1", "vlan": 4})}, "hops"),
        ({"forward": edited(TOLD.forward, 2, actions=["push_vlan:4", "output:p4"])}, "hops"),
        ({"forward": edited(TOLD.forward, 1, target="n1.egress")}, "links"),
        ({"reverse": edited(TOLD.reverse, 2, match={"in_port": "to-s2", "vlan": 5})}, "links"),
        ({"reverse": TOLD.reverse[::-1]}, "hops back"),
        ({"reverse": TOLD.forward}, "hops back"),
        ({"reverse": TOLD.reverse[:2]}, "hops back"),
        ({"reverse": edited(TOLD.reverse, 1, packets=0)}, "counters"),
        ({"reverse": edited(TOLD.reverse, 1, installed=False)}, "counters"),
        ({"faults": ["l2: can't be reached"]}, "faults"),
    ],
)
def test_what_is_told_otherwise_than_seen_is_found(changes: dict[str, object], what: str) -> None:
    assert f" {what}: said" in (wrong(TOLD.model_copy(update=changes)) or "")


def test_a_session_that_went_two_ways_or_none_is_found() -> None:
    assert "hops back: said" in (wrong(TOLD, back=BACK | sighted(("p1", TO, 5))) or "")
    assert wrong(TOLD, there={}) == f"it: not seen: [] and {list(BACK)}"


# --- kills

NETWORK = ServiceConfig.load(network_text().replace("lonely", "spare-2"))
RED, GREEN = files(NETWORK)
PAIRS = {"green": TagPair(2, 3), "blue": TagPair(4, 5)}


def held(config: ServiceConfig, tags: dict[str, TagPair]) -> Held:
    """All is well with these chains."""
    tagged = {
        name: chain.model_copy(update={"tags": Tags.of(tags[name])}) for name, chain in config.chains.items()
    }
    pairs, cookies = frozenset(tags.values()), {name: number for number, name in enumerate(tags)}
    return Held(
        config=config.model_copy(update={"chains": tagged}),
        tags=tags,
        pairs={"l1": pairs, "l2": pairs},
        steered=tags,
        cookies=cookies,
        rules=frozenset(cookies.values()),
    )


def test_a_change_that_is_there_or_not_there_is_well() -> None:
    assert says_the_same(held(GREEN, PAIRS).config, GREEN)
    assert judge(held(GREEN, PAIRS), RED, GREEN, accepted=True) == (True, [])
    assert judge(held(GREEN, PAIRS), RED, GREEN, accepted=False) == (True, [])
    assert judge(held(RED, {"red": TagPair(6, 7)}), RED, GREEN, accepted=False) == (False, [])


def test_an_accepted_change_must_be_there() -> None:
    assert judge(held(RED, {"red": TagPair(6, 7)}), RED, GREEN, accepted=True) == (
        False,
        ["an accepted change is lost"],
    )


def test_half_a_change_is_seen() -> None:
    half = GREEN.model_copy(update={"chains": {"green": GREEN.chains["green"]}})
    there, faults = judge(held(half, {"green": PAIRS["green"]}), RED, GREEN, accepted=False)
    assert (there, faults) == (False, ["what is in force is neither the old file nor the new one"])


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (
            {"pairs": {"l1": frozenset(PAIRS.values()), "l2": frozenset({TagPair(2, 3)})}},
            "l2 has other tag pairs",
        ),
        ({"steered": {"green": TagPair(2, 3)}}, "the controller steers other chains"),
        ({"rules": frozenset({0, 1, 2})}, "the switches have rules of other chains"),
    ],
)
def test_parts_that_differ_are_seen(part: dict[str, object], fault: str) -> None:
    different = replace(held(GREEN, PAIRS), **part)  # type: ignore[arg-type]
    assert judge(different, RED, GREEN, accepted=True) == (True, [fault])


# --- cool-downs


def entry(at: float, chain: str, state: str, operation: str = "op-1") -> HistoryEntry:
    changes = {"state": ("before", state)}
    return HistoryEntry(
        seq=1, at=at, kind="state", who="x", chain=chain, operation=operation, changes=changes
    )


def test_a_cool_down_is_from_cooling_to_drained() -> None:
    entries = [
        entry(10.0, "a", "cooling", "op-0"),
        entry(11.0, "a", "drained", "op-0"),
        entry(20.0, "a", "cooling"),
        entry(20.5, "b", "cooling"),
        entry(25.0, "b", "drained"),
        entry(28.0, "a", "drained"),
        entry(29.0, "a", "removed"),
    ]
    assert took(entries, "op-1") == {"b": 4.5, "a": 8.0}
    assert CoolDown("a", 5, predicted=4.0, real=8.0).ratio == 2


def test_sessions_live_as_long_as_they_should_and_never_pause_for_long() -> None:
    source = random.Random(1)
    lives = [lifetime(source) for _ in range(20_000)]
    assert sum(lives) / len(lives) == pytest.approx(MEAN_S, rel=0.03)
    assert sum(sorted(lives)[-2000:]) > 0.3 * sum(lives)
    for seconds in (0.1, 1.0, 7.3):
        said = pauses(seconds)
        assert sum(said) == pytest.approx(seconds)
        assert max(said) <= WORD_S
