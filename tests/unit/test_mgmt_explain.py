"""Where a session goes and why: what the parts say, joined and put in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catenary.chain import Chain, ChainState
from catenary.config import NfAttachment, SegmentConfig
from catenary.explanations import Candidate, Explanation, SegmentExplanation, SessionForecast
from catenary.session import SessionKey
from catenary.tags import TagPair
from catenary.wire import SessionEnd, SessionEntry, SessionOrigin, Tags
from mgmt_system import scene as scenes
from mgmt_system.explain import Explainer
from mgmt_system.history import History
from mgmt_system.journal import Event, JournalEntry
from mgmt_system.reasons import Reasons, summary
from mgmt_system.records import Author, ChainRecord, Goal
from mgmt_system.scene import Heard, Scene
from tests.unit.mgmt_fakes import Site, network_text
from tests.unit.test_mgmt_cli import Run, run, site  # noqa: F401

KEY = SessionKey.parse("10.0.0.1:4242 -> 10.0.0.2:80/tcp")
ONE, TWO = Tags(forward=2, reverse=3), Tags(forward=4, reverse=5)
PLACED = 1_700_000_000.0


def chain(name: str, tags: Tags, created: float = 0.0, state: ChainState = ChainState.ACTIVE) -> ChainRecord:
    made = Chain(name, (f"nf-{name}",), TagPair(tags.forward, tags.reverse))
    return ChainRecord(name, made, "main", state, Goal.PRESENT, created, created)


def entry(**changes: object) -> SessionEntry:
    origin = SessionOrigin(
        placed=PLACED, epoch=7, cause="placed", policy="p2c", load=3, other=ONE, other_load=5
    )
    plain = SessionEntry(
        key=KEY.text,
        state="established",
        tags=TWO,
        age=12.0,
        idle=0.5,
        seen=PLACED + 11.5,
        packets=10,
        bytes=4200,
        rate=350.0,
        origin=origin,
    )
    return plain.model_copy(update=changes)


def origin(**changes: object) -> SessionOrigin:
    return entry().origin.model_copy(update=changes)


SCENE = Scene("main", SegmentConfig(master="l1", slave="l2"), [chain("one", ONE), chain("two", TWO)])
ENDED = SessionEnd(ago=30.0, why="closed")
FORECAST = SessionForecast(
    key=KEY.text,
    epoch=9,
    policy="p2c",
    overflow=False,
    candidates=[
        Candidate(forward=2, reverse=3, live=5, weight=100),
        Candidate(forward=4, reverse=5, live=3, weight=100),
    ],
    tags=TWO,
)


def told(heard: Heard, scene: Scene = SCENE) -> SegmentExplanation:
    return scenes.told(scene, heard, Reasons(KEY, scene, heard).all())


def words(heard: Heard, scene: Scene = SCENE) -> str:
    return "\n".join(told(heard, scene).because)


def test_a_live_session_has_its_chain_and_the_loads_that_were_seen() -> None:
    heard = Heard(entry(), entry(idle=2.0, origin=origin(cause="learned", policy=None)))
    found = told(heard)
    assert (found.status, found.chain, found.nfs) == ("live", "two", ["nf-two"])
    assert found.path == ["l1", "nf-two", "l2"]
    first, second, third = found.because
    assert first == (
        "l1 placed it at its first packet, a client's, 12.0 s ago (2023-11-14T22:13:20Z), in epoch 7, by "
        "p2c: two had 3 live sessions, and one, the other candidate, 5: no more for its weight"
    )
    assert second == "it is established; its last packet was 0.5 s ago; 10 packets, 4.2 kB both ways"
    assert third == "l2 knows it too, and needs not ask l1 for another 8.0 s (its lease)"
    assert summary(KEY, [found]) == f"session {KEY.text} is live on two in segment main"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cause": "asked"}, "l1 placed it when l2 asked about the server's first packet"),
        ({"cause": "overflow"}, "by the plain hash, for the session table was full"),
        ({"cause": "learned", "policy": None}, "l1 learned it from the tag of what came out of the chain"),
        ({"cause": "hinted"}, "l1 took the hint of l2"),
        ({"cause": "copied", "policy": None}, "l1 copied it from the table of l2"),
        ({"cause": "taken_in", "policy": None}, "l1 has it from l2, which sees its packets"),
        ({"cause": "moved", "policy": None}, "l1 moved it here by order"),
        ({"policy": "maglev", "other": None}, "by maglev: the hash of its key names this chain"),
        ({"other": None}, "by p2c: both hashes of its key name two, with 3 live sessions"),
        ({"load": 1, "other_load": 2}, "two had 1 live session, and one, the other candidate, 2"),
    ],
)
def test_how_it_got_its_chain(changes: dict[str, object], text: str) -> None:
    assert text in words(Heard(entry(origin=origin(**changes))))


def test_a_chain_that_fell_just_before_is_one_of_the_reasons() -> None:
    def fell(at: float, segment: str) -> JournalEntry:
        text = f"3 probes in a row were lost in {segment}"
        event = Event("health", Author("ms"), {"verdict": ("up", "down")}, segment, "one", text=text)
        return JournalEntry(1, at, event)

    near, elsewhere, before = fell(PLACED - 1, "main"), fell(PLACED, "other"), fell(PLACED - 60, "main")
    told = words(Heard(entry(), journal=(before, near, elsewhere)))
    assert "one went from up to down at 2023-11-14T22:13:19Z: 3 probes in a row were lost in main" in told
    assert told.count("went from up") == 1


def test_where_the_slave_stands() -> None:
    assert "a packet of the server asks l1 over the bypass path" in words(Heard(entry()))
    lapsed = Heard(entry(), entry(idle=11.0))
    assert "the lease of l2 has lapsed" in words(lapsed)
    silent = Heard(entry(), faults=("l2: can't be reached",))
    assert "what l2 knows of it could not be asked" in words(silent)
    assert told(silent).faults == ["l2: can't be reached"]


def test_of_an_ended_session_it_says_where_it_went_and_would_go() -> None:
    heard = Heard(entry(ended=ENDED), None, FORECAST)
    found = told(heard)
    assert (found.status, found.chain) == ("ended", "two")
    assert "it ended 30.0 s ago: it was closed, and no late packet came any more" in found.because
    assert any(text.startswith("if it began anew, it would go to two") for text in found.because)


def test_an_ended_session_went_through_the_chain_that_had_these_tags_then() -> None:
    old = chain("old", TWO, created=PLACED - 100, state=ChainState.REMOVED)
    new = chain("new", TWO, created=PLACED + 100)
    scene = replace(SCENE, chains=[chain("one", ONE), old, new])
    found = told(Heard(entry(ended=ENDED), None, FORECAST), scene)
    assert (found.chain, found.chain_state) == ("old", "removed")
    assert "old is removed: it takes no new session" in found.because
    assert any("would go to new" in text for text in found.because)
    assert told(Heard(entry()), scene).chain == "old"
    assert told(Heard(entry(origin=origin(placed=PLACED + 99.0))), scene).chain == "new"


def test_one_that_is_not_known_would_go_where_the_policy_says() -> None:
    found = told(Heard(forecast=FORECAST))
    assert (found.status, found.chain) == ("new", "two")
    assert found.because[0] == "l1 has no session with this key"
    assert found.because[1] == (
        "it would go to two: of the two chains that its key names, one with 5 live sessions at weight 100 "
        "and two with 3 live sessions at weight 100, it has no more for its weight (p2c)"
    )
    assert "every session that begins or ends may change it" in found.because[2]
    for change, text in (
        ({"overflow": True}, "the session table is full, so the plain hash decides"),
        ({"policy": "maglev"}, "the hash of its key names it (maglev)"),
        ({"candidates": FORECAST.candidates[1:]}, "both hashes of its key name it (p2c)"),
        ({"candidates": []}, "it would go past the chains, by two: no rule of the classifier agrees with it"),
    ):
        assert text in words(Heard(forecast=FORECAST.model_copy(update=change)))
    nowhere = FORECAST.model_copy(update={"tags": None, "candidates": [], "reason": "no chain is active"})
    assert told(Heard(forecast=nowhere)).status == "refused"
    assert "it would go nowhere: no chain is active" in words(Heard(forecast=nowhere))


def test_a_slave_that_still_has_a_hint_is_told_of() -> None:
    hint = entry(idle=60.0, tags=ONE)
    heard = Heard(None, hint, FORECAST)
    assert told(heard).status == "new"
    assert "l2 still has a hint of one: if the server speaks first, it goes there" in words(heard)
    assert told(Heard(None, entry(), FORECAST)).status == "live"


def test_what_was_closed_or_reset_is_told() -> None:
    assert told(Heard(entry(state="closing"))).status == "closing"
    reset = Heard(entry(state="reset", tags=None))
    assert (told(reset).status, told(reset).chain) == ("reset", None)
    assert "it was reset by order" in words(reset)


def test_a_chain_that_cools_down_keeps_it() -> None:
    scene = replace(SCENE, chains=[chain("two", TWO, state=ChainState.COOLING)])
    assert "two is cooling: it takes no new session, and keeps this one" in words(Heard(entry()), scene)


def journal(kind: str, changes: dict[str, object], text: str | None = None) -> JournalEntry:
    author = Author("ann@ops", "worn out")
    return JournalEntry(1, PLACED, Event(kind, author, changes, "main", text=text))  # type: ignore[arg-type]


def test_the_journal_says_who_made_the_epoch_and_who_moved_it() -> None:
    epochs = [
        journal("epoch", {"epoch": (5, 6), "2-3": (None, {})}),
        journal("epoch", {"epoch": (6, 7), "4-5": (None, {})}),
        journal("session", {KEY.text: ("one", "two")}, "move"),
        journal("session", {"tcp 1.1.1.1:1 2.2.2.2:2": ("one", None)}, "reset"),
    ]
    because = words(Heard(entry(origin=origin(cause="moved")), journal=epochs))
    assert "epoch 7 began at 2023-11-14T22:13:20Z, with 4-5 changed, by ann@ops: worn out" in because
    assert "an order to move it from one to two came at 2023-11-14T22:13:20Z, by ann@ops: worn out" in because
    assert "reset" not in because


def test_an_order_about_an_earlier_session_of_its_key_is_not_told() -> None:
    earlier = replace(journal("session", {KEY.text: ("one", None)}, "reset"), at=PLACED - 60.0)
    assert "reset" not in words(Heard(entry(), journal=[earlier]))


def test_where_chains_rewrite_each_side_has_its_own_key() -> None:
    nfs = {"nf-two": NfAttachment(switch="s1", ingress="a", egress="b", pool=["10.9.2.0/24"])}
    config = SegmentConfig(master="l1", slave="l2", rewrites=True)
    scene = Scene("main", config, [chain("one", ONE), chain("two", TWO)], nfs)
    assert "this is its key on the clients' side of the chain" in words(Heard(entry()), scene)
    assert "this is its key on the servers' side of the chain" in words(Heard(entry(foreign=True)), scene)
    assert told(Heard(None, entry(idle=60.0), FORECAST), scene).status == "live"
    outside = SessionKey.parse("10.9.2.7:4242 -> 10.9.0.2:80/tcp")
    because = list(Reasons(outside, scene, Heard(entry())).all())
    assert any("of the pool 10.9.2.0/24 of nf-two" in text for text in because)


def test_a_pair_that_is_not_in_the_way_sees_nothing() -> None:
    scene = replace(SCENE, inserted=False)
    found = told(Heard(), scene)
    assert (found.status, found.chain) == ("beside", "one")
    assert "not in the way of its traffic yet" in found.because[0]


def test_segments_of_other_services_are_left_out() -> None:
    def at(segment: str, heard: Heard) -> SegmentExplanation:
        return told(heard).model_copy(update={"segment": segment})

    new, live = Heard(forecast=FORECAST), Heard(entry())
    services = [["a", "b"], ["c"]]
    rows = [at("a", live), at("b", new), at("c", new), at("d", new)]
    assert [item.segment for item in scenes.concerned(rows, services)] == ["a", "b", "d"]
    rows = [at(name, new) for name in "abcd"]
    assert [item.segment for item in scenes.concerned(rows, services)] == list("abcd")
    assert told(Heard(faults=("l1: gone",))).status == "unknown"


# --- the call and the command, on fakes --------------------------------------------------------------------


@pytest.fixture
def two(run: Run, site: Site) -> Run:  # noqa: F811
    for nf in ("n1", "n2"):
        run(f"chain add --nf {nf}")
    site.master.keys[KEY.text] = TagPair(4, 5)
    return run


def test_the_command_tells_the_hops_of_both_ways(two: Run) -> None:
    code, out, err = two("explain '10.0.0.1:4242 -> 10.0.0.2:80/tcp'")
    assert code == 0, err
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == f"session {KEY.text} is live on chain-2 in segment main"
    assert "segment main: chain chain-2, which is active" in lines
    assert "l1 -> n2 -> l2, and back the same way" in lines
    assert lines[4].startswith(
        "because   l1 placed it at its first packet, a client's, 60.0 s ago (1970-01-01T00:15:00Z)"
    )
    there = lines.index("client to server, tag 4")
    assert lines[there + 1].endswith("chain's packets  chain's bytes")
    assert lines[there + 2].split()[:3] == ["1", "l1.inner", "s1"]
    assert lines[there + 3].split()[:3] == ["2", "n2.egress", "s1"]
    back = lines.index("server to client, tag 5")
    assert lines[back + 2].split()[:3] == ["1", "l2.inner", "s1"]
    assert lines[back + 2].split()[-4:] == ["n2.egress", "1", "60", "B"]


def test_the_command_tells_of_one_that_there_never_was(two: Run, site: Site) -> None:  # noqa: F811
    code, out, _ = two("explain tcp 10.0.0.9:4242 10.0.0.2:80 --json")
    assert code == 0
    found = Explanation.model_validate_json(out)
    (segment,) = found.segments
    assert found.summary == (
        "session tcp 10.0.0.2:80 10.0.0.9:4242 is not known, and would go to chain-1 in segment main"
    )
    assert (segment.status, segment.chain, segment.path) == ("new", "chain-1", ["l1", "n1", "l2"])
    assert segment.forecast is not None
    assert site.master.asked == "tcp 10.0.0.2:80 10.0.0.9:4242"
    code, out, _ = two("explain '10.0.0.9:4242 -> 10.0.0.2:80/TCP'")
    assert site.master.asked == "10.0.0.9:4242 -> 10.0.0.2:80/tcp", "who is the client is not lost"
    assert "because   l1 has no session with this key" in out


def test_an_order_is_told_once(two: Run, site: Site) -> None:  # noqa: F811
    """Though the journal is read around the moments of the session's begin and of its end."""
    assert two(f"session reset {KEY.text} --why 'worn out'")[0] == 0
    code, out, _ = two(f"explain {KEY.text}")
    assert code == 0
    assert out.count("an order to reset it came") == 1


def test_parts_that_are_silent_are_named(two: Run, site: Site) -> None:  # noqa: F811
    site.master.down = site.controller.down = True
    code, out, _ = two(f"explain {KEY.text}")
    assert code == 0
    assert "session tcp 10.0.0.1:4242 10.0.0.2:80 can't be told of in segment main" in out
    assert "missing   l1: " in out
    site.master.down = False
    code, out, _ = two(f"explain {KEY.text}")
    assert "is live on chain-2" in out
    assert "missing   controller: " in out


@pytest.fixture
def plain() -> Site:
    """Its pair is not in the way of its traffic at first."""
    made = Site(network=network_text().replace("main: {", "main: {inserted: false, "))
    made.controller.inserted["main"] = None
    made.add("n1", name="one")
    made.settle()
    return made


def test_whether_a_pair_was_inserted_is_not_guessed(plain: Site) -> None:
    """The file says that it was not; the controller, which knows better, is silent."""
    explainer = Explainer(plain.peers, plain.network, plain.ledger, History(plain.ledger, plain.clock))

    def told() -> SegmentExplanation:
        return explainer.explain(KEY.text).segments[0]

    assert (told().status, told().chain) == ("beside", "one")
    plain.controller.down = True
    assert (told().status, told().chain, told().tags) == ("unknown", None, None)
    assert told().because[0].startswith("whether the pair of this segment is in the way can't be asked")
    plain.controller.down = False
    plain.controller.inserted["main"] = 1e9
    plain.add("n2", name="two")
    plain.settle()
    plain.master.keys[KEY.text] = TagPair(4, 5)
    plain.controller.down = True
    assert (told().status, told().chain) == ("live", "two")
    assert [fault.partition(":")[0] for fault in told().faults] == ["controller"]
    explainer.close()


def test_what_can_not_be_explained_is_refused(two: Run) -> None:
    code, _, err = two(f"explain {KEY.text} --segment other")
    assert (code, "unknown segment 'other': this network has main" in err) == (2, True)
    code, _, err = two("explain 10.0.0.1:4242")
    assert (code, "'10.0.0.1:4242' is not a session: write '10.0.0.1:4000 -> 10.0.0.2:80/tcp'" in err) == (
        2,
        True,
    )
