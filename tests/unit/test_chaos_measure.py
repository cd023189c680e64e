"""What the faults' part of the experiment counts and claims: each figure can fail it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catenary.session import Timeouts
from experiments.chaos.field import measure, timeline
from experiments.chaos.field.churn import Drain, allowed
from experiments.chaos.field.measure import Seen
from experiments.chaos.field.schedule import FAULTS, Kind, Strike
from experiments.chaos.field.timeline import Note, Own, Row
from tests.unit.witness_runs import SECOND, SERVER, Run, client
from witness.checker import judge
from witness.events import CHANGE, FAULT, Event

TIMES = Timeouts(
    tcp_opening=5, tcp_established=15, tcp_closing=1, udp=2, other=2, neighbour=2, lease=0.75, transit=0.5
)
UDP = 17
CHAINS = {"n1": ["n1"], "n2": ["n2"]}
A = client(1000)
BEGIN = 1000.0


def row(
    kind: Kind, begun: float = BEGIN, *, lost: int = 0, cut: tuple[str, ...] = (), orphaned: int = 0
) -> Row:
    return Row(
        strike=Strike(1, kind, 0, 0.1),
        what=f"{kind}",
        begun=begun,
        struck=begun + 0.1,
        undone=begun + 0.2,
        well=begun + 1,
        proved=begun + 2,
        live=64,
        server_first=19,
        cut=cut,
        sent=100,
        lost=lost,
        failed=0,
        orphaned=orphaned,
        epoch=4,
        chains="n1-1 n2-2",
    )


def seen(run: Run, *rows: Row, drains: tuple[Drain, ...] = ()) -> Seen:
    recording = run.recording()
    return Seen(rows, drains, judge(recording), recording, TIMES)


def happened(run: Run, changes: int, faults: int) -> Run:
    kinds = [CHANGE] * changes + [FAULT] * faults
    run.events += [Event(run.now, kind, f"{kind} {number}") for number, kind in enumerate(kinds)]
    return run


def moved(run: Run, rest: float, kind: int = 6, payload: int = 100) -> int:
    """A session that goes through n1, rests for so many seconds, and goes on through n2."""
    session = run.begin(A, kind=kind)
    run.cross(session, A, "n1", True, payload)
    run.now += int(rest * SECOND)
    run.cross(session, A, "n2", True, payload)
    return session


def value(stage: Seen, key: str) -> float | int | None:
    return measure.figures([stage])[key].value


def broken(stage: Seen) -> set[str]:
    figures = measure.figures([stage])
    return {claim.key for claim in measure.claims(FAULTS, 1) if not claim.holds(figures)}


def test_a_session_that_crosses_is_a_violation_and_has_its_moment() -> None:
    run = Run(CHAINS)
    moved(run, 3.0)
    stage = seen(run, row(Kind.KILL_SLAVE))
    assert value(stage, "violations") == 1
    assert stage.crossed() == [pytest.approx(1003.0, abs=0.01)]


def test_what_rested_for_longer_than_its_timeout_is_a_new_session() -> None:
    for rest, violations in ((1.9, 1), (2.1, 0)):
        run = Run(CHAINS)
        moved(run, rest, UDP)
        stage = seen(run, row(Kind.LOSE_SLAVE_MAPS))
        assert value(stage, "violations") == violations
        assert value(stage, "rested_sessions") == 1 - violations


def test_a_handshake_whose_end_no_chain_saw_rests_like_one() -> None:
    """The client goes on sending to a load balancer that is dead."""
    for rest, violations in ((4.9, 1), (14.0, 0)):
        run = Run(CHAINS)
        session = run.begin(A)
        run.cross(session, A, "n1", True, flags=0x02)
        run.cross(session, SERVER, "n1", False, flags=0x12)
        run.cross(session, A, "n1", True, 100, stops=1)
        run.now += int(rest * SECOND)
        run.cross(session, A, "n2", True, 100)
        assert value(seen(run, row(Kind.LOSE_MASTER_MAPS)), "violations") == violations


def resting(run: Run, rest: float, payload: int, flags: int = 0x10) -> None:
    """Another session on a key that has just had one, which goes on elsewhere after a rest."""
    session = run.begin(A)
    run.cross(session, A, "n1", True, payload, flags=flags)
    run.now += int(rest * SECOND)
    run.cross(session, A, "n2", True, payload)


def test_a_last_fin_that_is_sent_again_belongs_to_a_session_that_is_over() -> None:
    for payload in (0, 100):
        run = Run(CHAINS)
        moved(run, 3.5, payload=payload)
        assert value(seen(run, row(Kind.CALM)), "violations") == 1, "a handshake has 5 s, a session 15 s"
        run = Run(CHAINS)
        run.talk("n1", A)
        run.now += 2 * SECOND
        resting(run, 3.5, payload)
        assert value(seen(run, row(Kind.CALM)), "violations") == 0
        resting(run, 0.9, payload)
        assert value(seen(run, row(Kind.CALM)), "violations") == 1


def test_another_session_on_the_same_key_is_one_of_its_own() -> None:
    for since, flags, violations in ((29, 0x10, 0), (31, 0x10, 1), (2, 0x02, 1)):
        run = Run(CHAINS)
        run.talk("n1", A)
        run.now += since * SECOND
        resting(run, 3.5, 100, flags)
        assert value(seen(run, row(Kind.CALM)), "violations") == violations
        assert value(seen(run, row(Kind.CALM)), "rested_sessions") == 1 - violations


def test_flapping_between_two_chains_is_no_rest() -> None:
    run = Run(CHAINS)
    session = moved(run, 3.0, UDP)
    run.cross(session, A, "n1", True, 100)
    assert value(seen(run, row(Kind.CALM)), "violations") == 1


def crossings(number: int, kind: int = 6) -> Run:
    """Sessions that all begin by 1000.1 s and cross between 1000.1 s and 1000.9 s."""
    run = Run(CHAINS)
    sessions = [(run.begin(end, kind=kind), end) for end in map(client, range(2000, 2000 + number))]
    for chain in CHAINS:
        for session, end in sessions:
            run.cross(session, end, chain, True, 100)
        run.now += SECOND // 2
    return run


LOSS = Kind.LOSE_MASTER_MAPS


def test_orphans_are_excused_by_as_many_as_their_own_loss_counted() -> None:
    run = crossings(2)
    assert value(seen(run, row(LOSS, orphaned=1)), "violations") == 1
    assert value(seen(run, row(LOSS, orphaned=2)), "violations") == 0
    assert value(seen(run, row(LOSS, orphaned=1), row(LOSS, 2000.0, orphaned=5)), "violations") == 1


def test_only_what_a_loss_may_have_orphaned_is_excused() -> None:
    fault = row(LOSS, orphaned=2)
    assert value(seen(crossings(2, UDP), fault), "violations") == 2, "only TCP is counted"
    for moment, violations in ((BEGIN, 0), (BEGIN + 0.6, 2), (BEGIN - 0.5, 2), (BEGIN - 2, 2)):
        late = replace(fault, begun=moment, struck=moment + 0.1, proved=moment + 1)
        assert value(seen(crossings(2), late), "violations") == violations, moment


def test_a_session_of_the_crowd_and_a_crossing_are_two_orphans() -> None:
    cut = ("tcp port 1: silent", "udp port 2: silent")
    for orphaned, left in ((0, (2, 1)), (1, (1, 1)), (2, (1, 0)), (9, (1, 0))):
        stage = seen(crossings(1), row(LOSS, cut=cut, orphaned=orphaned))
        assert (value(stage, "cut_sessions"), value(stage, "violations")) == left
    assert value(seen(crossings(1), row(Kind.KILL_MASTER, cut=cut)), "cut_sessions") == 2


def test_every_figure_can_fail_the_run() -> None:
    run = Run(CHAINS)
    for port in range(64):
        opener = "server" if port < 12 else "client"
        run.talk("n1", client(2000 + port), opener=opener)
    late = run.now / 1e9 + 9
    storm = replace(row(Kind.STORM, late), own=Own(changes=28, epochs=30, seconds=2.5))
    cut = replace(row(Kind.CUT_BYPASS, late), own=Own(asked=20, unanswered=1))
    happened(run, 50, 25)
    fine = seen(run, row(Kind.CALM), row(Kind.UPGRADE, late), row(Kind.KILL_MASTER, late), storm, cut)
    short = {"sessions", "drains", "drain_detect_s", "live_across", "server_first_across"}
    assert broken(fine) == short, "nobody lived across, and nothing was drained"
    kill = row(Kind.KILL_MASTER)
    assert "packets_lost_on_daemon_kill" in broken(replace(fine, rows=(replace(kill, lost=1),)))
    assert "packets_lost_on_daemon_kill" not in broken(
        replace(fine, rows=(row(Kind.FLAP_LINK, lost=1),) * 2 + (kill,))
    )
    assert "packets_lost_on_upgrade" in broken(replace(fine, rows=(row(Kind.UPGRADE, lost=1), kill)))
    assert "packets_lost_calm" in broken(replace(fine, rows=(row(Kind.CALM, lost=1), kill)))
    assert "cut_sessions" in broken(replace(fine, rows=(replace(kill, cut=("silent",)),)))
    rests = [moved(run, 16.0 + number) for number in range(14)]
    assert "rested_sessions" in broken(seen(run, kill)), rests
    assert {"faults", "changes"} <= broken(seen(happened(Run(CHAINS), 49, 24), kill))
    late_storm = replace(storm, own=Own(changes=28, epochs=20, seconds=3.2))
    slow = replace(fine, rows=(storm, late_storm, late_storm))
    assert (value(slow, "storm_changes_per_s"), value(slow, "storm_epochs_per_s")) == (8.8, 6.2)
    assert "storm_changes_per_s" in broken(slow)
    assert "asks_unanswered" in broken(replace(fine, rows=(cut, replace(cut, own=Own(asked=20)))))
    soon, late_one = Drain("a", 5.0, 5.9), Drain("b", 5.0, 6.1)
    assert broken(replace(fine, drains=(soon,) * 2)) - broken(replace(fine, drains=(soon,) * 3)) == {"drains"}
    assert "drain_detect_s" in broken(replace(fine, drains=(soon, late_one)))
    assert "drain_detect_s" not in broken(replace(fine, drains=(soon,)))


def test_sessions_across_a_fault_are_those_that_the_witness_saw_before_and_after() -> None:
    run = Run(CHAINS)
    begun = run.now / 1e9
    session = run.begin(A)
    run.cross(session, SERVER, "n1", False, 10)
    run.now += 5 * SECOND
    run.cross(session, A, "n1", True, 10)
    run.talk("n1", client(3000))
    stage = seen(run, row(Kind.KILL_MS, begun + 1))
    assert stage.across(stage.rows[0]) == (1, 1)


def test_drained_is_allowed_two_waits_after_the_removal_and_one_after_the_last_pin() -> None:
    assert allowed(100.0, 100.0, 100.0, 0.5) == 102.0
    assert allowed(100.0, 107.0, 100.0, 0.5) == 108.0
    assert allowed(100.0, 107.0, 109.0, 0.5) == 109.0


def test_the_timeline_tells_everything_in_its_order() -> None:
    told = timeline.text(
        "stage", [row(Kind.KILL_MS, cut=("silent",))], [Note(BEGIN - 1, "chain added")], [BEGIN + 0.5]
    )
    lines = told.splitlines()
    assert lines[0] == "stage"
    assert [line.split()[2] for line in lines[2:6]] == ["0", "0", "0", "0"]
    assert lines[2].endswith("chain added")
    assert "kill-ms" in lines[3]
    assert lines[6].endswith("A SESSION CROSSED TWO CHAINS")
    assert all(line.split()[2] == "1" for line in lines[6:])
    assert lines[-1].endswith("cut: silent")
