"""Where a session would go: what a master says of a key, against where it then places it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from catenary import wire
from catenary.chain import PairState
from catenary.classifier import Rule
from catenary.errors import Conflict
from catenary.session import End
from catenary.tags import TagPair
from lb_adapter.balancer import ChainTable
from lb_adapter.balancer import Pair as TableRow
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Slot
from lb_adapter.core.splices import entries_of
from lb_adapter.dataplane.base import TakeOver
from lb_adapter.forecasting import Place, forecast
from tests.unit.test_lb_master import FIRST, SECOND, Pair
from tests.vectors.acting import A, B, key_of, setup, tcp

KEY = key_of(tcp("S"))


def tags_of(pair: Pair, port: int) -> wire.Tags | None:
    """Where the master puts the client's SYN."""
    assert pair.plane.splice is not None
    verdict, _ = pair.plane.splice.outer(tcp("S", port=port), pair.now)
    if verdict.slot is None:
        return None
    row = pair.plane.splice.setup.slots[verdict.slot]
    return wire.Tags(forward=row.forward, reverse=row.reverse)


def of_port(port: int) -> str:
    return key_of(tcp("S", port=port)).text


def two(**weights: int) -> Pair:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    if weights:
        rows = [wire.PairAdd(**FIRST, weight=weights["one"]), wire.PairAdd(**SECOND, weight=weights["two"])]
        pair.master.rebalance(wire.Rebalance(weights=rows))
    return pair


def test_each_of_many_sessions_goes_where_it_was_said_to_go() -> None:
    pair = two(one=100, two=30)
    said, weighed = [], 0
    for port in range(1000, 1300):
        told = pair.master.forecast(of_port(port))
        weighed += len(told.candidates) == 2
        assert told.tags == tags_of(pair, port), told
        said.append(told.tags)
    assert weighed > 50
    assert {str(tags) for tags in said} == {str(wire.Tags(**FIRST)), str(wire.Tags(**SECOND))}


def test_the_loads_are_those_of_the_moment() -> None:
    pair = two()
    told = next(
        told
        for port in range(1000, 1100)
        if len((told := pair.master.forecast(of_port(port))).candidates) == 2
    )
    first, second = told.candidates
    assert (first.live, second.live, told.tags) == (0, 0, wire.Tags(**first.model_dump(include=FIRST)))
    slot = next(p.slot for p in pair.master.table.pairs if p.tags == first.pair())
    assert pair.plane.splice is not None
    pair.plane.splice.loads[slot] += 1
    again = pair.master.forecast(told.key)
    assert [item.live for item in again.candidates] == [1, 0]
    assert again.tags == wire.Tags(**second.model_dump(include=FIRST))


def test_in_overflow_the_plain_hash_alone_decides() -> None:
    pair = two()
    assert pair.plane.splice is not None
    pair.plane.splice.overflow = True
    for port in range(1000, 1050):
        told = pair.master.forecast(of_port(port))
        assert (told.overflow, len(told.candidates)) == (True, 1)
        assert told.tags == tags_of(pair, port)


def test_what_takes_no_session_is_no_candidate() -> None:
    pair = two(one=0, two=100)
    for port in range(1000, 1050):
        told = pair.master.forecast(of_port(port))
        assert told.tags == wire.Tags(**SECOND)
        assert told.tags == tags_of(pair, port)
    pair.master.change(wire.Change(remove=[wire.Tags(**SECOND)]))
    told = pair.master.forecast(KEY.text)
    assert (told.tags, told.reason) == (None, "all active chains have weight 0: uncordon one")
    assert tags_of(pair, 2000) is None
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    assert pair.master.forecast(KEY.text).reason == "no chain is active"


def test_a_master_that_copies_its_slaves_table_places_nothing() -> None:
    pair = two()
    pair.plane.set_take_over(TakeOver.HOLD)
    told = pair.master.forecast(KEY.text)
    assert told.tags is None
    assert told.reason is not None
    assert "until it has copied its slave's" in told.reason
    assert tags_of(pair, 1000) is None


def test_where_keys_are_coarser_there_is_no_single_session() -> None:
    pair = Pair()
    object.__setattr__(pair.master._config, "affinity", "client")
    with pytest.raises(Conflict, match="keeps sessions together by client"):
        pair.master.forecast(KEY.text)


PAST = TagPair(8, 9)
CLIENTS = Rule(0, client=ip_network("10.0.0.1/32"))
GRE, ECHO = IP(src=A, dst=B, proto=47) / Raw(b"x" * 8), IP(src=A, dst=B) / ICMP(id=7)
HIGH = IP(src=A, dst=B) / TCP(sport=80, dport=8080, flags="S")
LOW = IP(src=A, dst=B) / TCP(sport=8080, dport=80, flags="S")
ASKED = ARP(psrc=A, pdst="10.0.0.9")
SOLICITED = IPv6(src="fd00::1", dst="fd00::2") / ICMPv6ND_NS(tgt="fd00::2")


def end_of(address: str, port: int) -> End:
    return End(ip_address(address), port)


def passing(*states: PairState) -> tuple[Place, Splice]:
    """A pair a state, and the bypass, as a forecast sees them and as the oracle of the data plane does."""
    rows = [TableRow(TagPair(2, 3), n, 1, 100, 100, state, 0.0) for n, state in enumerate(states)]
    table = ChainTable(
        7, (*rows, TableRow(PAST, 5, 1, 0, 0, PairState.ACTIVE, 0.0, bypass=True)), rules=(CLIENTS,)
    )
    entries = entries_of(tuple(table.placement().items()), 509)
    slots = {row.slot: Slot(*row.tags.ids, weight=row.weight, placed=row.placed) for row in table.pairs}
    made = setup(
        slots=slots, entries=entries, designated=table.designated, rules=table.rules, bypass=table.bypass
    )
    return Place(table, entries, lambda slot: 0, "p2c"), Splice(made)


@pytest.mark.parametrize(
    ("packet", "client"),
    [(LOW, "10.0.0.1:8080"), (ECHO, "10.0.0.1:7"), (GRE, "10.0.0.1:0"), (ASKED, None), (SOLICITED, None)],
)
@pytest.mark.parametrize("chains", [(PairState.ACTIVE,), ()], ids=["chain", "none"])
def test_with_a_classifier_it_is_judged_as_the_data_plane_judges_it(
    packet: Packet, client: str | None, chains: tuple[PairState, ...]
) -> None:
    place, splice = passing(*chains)
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)
    told = forecast(key_of(frame), place)
    verdict, _ = splice.outer(frame, 0)
    assert (told.tags and told.tags.forward) == (verdict.vid or None)
    assert told.client == client


def test_where_the_other_end_would_be_judged_otherwise_it_says_whom_it_takes_for_the_client() -> None:
    place, splice = passing(PairState.ACTIVE)
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / HIGH)
    told = forecast(key_of(frame), place)
    assert (told.tags, told.client) == (wire.Tags.of(PAST), "10.0.0.2:8080")
    assert splice.outer(frame, 0)[0].vid == 2, "the client was the other one"
    said = forecast(key_of(frame), place, end_of(A, 80))
    assert (said.tags and said.tags.forward, said.client) == (2, "10.0.0.1:80"), "who asks may know"
    assert forecast(key_of(frame), place, end_of(B, 8080)).tags == wire.Tags.of(PAST)
    free = Place(ChainTable(7, place.table.pairs), place.entries, place.live, "p2c")
    assert forecast(key_of(frame), free).client is None


@given(st.lists(st.integers(0, 3), min_size=2, max_size=2), st.sampled_from(("maglev", "p2c")))
def test_what_is_chosen_is_a_candidate_with_the_least_for_its_weight(live: list[int], policy: str) -> None:
    rows = tuple(
        TableRow(TagPair(2 * n, 2 * n + 1), n, 1, 100, 50 * n, PairState.ACTIVE, 0.0) for n in (1, 2)
    )
    table = ChainTable(7, rows)
    loads = dict(zip((1, 2), live, strict=True))
    place = Place(table, entries_of(tuple(table.placement().items()), 509), loads.__getitem__, policy)  # type: ignore[arg-type]
    told = forecast(KEY, place)
    assert told.epoch == 7
    assert told.tags is not None
    (chosen,) = [item for item in told.candidates if item.pair() == told.tags.pair()]
    assert all(chosen.live * other.weight <= other.live * chosen.weight for other in told.candidates)
