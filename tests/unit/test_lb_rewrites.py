"""A pair around chains that translate addresses: what either side loses, the other kept (affinity rule 2)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict, Unavailable
from catenary.session import Timeouts
from catenary.tags import TagPair
from experiments.chaos.plane import OraclePlane
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Verdict
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from tests.vectors.acting import with_tag

CHAINS = (TagPair(2, 3), TagPair(4, 5))
POOL = {2: "10.9.0.2", 4: "10.9.0.4"}
"""What the NF of each chain, by its forward tag, makes of the client's address."""
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
TIMES = Timeouts(tcp_established=60, lease=4, transit=1)
ASK, TICK = 4094, 250


def frame(source: str, target: str, port: int, flags: str) -> bytes:
    ends = {"sport": 80, "dport": port} if source == SERVER else {"sport": port, "dport": 80}
    return bytes(Ether() / IP(src=source, dst=target) / TCP(flags=flags, **ends))


class Rewriting:
    """Master, slave and a source NAT in each chain; packets cross at once. `now` is in ms."""

    def __init__(self, *, rewrites: bool = True) -> None:
        self.now = 1000
        self.rewrites = rewrites
        self.lose_slave()
        self.lose_master()
        self.go_on(500)
        add = [wire.PairAdd(forward=tags.forward, reverse=tags.reverse) for tags in CHAINS]
        self.master.change(wire.Change(add=add))

    def lose_slave(self) -> None:
        config = SpliceConfig("slave", "outer", "inner", None, TIMES)
        self.slave_plane = OraclePlane(lambda: self.now, Splice, 1000)
        self.slave = Slave(self.slave_plane, config, "main", clock=self._clock)
        self.slave.url = "here"  # type: ignore[attr-defined]
        if hasattr(self, "master"):
            self.master._peer = self.slave  # type: ignore[assignment]

    def lose_master(self) -> None:
        config = SpliceConfig("master", "outer", "inner", ASK, TIMES, rewrites=self.rewrites)
        self.plane = OraclePlane(lambda: self.now, Splice, 1000)
        self.master = Master(self.plane, config, "main", self.slave, clock=self._clock)  # type: ignore[arg-type]

    def _clock(self) -> float:
        return self.now / 1000

    def go_on(self, ms: int) -> None:
        for _ in range(0, ms, TICK):
            self.now += TICK
            self.master.tick()
            self.slave.tick()

    def client(self, port: int, flags: str = "A") -> int:
        """A packet of a client goes to the server; the forward tag of its chain."""
        verdict, _ = _splice(self.plane).outer(frame(CLIENT, SERVER, port, flags), self.now)
        assert verdict.reason == "to_chain", verdict
        translated = frame(POOL[verdict.vid], SERVER, port, flags)
        out, _ = _splice(self.slave_plane).inner(with_tag(translated, verdict.vid), self.now)
        assert out.port == "outer"
        return verdict.vid

    def server(self, forward: int, port: int, flags: str = "A") -> bool:
        """Does the server's answer to what came out of that chain's NF come back to it, and to the client?"""
        if self.enters(forward, port, flags) != forward + 1:
            return False
        back = with_tag(frame(SERVER, CLIENT, port, flags), forward + 1)
        return _splice(self.plane).inner(back, self.now)[0].port == "outer"

    def enters(self, forward: int, port: int, flags: str = "A") -> int | None:
        """The reverse tag by which the server's answer to that chain's NF goes into a chain, if it does."""
        reply = frame(SERVER, POOL[forward], port, flags)
        verdict, _ = _splice(self.slave_plane).outer(reply, self.now)
        if verdict.reason in ("ask_sent", "hint_sent"):
            verdict = self._ask(reply, verdict)
        return verdict.vid if verdict.reason == "to_chain" else None

    def _ask(self, reply: bytes, verdict: Verdict) -> Verdict:
        answered, _ = _splice(self.plane).inner(with_tag(reply, verdict.vid), self.now)
        if answered.reason != "ask_answered":
            return answered
        return _splice(self.slave_plane).inner(with_tag(reply, answered.vid), self.now)[0]

    def open(self, ports: range) -> dict[int, int]:
        chains = {port: self.client(port, "S") for port in ports}
        for port, chain in chains.items():
            assert self.server(chain, port, "SA")
            self.client(port)
        return chains

    def lost(self, chains: dict[int, int]) -> int:
        """Of these sessions, those that go on with a packet of the server or of the client and don't."""
        return sum(
            not self.server(chain, port) or self.client(port) != chain for port, chain in chains.items()
        )


def _splice(plane: OraclePlane) -> Splice:
    assert plane.splice is not None
    return plane.splice


def test_a_slave_that_lost_its_table_asks_and_is_told_the_chain_that_made_the_key() -> None:
    pair = Rewriting()
    chains = pair.open(range(1000, 1040))
    assert set(chains.values()) == {2, 4}
    pair.go_on(1000)
    pair.lose_slave()
    pair.go_on(500)
    assert pair.lost(chains) == 0


def test_without_the_exchange_they_are_lost() -> None:
    pair = Rewriting(rewrites=False)
    chains = pair.open(range(1000, 1040))
    pair.go_on(1000)
    pair.lose_slave()
    pair.go_on(500)
    assert pair.lost(chains) > 0


def test_either_side_lost_its_table_after_the_other_one() -> None:
    pair = Rewriting()
    chains = pair.open(range(1000, 1040))
    pair.go_on(1000)
    pair.lose_slave()
    pair.go_on(2000)
    pair.lose_master()
    pair.go_on(5000)
    assert pair.lost(chains) == 0
    pair.go_on(1000)
    pair.lose_slave()
    pair.go_on(2000)
    assert pair.lost(chains) == 0
    for plane in (pair.plane, pair.slave_plane):
        assert plane.counters()["affinity_mismatch"] == 0


def test_a_session_that_talked_after_the_master_lost_its_table_is_kept_as_long() -> None:
    """The master takes the key that it copied for its own, and never sees its packets."""
    pair = Rewriting()
    chains = pair.open(range(1000, 1040))
    pair.go_on(1000)
    pair.lose_master()
    pair.go_on(40_000)
    for port, chain in chains.items():
        assert pair.client(port) == chain
    pair.go_on(40_000)
    pair.lose_slave()
    pair.go_on(500)
    assert pair.lost(chains) == 0


def test_a_session_that_rests_is_kept_as_long_as_promised() -> None:
    pair = Rewriting()
    chains = pair.open(range(1000, 1020))
    pair.go_on(round(TIMES.tcp_established * 1000))
    pair.lose_slave()
    pair.go_on(1000)
    assert pair.lost(chains) == 0


def test_what_belongs_to_the_slave_holds_up_no_removal() -> None:
    """The server resets its sessions: the master sees that, the slave's keys still look established."""
    pair = Rewriting()
    chains = pair.open(range(1000, 1040))
    pair.go_on(1000)
    for port, chain in chains.items():
        assert pair.server(chain, port, "R")
    assert pair.master.stats().pins > 2 * len(chains) - 5
    pair.master.change(wire.Change(remove=[wire.Tags.of(tags) for tags in CHAINS]))
    # closing, lease, transit, two more for late packets; then two for each of the two steps.
    held = TIMES.tcp_closing + TIMES.lease + 2 * TIMES.transit + 6 * TIMES.transit
    pair.go_on(round(held * 1000) + 1000)
    assert {row.state for row in pair.master.pairs().pairs} == {PairState.DRAINED}


def test_nothing_crosses_a_drained_chain() -> None:
    """The NAT forgot the sessions; the server goes on sending, on keys that only the slave knows."""
    pair = Rewriting()
    chains = pair.open(range(1000, 1010))
    pair.go_on(1000)
    for port, chain in chains.items():
        assert pair.server(chain, port, "R")
    pair.master.change(wire.Change(remove=[wire.Tags.of(tags) for tags in CHAINS]))
    for _ in range(60):
        pair.go_on(1000)
        crossed = [port for port, chain in chains.items() if pair.enters(chain, port)]
        if {row.state for row in pair.master.pairs().pairs} == {PairState.DRAINED}:
            assert crossed == []
    assert {row.state for row in pair.master.pairs().pairs} == {PairState.DRAINED}
    assert _splice(pair.plane).counts["drop_closed"] > 0


def test_what_is_under_way_at_a_deadline_is_ended_by_the_next_call() -> None:
    pair = Rewriting()
    ((port, chain),) = pair.open(range(1000, 1001)).items()
    tags = next(tags for tags in CHAINS if tags.forward == chain)
    pair.go_on(1000)
    pair.master.change(wire.Change(remove=[wire.Tags.of(tags)]))
    verdict, _ = _splice(pair.plane).outer(frame(CLIENT, SERVER, port, "A"), pair.now)
    pair.master.end_sessions(tags, "reset")
    late = with_tag(frame(POOL[chain], SERVER, port, "A"), verdict.vid)
    _splice(pair.slave_plane).inner(late, pair.now)
    for _ in range(20):
        pair.go_on(1000)
        assert pair.master.end_sessions(tags, "reset").sessions == 0
        assert pair.enters(chain, port) is None


def test_no_session_of_theirs_is_moved() -> None:
    pair = Rewriting()
    ((port, chain),) = pair.open(range(1000, 1001)).items()
    tags = next(tags for tags in CHAINS if tags.forward == chain)
    key = f"tcp {CLIENT}:{port} {SERVER}:80"
    with pytest.raises(Conflict, match="a session can't go on in another: reset it instead"):
        pair.master.end_session(wire.SessionOrder(key=key, mode="move"))
    with pytest.raises(Conflict, match="leave out --move-idle"):
        pair.master.rebalance(wire.Rebalance(move_idle=300))
    pair.master.change(wire.Change(remove=[wire.Tags.of(tags)]))
    with pytest.raises(Conflict, match=r"reset them instead \(--then reset\)"):
        pair.master.end_sessions(tags, "rebalance")
    assert pair.server(chain, port)


def test_health_tells_what_a_loss_would_lose() -> None:
    pair = Rewriting()
    pair.go_on(1000)
    lag = pair.master.health().peer.lag
    assert lag is not None
    assert lag <= 0.5
    assert Rewriting(rewrites=False).master.health().peer.lag is None


class Rewritten(RuleBasedStateMachine):
    """Sessions, changes and losses in any order; only what is younger than the last exchange may be lost."""

    @initialize()
    def begin(self) -> None:
        self.pair = Rewriting()
        self.sessions: dict[int, tuple[int, int]] = {}
        self.port = 1000

    def _states(self) -> dict[int, PairState]:
        return {row.forward: row.state for row in self.pair.master.pairs().pairs}

    def _live(self) -> list[int]:
        """Ports of sessions that have not rested for longer than is promised."""
        rested = self.pair.now - round(TIMES.tcp_established * 1000) + 1000
        self.sessions = {port: row for port, row in self.sessions.items() if row[1] > rested}
        return sorted(self.sessions)

    @precondition(lambda self: PairState.ACTIVE in self._states().values())
    @rule()
    def open(self) -> None:
        self.port += 1
        (chain,) = self.pair.open(range(self.port, self.port + 1)).values()
        self.sessions[self.port] = chain, self.pair.now

    @precondition(lambda self: self._live())
    @rule(data=st.data(), server_first=st.booleans())
    def talk(self, data: st.DataObject, server_first: bool) -> None:
        port = data.draw(st.sampled_from(self._live()))
        chain, _ = self.sessions[port]
        if server_first:
            assert self.pair.server(chain, port), "the server's answer came to another NAT"
        assert self.pair.client(port) == chain, "the client's packet came to another NAT"
        self.sessions[port] = chain, self.pair.now

    @precondition(lambda self: self._live())
    @rule(data=st.data(), flag=st.sampled_from(("FA", "R")))
    def close(self, data: st.DataObject, flag: str) -> None:
        port = data.draw(st.sampled_from(self._live()))
        chain, _ = self.sessions.pop(port)
        assert self.pair.server(chain, port, flag)
        self.pair.client(port, flag)

    @rule(ms=st.sampled_from((250, 1000, 5000, 20000)))
    def wait(self, ms: int) -> None:
        self.pair.go_on(ms)

    @rule(chain=st.sampled_from(CHAINS))
    def change(self, chain: TagPair) -> None:
        tags = wire.Tags.of(chain)
        verbs = {
            PairState.ACTIVE: {"remove": [tags]},
            PairState.COOLING: {"cancel": [tags]},
            PairState.DRAINED: {"forget": [tags]},
            None: {"add": [wire.PairAdd(forward=chain.forward, reverse=chain.reverse)]},
        }
        request = verbs.get(self._states().get(chain.forward))
        if request is not None:
            with suppress(Unavailable):  # its IDs rest
                self.pair.master.change(wire.Change.model_validate(request))

    @rule(who=st.sampled_from(("slave", "master")))
    def lose(self, who: str) -> None:
        self.pair.go_on(1000)
        self.pair.lose_slave() if who == "slave" else self.pair.lose_master()
        self.pair.go_on(3000)

    @invariant()
    def nothing_contradicts_a_pin(self) -> None:
        for plane in (self.pair.plane, self.pair.slave_plane):
            assert plane.counters()["affinity_mismatch"] == 0


TestRewritten = Rewritten.TestCase
TestRewritten.settings = settings(max_examples=60, stateful_step_count=40)
