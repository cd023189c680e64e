"""The rivals' tables and rules, and the figures of what each of them showed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catenary.errors import InvalidValue
from experiments.demo.figures import Series
from experiments.evaluation.parameters import Scale, read
from experiments.evaluation.repeat import Once, Table, figure, joined
from experiments.peers import flows, plot
from experiments.peers.alone import consistent, modulo, pack_table
from experiments.peers.balancing import CHAINS
from experiments.peers.outcome import STEPS, Outcome, figures, rebalances, shown
from experiments.peers.run import EVALUATION, PEERS, Sizes

ONE, TWO, THREE = CHAINS
PHASE_S = 10.0


def outcome(slow: str = "", **others: Any) -> Outcome:
    """A run in which each chain gives 30 Mbit/s from 1 s after its adding until 1 s after its removal, one of
    them, if told, half of it."""
    times = np.arange(0, len(STEPS) * PHASE_S + 0.1, 0.1)
    rates = {chain.name: np.zeros(len(times)) for chain in CHAINS}
    for number, step in enumerate(STEPS):
        after = times >= number * PHASE_S + (1.0 if number else 0.0)
        for chain in CHAINS:
            full = 15.0 if chain.name == slow else 30.0
            rates[chain.name][after] = full if chain in step.chains else 0.0
    octets = np.stack([np.cumsum(rate) * 0.1 / 8e-6 for rate in rates.values()], axis=1)
    values = {
        "series": Series(tuple(rates), times, octets),
        "moments": tuple(number * PHASE_S for number in range(len(STEPS) + 1)),
        "sessions": 1000,
        "broken": 0,
        "across": (100,) * 4,
        "requests": 900,
        "failed": 0,
        "witness_dropped": 0,
        "lost": 0.0,
        "least_share": 0.9,
        "attacks": 50,
        "missed": 0,
    }
    return Outcome(**{**values, **others})


def kept(seen: Outcome, *, crosses: bool | None, alerts: bool = False) -> set[str]:
    """The claims that a run breaks."""
    found = figures("x", seen)
    run = Once(found)
    broken = set()
    for item in shown("x", crosses=crosses, alerts=alerts):
        claim = item.claim
        if claim is not None and not claim.holds({item.key: figure(item, [run])}):
            broken.add(item.key)
    return broken


def test_a_consistent_table_moves_the_keys_of_the_removed_chain_only_and_modulo_moves_most() -> None:
    three, two = consistent([ONE, TWO, THREE]), consistent([ONE, THREE])
    stayed = three[three != TWO.slot] == two[three != TWO.slot]
    assert stayed.mean() > 0.95
    keys = np.arange(60_000)
    three, two = modulo([ONE, TWO, THREE])[keys % 3], modulo([ONE, THREE])[keys % 2]
    assert (three != two).mean() == pytest.approx(2 / 3, abs=0.01)


def test_a_table_is_packed_with_its_size_and_room_for_the_largest() -> None:
    packed = pack_table(modulo([ONE, THREE]))
    assert packed[:8] == b"\x02\0\0\0" + b"\0\0" + b"\x02\0"
    assert len(packed) == len(pack_table(consistent([ONE])))


def test_each_end_pushes_its_own_tags_and_gets_the_others() -> None:
    assert [line.partition("set_field:")[2].partition("-")[0] for line in flows.push(forward=True)] == [
        "4098",
        "4100",
        "4102",
    ]
    back = [line for line in flows.learn(forward=False) if "dl_vlan" in line]
    assert [line.partition("dl_vlan=")[2].partition(",")[0] for line in back] == ["2", "4", "6"]


def test_multipath_chooses_among_the_chains_that_there_are() -> None:
    first, *links = flows.multipath_choice([ONE, THREE])
    assert "hrw,2,0," in first
    assert [line.partition("actions=")[2] for line in links] == [
        "set_field:0->reg0,resubmit(,2)",
        "set_field:2->reg0,resubmit(,2)",
    ]


def test_what_comes_out_of_a_chain_is_learned_as_its_answer_will_come() -> None:
    learned = {line for line in flows.learn(forward=True) if "table=3," in line or "table=4," in line}
    assert Counter(line.split("table=")[1][0] for line in learned) == {"3": 4, "4": 4}
    answer = next(line for line in learned if "table=4,tcp6" in line)
    assert "NXM_NX_IPV6_SRC[]=NXM_NX_IPV6_DST[]" in answer
    assert "NXM_OF_TCP_DST[]=NXM_OF_TCP_SRC[]" in answer
    groups = list(flows.groups([ONE, TWO]))
    assert [line.count("bucket=") for line in groups] == [2, 2, 2, 2]


def test_figures_are_means_of_settled_phases_and_the_slowest_rebalance() -> None:
    found = figures("x", outcome())
    means = [found[f"x_throughput_{step.key}"] for step in STEPS]
    assert means == [pytest.approx(value, abs=0.1) for value in (30, 60, 90, 60, 30)]
    assert found["x_rebalance_s"] == pytest.approx(1.9, abs=0.2)
    assert found["x_rebalance_down_s"] == pytest.approx(1.5, abs=0.6)


def test_a_chain_that_lags_is_never_balanced() -> None:
    seen = outcome("chain-n2")
    assert rebalances(seen)[0] is None
    assert figures("x", seen)["x_rebalance_s"] is None


@pytest.mark.parametrize(
    ("wrong", "claim"),
    [
        ({"broken": 1}, "x_broken"),
        ({"failed": 1}, "x_failed"),
        ({"missed": 1}, "x_missed"),
        ({"attacks": 0}, "x_attacks"),
        ({"lost": 1.0}, "x_lost"),
        ({"least_share": 0.1}, "x_least_share"),
        ({"witness_dropped": 1}, "x_witness_dropped"),
        ({"across": (9, 9, 0, 9)}, "x_across"),
        ({"sessions": 0}, "x_sessions"),
    ],
)
def test_of_the_one_that_keeps_sessions_nothing_may_be_wrong(wrong: dict[str, Any], claim: str) -> None:
    assert kept(outcome(), crosses=False, alerts=True) == set()
    assert kept(outcome(**wrong), crosses=False, alerts=True) == {claim}


def test_a_rival_must_break_a_session_and_of_some_nothing_is_claimed() -> None:
    assert kept(outcome(), crosses=True) == {"x_broken"}
    assert kept(outcome(broken=1, failed=5, lost=2.0), crosses=True) == set()
    assert kept(outcome(), crosses=None) == kept(outcome(broken=9), crosses=None) == set()


def test_all_peers_are_drawn_in_one_picture_and_one_that_was_not_measured_is_left_out(tmp_path: Path) -> None:
    runs = {"catenary": outcome(), "hash": outcome("chain-n3", broken=70, missed=2)}
    drawn: dict[str, Table] = {}
    for peer, seen in runs.items():
        drawn |= plot.tables(peer, seen)
    plot.draw(
        tmp_path / "a.png", {name: peer.title for name, peer in PEERS.items()}, joined([Once({}, drawn)])
    )
    assert (tmp_path / "a.png").stat().st_size > 20_000


@pytest.mark.parametrize("scale", Scale)
def test_parameters_of_every_scale_are_read_and_every_figure_has_its_peer(scale: Scale) -> None:
    chosen = read(EVALUATION.folder / "parameters.toml", Sizes, scale)
    keys = {item.key for item in EVALUATION.shown(chosen)}
    assert {f"{peer}_broken" for peer in chosen.peers} <= keys
    assert len(keys) == len(EVALUATION.shown(chosen))


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(
        InvalidValue, match=r"parameter peers.*no peer 'nobody': there are catenary, algorithm1"
    ):
        read(EVALUATION.folder / "parameters.toml", Sizes, Scale.DEFAULT, ['peers=["nobody"]'])
