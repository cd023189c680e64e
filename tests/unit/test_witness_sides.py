"""Chains that rewrite: sessions are keyed per side of each NF that changes keys, and each side is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import pytest

from catenary.errors import InvalidValue
from catenary.session import End
from tests.unit.witness_runs import SERVER, Run, client
from witness.checker import judge
from witness.recording import INTO, OUT_OF

NAT = {"chain-1": ("f1", "n1", "i1"), "chain-2": ("f2", "n2", "i2")}
ONE = {"chain-1": ("n1",), "chain-2": ("n2",)}
REWRITE = ("chain-1", "chain-2")
NFS = ("n1", "n2")


def mapped(number: int) -> End:
    """What a NAT makes of a client."""
    return End(ip_address("192.0.2.1"), 40000 + number)


def translated(
    run: Run, a: End, there: str, back: str | None = None, to: End | None = None
) -> tuple[int, int]:
    """A session through a NAT: its numbers with the client's key, and with that which the server sees."""
    to = to or mapped(a.port)
    near, far = run.begin(a), run.begin(to)
    for chain, forward in ((there, True), (back or there, False)):
        nfs = run.chains[chain] if forward else tuple(reversed(run.chains[chain]))
        stops = run.path(nfs, forward)
        at = next(n for n, (name, _) in enumerate(stops) if name.startswith("n")) + 1
        halves = ((near, a, stops[:at]), (far, to, stops[at:]))
        if not forward:
            halves = ((far, SERVER, stops[:at]), (near, SERVER, stops[at:]))
        for session, sender, part in halves:
            run.walk(session, sender, part, 100)
    return near, far


@pytest.mark.parametrize(("chains", "names"), [(NAT, NFS), (ONE, NFS), (ONE, REWRITE)])
@pytest.mark.parametrize("one_port", [(), NFS])
@pytest.mark.parametrize("singly", [False, True])
def test_chains_that_translate_are_kept(
    chains: Mapping[str, Sequence[str]], one_port: tuple[str, ...], singly: bool, names: tuple[str, ...]
) -> None:
    run = Run(chains, one_port=one_port, singly=singly)
    for port in range(10):
        translated(run, client(4000 + port), f"chain-{port % 2 + 1}")
    verdict = judge(run.recording(), rewrites=names)
    assert verdict.ok
    assert verdict.sessions == 20
    assert verdict.server_opened == 0
    assert verdict.losses == (), "nothing is lost inside a NAT"
    assert verdict.new_sessions() == {"chain-1": 10, "chain-2": 10}


@pytest.mark.parametrize("one_port", [(), NFS])
def test_a_reply_through_the_nat_of_another_chain_is_a_violation(one_port: tuple[str, ...]) -> None:
    run = Run(NAT, one_port=one_port)
    translated(run, client(4000), "chain-1")
    translated(run, client(4001), "chain-1", back="chain-2")
    verdict = judge(run.recording(), rewrites=NFS)
    assert [finding.name for finding in verdict.violations] == [
        "10.0.0.1:4001 <-> 10.0.0.2:80/tcp (client side)",
        "10.0.0.2:80 <-> 192.0.2.1:44001/tcp (server side)",
    ]
    assert verdict.bypassed == ()


def test_a_client_packet_through_another_chain_is_a_violation() -> None:
    run = Run(ONE)
    near, _ = translated(run, client(4000), "chain-1")
    run.cross(near, client(4000), "chain-2", forward=True, stops=2)
    [finding] = judge(run.recording(), rewrites=NFS).violations
    assert (finding.side, finding.key) == ("client side", run.key(near))


@pytest.mark.parametrize("rewrites", [(), NFS])
def test_one_key_on_both_sides_is_two_sessions(rewrites: tuple[str, ...]) -> None:
    """The NAT of chain-2 gives a session the very key that another client has in chain-1."""
    run = Run(ONE)
    a, b = client(4000), client(5000)
    near, _ = translated(run, a, "chain-1", to=b)
    other, far = run.begin(b), near  # the server side of b's session bears a's key
    for stops, session, sender in (
        ([("l1.outer", INTO), ("n2.ingress", INTO)], other, b),
        ([("n2.egress", OUT_OF), ("l2.outer", OUT_OF)], far, a),
    ):
        run.walk(session, sender, stops, 50)
    verdict = judge(run.recording(), rewrites=rewrites)
    assert bool(verdict.violations) == (not rewrites), "what tells them apart is the side"
    if rewrites:
        assert verdict.ok


def test_a_transparent_proxy_keeps_the_key_and_is_judged_on_both_sides() -> None:
    run = Run(ONE)
    session = run.talk("chain-1", client(4000))
    run.cross(run.begin(client(4001)), client(4001), "chain-1", forward=True)
    verdict = judge(run.recording(), rewrites=NFS)
    assert verdict.ok
    assert verdict.sessions == 4
    run.cross(session, SERVER, "chain-2", forward=False, stops=2)
    [finding] = judge(run.recording(), rewrites=NFS).violations
    assert finding.side == "server side"


def test_past_a_nat_is_a_bypass() -> None:
    run = Run(ONE)
    translated(run, client(4000), "chain-1")
    session = run.begin(client(4001))
    run.walk(session, client(4001), run.path((), forward=True), 10)
    [finding] = judge(run.recording(), rewrites=NFS).bypassed
    assert finding.name == "10.0.0.1:4001 <-> 10.0.0.2:80/tcp (server side)"


def test_two_nats_in_a_row_have_a_side_between_them() -> None:
    chains = {"chain-1": ("n1", "m1"), "chain-2": ("n2", "m2")}
    run = Run(chains)
    a, middle, far = client(4000), mapped(1), mapped(2)
    inner = run.begin(middle)
    run.walk(run.begin(a), a, [("l1.outer", INTO), ("n1.ingress", INTO)])
    run.walk(inner, middle, [("n1.egress", OUT_OF), ("m1.ingress", INTO)])
    run.walk(run.begin(far), far, [("m1.egress", OUT_OF), ("l2.outer", OUT_OF)])
    assert judge(run.recording(), rewrites=("chain-1", "chain-2")).ok
    run.walk(inner, SERVER, [("m2.ingress", OUT_OF)])
    [finding] = judge(run.recording(), rewrites=("chain-1", "chain-2")).violations
    assert (finding.side, finding.key) == ("inside the chain", run.key(inner))


@pytest.mark.parametrize(
    ("chains", "rewrites", "message"),
    [
        (
            ONE,
            ("n7",),
            "'n7' rewrites, but is neither a chain nor an NF of one: use chain-1, chain-2, n1, n2",
        ),
        (ONE, ("n1",), "chain 'chain-2' has no NF that rewrites, but others have"),
        (
            {"chain-1": ("n1", "s"), "chain-2": ("s", "n2")},
            NFS,
            "NF 's' is on different sides of those that rewrite in different chains",
        ),
    ],
)
def test_what_cannot_be_keyed(
    chains: dict[str, tuple[str, ...]], rewrites: tuple[str, ...], message: str
) -> None:
    run = Run(chains)
    run.cross(run.begin(client(4000)), client(4000), "chain-1", forward=True)
    with pytest.raises(InvalidValue, match=message):
        judge(run.recording(), rewrites=rewrites)
