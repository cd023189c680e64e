"""The checker on recordings made by hand: clean runs pass, each planted fault is found and named."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.errors import InvalidValue
from catenary.session import End
from tests.unit.witness_runs import SECOND, SERVER, Run, client
from witness.checker import judge
from witness.recording import INTO, OUT_OF
from witness.sightings import collapse
from witness.verdict import Thresholds

THREE = {"chain-1": ("n1",), "chain-2": ("n2",), "chain-3": ("n3",)}
LONG = {"chain-1": ("a1", "b1", "c1"), "chain-2": ("a2", "b2", "c2")}


def test_a_clean_run_passes_and_is_counted() -> None:
    run = Run(THREE)
    for port in range(30):
        run.talk(f"chain-{port % 3 + 1}", client(4000 + port))
    run.talk("chain-1", client(9000), opener="server")
    verdict = judge(run.recording())
    assert verdict.ok
    assert (verdict.sessions, verdict.server_opened, verdict.unsettled) == (31, 1, 0)
    assert verdict.new_sessions() == {"chain-1": 11, "chain-2": 10, "chain-3": 10}
    assert verdict.losses == ()


def test_a_reverse_direction_through_another_chain_is_a_violation() -> None:
    run = Run(THREE)
    run.talk("chain-1", client(4000))
    session = run.begin(client(4001))
    run.cross(session, client(4001), "chain-1", forward=True)
    run.cross(session, SERVER, "chain-2", forward=False)
    verdict = judge(run.recording())
    [finding] = verdict.violations
    assert finding.session == session
    assert str(finding) == (
        "10.0.0.1:4001 <-> 10.0.0.2:80/tcp: client to server at n1 (chain-1); "
        "0.003 ms later server to client at n2 (chain-2)"
    )
    assert verdict.bypassed == ()
    assert verdict.failures == ("1 sessions crossed more than one chain",)


def test_a_lost_packet_in_another_chain_is_a_violation_too() -> None:
    run = Run(THREE)
    session = run.talk("chain-1", client(4000))
    run.cross(session, client(4000), "chain-3", forward=True, stops=2)
    assert [finding.session for finding in judge(run.recording()).violations] == [session]


RST = 0x14


def reset_run(singly: bool = False) -> tuple[Run, int]:
    """A session that both load balancers end by order, each as its own end speaks."""
    run = Run(THREE, singly=singly)
    session = run.talk("chain-1", client(4000))
    for sender, receiver, outer in ((client(4000), SERVER, "l1.outer"), (SERVER, client(4000), "l2.outer")):
        for _ in range(2):
            run.walk(session, sender, [(outer, INTO)], 1000)
            run.walk(session, receiver, [(outer, OUT_OF)], 0, RST)
    return run, session


@pytest.mark.parametrize("singly", [False, True])
def test_a_load_balancer_may_tell_the_ends_of_a_session_that_it_was_reset(singly: bool) -> None:
    run, session = reset_run(singly)
    # On its way in the chain as the order came: the answer goes back into the chain.
    run.cross(session, SERVER, "chain-1", forward=False, payload=7, stops=3)
    run.walk(session, client(4000), [("n1.ingress", INTO), ("n1.egress", OUT_OF)], 0, RST)
    late = run.begin(client(4001))  # its end still speaks, long after
    run.walk(late, client(4001), [("l1.outer", INTO)], 10)
    run.walk(late, SERVER, [("l1.outer", OUT_OF)], 0, RST)
    verdict = judge(run.recording())
    assert verdict.bypassed == ()
    assert verdict.ok
    assert (verdict.lost_bytes, verdict.lost_packets) == (0, 0)


def test_nothing_but_its_own_answers_passes_as_a_load_balancers_reset() -> None:
    run, session = reset_run()
    run.walk(session, SERVER, [("l1.outer", OUT_OF)], 100)
    run.walk(session, SERVER, [("l1.outer", OUT_OF)], 0, RST)
    assert [finding.session for finding in judge(run.recording()).bypassed] == [session], "a payload"
    run, session = reset_run()
    for _ in range(9):
        run.walk(session, SERVER, [("l1.outer", OUT_OF)], 0, RST)
    assert [finding.session for finding in judge(run.recording()).bypassed] == [session], "nobody spoke"
    run = Run(THREE)
    session = run.talk("chain-1", client(4000))
    run.cross(session, SERVER, "chain-1", forward=False, flags=RST)
    run.walk(session, SERVER, [("l1.outer", OUT_OF)], 0, RST)
    assert [finding.session for finding in judge(run.recording()).bypassed] == [session], "the server's own"


def test_an_nf_of_no_chain_is_a_violation() -> None:
    run = Run(THREE)
    run.talk("chain-3", client(4000))
    [finding] = judge(run.recording(), {"chain-1": ("n1",)}).violations
    assert "n3 (of no chain)" in finding.text


def test_the_shortest_counter_example_comes_first() -> None:
    run = Run(THREE)
    for port, packets in ((4000, 9), (4001, 2), (4002, 5)):
        session = run.begin(client(port))
        for at in range(packets):
            run.cross(session, client(port), f"chain-{at % 2 + 1}", forward=True)
    assert [finding.session for finding in judge(run.recording()).violations] == [2, 3, 1]


def test_what_may_pass_by_has_a_chain_without_nfs() -> None:
    run = Run({**THREE, "past": ()})
    run.talk("chain-1", client(4000))
    run.talk("past", client(4001))
    run.talk("past", client(4002), opener="server")
    verdict = judge(run.recording())
    assert verdict.ok
    assert verdict.new_sessions() == {"chain-1": 1, "chain-2": 0, "chain-3": 0, "past": 2}


@pytest.mark.parametrize("entering", [True, False])
def test_a_session_that_crosses_a_chain_and_passes_by_is_found(entering: bool) -> None:
    run = Run({**THREE, "past": ()})
    run.talk("past", client(4000))
    session = run.begin(client(4001))
    run.cross(session, client(4001), "chain-1", forward=entering)
    run.cross(session, client(4001), "past", forward=entering, payload=7)
    assert [finding.session for finding in judge(run.recording()).bypassed] == [session]
    session = run.begin(client(4002))
    run.cross(session, client(4002), "chain-1", forward=True)
    run.cross(session, SERVER, "past", forward=False)
    assert session in [finding.session for finding in judge(run.recording()).bypassed]


def test_delivered_past_all_chains_is_a_bypass() -> None:
    run = Run(THREE)
    session = run.begin(client(4000))
    run.walk(session, client(4000), run.path((), forward=True), 100)
    [finding] = judge(run.recording()).bypassed
    assert finding.text == "client to server, delivered without crossing any chain"


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_a_skipped_nf_is_a_bypass(skipped: int, forward: bool) -> None:
    run = Run(LONG)
    session = run.talk("chain-1", client(4000))
    nfs = [nf for at, nf in enumerate(LONG["chain-1"]) if at != skipped]
    path = run.path(nfs if forward else nfs[::-1], forward)
    run.walk(session, client(4000) if forward else SERVER, path, 77)
    verdict = judge(run.recording())
    assert [finding.session for finding in verdict.bypassed] == [session]
    assert verdict.violations == ()


def test_a_session_that_never_saw_one_nf_names_it() -> None:
    run = Run(LONG)
    session = run.begin(client(4000))
    run.walk(session, client(4000), run.path(("a1", "c1"), forward=True))
    [finding] = judge(run.recording()).bypassed
    assert finding.text == "client to server, delivered but not seen into b1.ingress"


def test_the_wrong_order_is_a_bypass() -> None:
    run = Run(LONG)
    session = run.begin(client(4000))
    run.walk(session, client(4000), run.path(("b1", "a1", "c1"), forward=True))
    assert [finding.session for finding in judge(run.recording()).bypassed] == [session]


def test_backwards_through_an_nf_is_a_bypass() -> None:
    run = Run(THREE)
    session = run.begin(client(4000))
    path = [("l1.outer", INTO), ("n1.egress", INTO), ("n1.ingress", OUT_OF), ("l2.outer", OUT_OF)]
    run.walk(session, client(4000), path)
    assert [finding.session for finding in judge(run.recording()).bypassed] == [session]


def test_more_delivered_than_left_the_last_nf_is_a_bypass() -> None:
    run = Run(THREE)
    session = run.talk("chain-1", client(4000))
    run.walk(session, client(4000), run.path((), forward=True), 1)
    [finding] = judge(run.recording()).bypassed
    assert finding.text == "client to server, more at out of l2.outer than out of n1.egress"


def test_an_answer_of_the_nf_itself_is_none() -> None:
    """A firewall that rejects a SYN answers in the server's name: nothing entered from that side."""
    run = Run(LONG)
    session = run.begin(client(4000))
    run.cross(session, client(4000), "chain-1", forward=True, stops=4)  # into b1
    run.walk(
        session,
        SERVER,
        [("b1.ingress", OUT_OF), ("a1.egress", INTO), ("a1.ingress", OUT_OF), ("l1.outer", OUT_OF)],
    )
    verdict = judge(run.recording())
    assert verdict.ok
    assert verdict.losses == ()


def test_what_an_nf_drops_is_its_own_business() -> None:
    run = Run(THREE)
    run.cross(run.begin(client(4000)), client(4000), "chain-1", forward=True, stops=2)
    assert judge(run.recording()).losses == ()


@pytest.mark.parametrize(
    ("stops", "wire"),
    [(1, ("into l1.outer", "any NF")), (3, ("out of n1.egress", "out of l2.outer"))],
)
def test_losses_name_the_wire(stops: int, wire: tuple[str, str]) -> None:
    run = Run(THREE)
    for port in range(4000, 4009):
        run.talk("chain-1", client(port), sizes=(0, 1000))
    session = run.begin(client(5000))
    run.cross(session, client(5000), "chain-1", forward=True, payload=1000, stops=stops)
    verdict = judge(run.recording())
    [loss] = verdict.losses
    assert (loss.source, loss.target, loss.direction) == (*wire, "client to server")
    assert (loss.bytes, loss.sessions) == (1000, 1)
    assert not verdict.ok
    assert verdict.violations == verdict.bypassed == ()


def test_what_is_in_flight_is_not_lost() -> None:
    run = Run(THREE)
    run.cross(run.begin(client(4000)), client(4000), "chain-1", forward=True, payload=1000, stops=3)
    verdict = judge(run.recording(after=1.0), in_flight_s=2.0)
    assert verdict.ok
    assert verdict.losses == ()
    assert verdict.unsettled == 1
    assert judge(run.recording(after=3.0), in_flight_s=2.0).losses


def test_records_begun_after_the_snapshot_are_left_out() -> None:
    run = Run(THREE)
    run.talk("chain-1", client(4000))
    end = run.now
    session = run.begin(client(4001))
    run.walk(session, client(4001), [("l2.outer", OUT_OF)])
    assert judge(run.recording(after=(end - run.now) / SECOND)).ok


def test_one_chain_only_fails_the_share() -> None:
    run = Run(THREE)
    for port in range(20):
        run.talk("chain-2", client(4000 + port))
    verdict = judge(run.recording(), thresholds=Thresholds(min_share=0.2))
    assert verdict.shares() == {"chain-1": 0.0, "chain-2": 1.0, "chain-3": 0.0}
    assert verdict.failures == (
        "chain chain-1 carried 0.0% of the new sessions: at least 20.0% are asked for",
        "chain chain-3 carried 0.0% of the new sessions: at least 20.0% are asked for",
    )


def test_shares_of_a_stretch_of_time() -> None:
    run = Run(THREE)
    run.talk("chain-1", client(4000))
    moment = run.now + 1
    run.now += SECOND
    run.talk("chain-2", client(4001))
    verdict = judge(run.recording())
    assert verdict.new_sessions(since_ns=moment) == {"chain-1": 0, "chain-2": 1, "chain-3": 0}
    assert verdict.shares(until_ns=moment, among=("chain-1", "chain-2")) == {"chain-1": 1.0, "chain-2": 0.0}


def test_sessions_alive_across_a_moment() -> None:
    run = Run(THREE)
    alive = run.begin(client(4000))
    run.cross(alive, client(4000), "chain-1", forward=True)
    run.talk("chain-1", client(4001))
    moment = run.now
    run.now += SECOND
    run.cross(alive, client(4000), "chain-1", forward=True)
    run.talk("chain-1", client(4002))
    assert judge(run.recording()).alive_across(moment) == 1


def test_a_used_again_key_may_take_another_chain() -> None:
    run = Run(THREE)
    run.talk("chain-1", client(4000))
    run.now += 10 * SECOND
    run.talk("chain-2", client(4000))
    assert judge(run.recording()).ok


@pytest.mark.parametrize(("flags", "bypassed"), [(0x02, 1), (0x12, 0), (0x10, 0)])
def test_what_was_under_way_as_the_taps_came_is_judged_for_crossing_only(flags: int, bypassed: int) -> None:
    """What a SYN opened while all taps stood was seen whole."""
    run = Run(THREE)
    run.walk(run.begin(client(4000)), client(4000), run.path((), forward=True), 0, flags)
    begun = replace(run.recording(), begun_ns=run.now - SECOND)
    verdict = judge(begun)
    assert (len(verdict.bypassed), verdict.partial) == (bypassed, 1 - bypassed)
    assert len(judge(replace(begun, begun_ns=run.now - 3 * SECOND)).bypassed) == 1
    assert not judge(replace(begun, begun_ns=run.now)).bypassed


def test_a_session_that_began_as_the_recording_ended_is_judged_for_crossing_only() -> None:
    run = Run(THREE)
    run.walk(run.begin(client(4000)), client(4000), run.path((), forward=True), 0)
    assert not judge(run.recording(after=1.0)).bypassed
    assert judge(run.recording(after=3.0)).bypassed


def test_records_of_single_packets_are_those_of_all() -> None:
    single, whole = Run(THREE, singly=True), Run(THREE)
    for run in (single, whole):
        for port in (4001, 4000):
            run.talk("chain-1", client(port), sizes=(0, 300, 0, 10))
    found, expected = collapse(single.recording().records), whole.recording().records
    for field in ("session", "place", "way", "from_high"):
        assert set(found["key"][field]) == set(expected["key"][field])
    for field in ("first_ns", "last_ns", "loaded", "bare", "bytes"):
        assert sorted(found["counts"][field]) == sorted(expected["counts"][field])
    assert len(single.recording().records) == 4 * len(found)


def test_a_straggler_of_the_session_before_is_no_bypass() -> None:
    run = Run(THREE)
    first = run.talk("chain-1", client(4000))
    run.cross(first, SERVER, "chain-1", forward=False, stops=1)
    second = run.talk("chain-1", client(4000))
    run.walk(second, SERVER, run.path(("n1",), forward=False)[1:])
    verdict = judge(run.recording())
    assert verdict.ok
    assert verdict.losses == ()


def test_packets_that_the_witness_missed_fail_the_run() -> None:
    run = Run(THREE)
    run.talk("chain-1", client(4000))
    verdict = judge(run.recording(dropped={"records_full": 2, "unparsed": 0}))
    assert verdict.failures == ("the witness missed 2 packets (2 records_full)",)


def test_an_nf_with_one_port_is_judged_by_the_sender() -> None:
    run = Run(THREE, one_port=("n1", "n2", "n3"))
    run.talk("chain-1", client(4000))
    assert judge(run.recording()).ok
    run.walk(2 if run.begin(client(4001)) == 2 else 0, client(4001), run.path((), forward=True))
    assert len(judge(run.recording()).bypassed) == 1


def test_traffic_of_the_nfs_alone_is_a_stray() -> None:
    run = Run(THREE)
    session = run.begin(client(4000), End(ip_address("10.0.0.9"), 53), 17)
    run.walk(session, client(4000), [("n1.ingress", OUT_OF)])
    verdict = judge(run.recording())
    assert not verdict.bypassed
    assert verdict.strays == 1
    assert verdict.sessions == 0


def test_where_nothing_was_seen_nothing_is_right() -> None:
    verdict = judge(Run(THREE).recording())
    assert verdict.failures == (
        "nothing to judge: no session was seen at an outer port of the load balancers",
    )
    assert verdict.sessions == 0
    assert verdict.shares() == {"chain-1": 0.0, "chain-2": 0.0, "chain-3": 0.0}


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        ({}, "names no chains"),
        ({"chain-1": ("n7",)}, "NF 'n7' of chain 'chain-1' has no tap at its ingress port"),
    ],
)
def test_chains_that_cannot_be_judged(chains: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        judge(Run(THREE).recording(), chains)


FAULTS = ("crossing", "bypass", "past", "loss", "none")


@st.composite
def planted(draw: st.DrawFn) -> tuple[Run, dict[str, set[int]]]:
    """A random run over random chains, and the sessions in which a fault was planted."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    chains = {
        f"chain-{c}": tuple(f"n{c}-{at}" for at in range(length)) for c, length in enumerate(lengths, 1)
    }
    nfs = [nf for names in chains.values() for nf in names]
    run = Run(chains, one_port=draw(st.lists(st.sampled_from(nfs), unique=True)))
    faults: dict[str, set[int]] = {name: set() for name in FAULTS}
    for port in range(draw(st.integers(0, 12))):
        a = client(5000 - port * 400, draw(st.sampled_from((1, 3))))  # sorts below and above the server
        chain = draw(st.sampled_from(sorted(chains)))
        sizes = draw(st.lists(st.integers(0, 3000), min_size=1, max_size=4))
        session = run.talk(chain, a, sizes=sizes, opener=draw(st.sampled_from(("client", "server"))))
        forward, size = draw(st.booleans()), draw(st.integers(0, 3000))
        sender = a if forward else SERVER
        fault = draw(st.sampled_from(FAULTS))
        faults[fault].add(session)
        if fault == "crossing":
            other = draw(st.sampled_from(sorted(set(chains) - {chain})))
            run.cross(session, sender, other, forward, size)
        elif fault == "bypass":
            run.walk(session, sender, run.path((), forward), size)
        elif fault == "past":
            gone = draw(st.integers(0, len(chains[chain]) - 1))
            left = [nf for at, nf in enumerate(chains[chain]) if at != gone]
            run.walk(session, sender, run.path(left if forward else left[::-1], forward), size)
        elif fault == "loss":
            wire = draw(st.integers(0, len(chains[chain])))
            run.cross(session, sender, chain, forward, size, stops=2 * wire + 1)
    return run, faults


@given(planted())
def test_exactly_the_planted_faults_are_found(case: tuple[Run, dict[str, set[int]]]) -> None:
    run, faults = case
    verdict = judge(run.recording())
    assert {finding.session for finding in verdict.violations} == faults["crossing"]
    assert {finding.session for finding in verdict.bypassed} == faults["bypass"] | faults["past"]
    lost = sum(loss.sessions for loss in verdict.losses)
    if not faults["past"]:  # what skips an NF also never reached it: that counts as lost on the way there
        assert lost == len(faults["loss"]) + len(faults["bypass"])
