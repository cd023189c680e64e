"""Two replays beside each other: what is another is said once, and splitting alerts over chains is none."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from catenary.errors import InvalidValue
from catenary.session import SessionKey
from experiments.replay import run
from experiments.replay.comparing import Alarm, Difference, Kind, Outcome, differences
from experiments.replay.pacing import Delivery
from experiments.replay.scene import Pace
from experiments.replay.sessions import Session, Split
from experiments.replay.setting import Setting
from experiments.replay.telling import claims, compared, figures

SESSIONS = tuple(f"192.0.2.1:{port} -> 192.0.2.2:80/tcp" for port in range(1, 5))
CHAINS = ("chain-1", "chain-2")
ALARMS = st.builds(Alarm, st.sampled_from(["1", "2"]), st.sampled_from(SESSIONS))


def outcome(
    *alarms: tuple[str, Alarm],
    placements: dict[str, tuple[str, ...]] | None = None,
    lost: str = "",
    name: str = "a",
) -> Outcome:
    """One in which all sessions went over chain-1, whole, but for what is said."""
    deliveries = {session: Delivery(9, 9, 9) for session in SESSIONS}
    deliveries |= {lost: Delivery(9, 5, 4)} if lost else {}
    return Outcome(
        name,
        deliveries,
        dict.fromkeys(SESSIONS, ("chain-1",)) | (placements or {}),
        {chain: [alarm for on, alarm in alarms if on == chain] for chain in CHAINS},
    )


def test_nothing_differs_from_itself() -> None:
    same = outcome(("chain-1", Alarm("1", SESSIONS[0])))
    assert differences(same, same) == ()


@given(st.lists(ALARMS), st.data())
def test_alerts_may_come_from_any_chain(alarms: list[Alarm], data: st.DataObject) -> None:
    def spread() -> Outcome:
        mixed = data.draw(st.permutations(alarms))
        return outcome(*((data.draw(st.sampled_from(CHAINS)), alarm) for alarm in mixed))

    assert differences(spread(), spread()) == ()


@given(st.lists(ALARMS), st.lists(ALARMS))
def test_what_is_raised_otherwise_is_told_once_from_either_side(a: list[Alarm], b: list[Alarm]) -> None:
    one, other = (outcome(*(("chain-1", alarm) for alarm in alarms)) for alarms in (a, b))
    less, more = Counter(a) - Counter(b), Counter(b) - Counter(a)
    there, back = differences(one, other), differences(other, one)
    assert sorted(d.session for d in there if d.kind is Kind.LOST) == sorted(alarm.session for alarm in less)
    assert sorted(d.session for d in back if d.kind is Kind.LOST) == sorted(alarm.session for alarm in more)
    assert len(there) == len(back) == len(less) + len(more)
    assert sum(d.kind is Kind.NEW for d in there) == sum(alarm not in a for alarm in more)


def test_each_kind_in_words() -> None:
    one = outcome(("chain-1", Alarm("7", SESSIONS[0])), ("chain-1", Alarm("7", SESSIONS[1])))
    other = outcome(
        *[("chain-2", Alarm("7", SESSIONS[1]))] * 2,
        ("chain-1", Alarm("8", SESSIONS[2])),
        placements={SESSIONS[1]: ("chain-2",), SESSIONS[2]: CHAINS, SESSIONS[3]: ()},
        lost=SESSIONS[3],
    )
    assert set(differences(one, other)) == {
        Difference(Kind.NEW, SESSIONS[2], "8: 0 -> 1"),
        Difference(Kind.DOUBLED, SESSIONS[1], "7: 1 -> 2"),
        Difference(Kind.LOST, SESSIONS[0], "7: 1 -> 0"),
        Difference(Kind.DELIVERED, SESSIONS[3], "9 of 9 packets -> 4 of 9 packets"),
        Difference(Kind.PLACED, SESSIONS[1], "chain-1 -> chain-2"),
        Difference(Kind.PLACED, SESSIONS[2], "chain-1 -> chain-1 and chain-2"),
        Difference(Kind.PLACED, SESSIONS[3], "chain-1 -> no chain"),
    }
    assert [d.kind for d in differences(one, other, placed=False)].count(Kind.PLACED) == 0
    assert other.crossed == (SESSIONS[2],)
    assert (one.shares(), one.idle) == ({"chain-1": 4, "chain-2": 0}, 1)
    assert (other.shares(), other.idle) == ({"chain-1": 2, "chain-2": 2}, 0)


def test_an_alert_of_a_chain_that_did_not_carry_its_session_is_strange() -> None:
    assert outcome(("chain-1", Alarm("7", SESSIONS[0]))).strange == ()
    assert outcome(("chain-2", Alarm("7", SESSIONS[0]))).strange == (f"chain-2: 7, {SESSIONS[0]}",)
    assert outcome(("chain-1", Alarm("7", "of no session of the capture"))).strange == ()


def test_all_are_held_against_the_single_one_and_placements_against_the_first_of_the_others() -> None:
    moved = {SESSIONS[0]: ("chain-2",)}
    single, first = outcome(name="single"), outcome(name="first", placements=moved)
    second = outcome(name="second", lost=SESSIONS[1])
    assert [
        (c.first, c.second, [d.kind for d in c.differences]) for c in compared([single, first, second])
    ] == [
        ("single", "first", []),
        ("single", "second", [Kind.DELIVERED]),
        ("first", "second", [Kind.PLACED]),
    ]
    assert compared([single]) == ()


def test_settings_are_read_as_they_are_told() -> None:
    changed = Setting().with_changes("chains=5,policy=p2c")
    assert changed == replace(Setting(), chains=5, policy="p2c")
    assert changed.name == "chains=5,policy=p2c"
    assert Setting().with_changes(changed.name) == changed
    assert Setting().name == "chains=3"


@pytest.mark.parametrize(
    "text,message",
    [
        ("chains=x", "'chains=x' in 'chains=x': 'x' is no number"),
        ("chains=0", r"chains 0: use 1\.\.32"),
        ("chains=33", r"chains 33: use 1\.\.32"),
        (
            "colour=red",
            "'colour=red' in 'colour=red': use NAME=VALUE, with a NAME of chains, dataplane, policy",
        ),
        ("chains", "'chains' in 'chains': use NAME=VALUE"),
        ("", "'' in '': use NAME=VALUE"),
        ("dataplane=dpdk", "dataplane 'dpdk': use one of ebpf, af_packet, pf_ring"),
        ("policy=best", "policy 'best': use one of maglev, p2c"),
        ("affinity=port", "affinity 'port': use one of session, addresses, client"),
    ],
)
def test_settings_that_are_none_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Setting().with_changes(text)


def parted(sessions: int) -> Split:
    key = SessionKey.parse("tcp 192.0.2.1:1 192.0.2.2:80")
    return Split(tuple(Session(key, key.low, ()) for _ in range(sessions)), 0, {}, 0, 0)


@pytest.mark.parametrize(
    "change,key",
    [
        ({"placements": {SESSIONS[0]: CHAINS}}, "crossed"),
        ({"placements": dict.fromkeys(SESSIONS, ("chain-1",))}, "idle_chains"),
        ({"alarms": {"chain-1": [], "chain-2": []}}, "alerts_lost"),
        ({"alarms": {"chain-1": [Alarm("7", SESSIONS[0])] * 2, "chain-2": []}}, "alerts_doubled"),
        ({"alarms": {"chain-1": [], "chain-2": [Alarm("7", SESSIONS[0])]}}, "strange_alerts"),
        ({"alarms": {"chain-1": [Alarm(n, SESSIONS[0]) for n in "78"], "chain-2": []}}, "alerts_new"),
        ({"deliveries": {SESSIONS[0]: Delivery(9, 5, 4)}}, "delivered_otherwise"),
        ({"failures": ("0.7% lost",)}, "witness_failures"),
        ({"missed": 1}, "frames_missed"),
    ],
)
def test_each_fault_of_a_run_breaks_its_claim(change: dict[str, Any], key: str) -> None:
    good = outcome(("chain-1", Alarm("7", SESSIONS[0])), placements={SESSIONS[3]: ("chain-2",)})
    for name in ("placements", "deliveries"):
        change |= {name: {**vars(good)[name], **change[name]}} if name in change else {}
    bad, found = replace(good, **change), parted(20)
    for outcomes, broken in (([good, good], []), ([good, bad], [key])):
        seen = figures(found, outcomes, compared(outcomes))
        asked = claims(found, [Setting(chains=2)])
        assert [claim.key for claim in asked if not claim.holds(seen)] == broken


def test_an_interrupted_replay_keeps_the_runs_that_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waiting = [outcome(("chain-1", Alarm("7", SESSIONS[0])), name="chains=1"), None, None]

    def played(*_: Any) -> Outcome:
        if (found := waiting.pop(0)) is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(run, "played", played)
    settings, console = [Setting(chains=1), Setting()], Console(file=StringIO())

    def interrupted() -> str:
        with pytest.raises(KeyboardInterrupt) as interruption:
            run.replayed(parted(4), settings, Pace(), tmp_path, console, as_json=False)
        return str(interruption.value)

    assert interrupted() == f"1 of 2 runs are in {tmp_path}"
    written = (tmp_path / "summary.json").read_text()
    summary, told = json.loads(written), json.loads((tmp_path / "replay.json").read_text())
    assert (summary["ok"], summary["status"]) == (False, "interrupted")
    assert summary["figures"]["alerts"]["value"] == 1
    assert [setting["chains"] for setting in summary["environment"]["settings"]] == [1]
    assert [each["setting"] for each in told["runs"]] == ["chains=1"]
    assert interrupted() == "", "nothing had ended"
    assert (tmp_path / "summary.json").read_text() == written


def test_few_sessions_or_coarse_keys_need_not_reach_every_chain() -> None:
    keys = [claim.key for claim in claims(parted(20), [Setting(chains=2)])]
    assert "idle_chains" in keys
    for few in (claims(parted(19), [Setting(chains=2)]), claims(parted(99), [Setting(affinity="client")])):
        assert [claim.key for claim in few] == [key for key in keys if key != "idle_chains"]
