"""The master's daemon: the one writer of the chain set, with its slave beside it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from catenary import wire
from catenary.chain import PairState
from catenary.errors import CatenaryError, Conflict, InvalidValue, NotFound, Unavailable
from catenary.explanations import SessionForecast
from catenary.session import Directed
from catenary.tags import TagPair
from lb_adapter import balancer, copies, forecasting, peering, talk
from lb_adapter.balancer import ChainTable
from lb_adapter.capacity import CapacityWatch
from lb_adapter.core.setup import Order
from lb_adapter.daemon import IDLE_TICK, from_wire, log, to_wire, told
from lb_adapter.dataplane.base import DataPlane, Load, SpliceConfig, TakeOver
from lb_adapter.pacing import ALWAYS, HASTE, SHARE, Pace
from lb_adapter.places import Peer, Places
from lb_adapter.probes import Probes
from lb_adapter.sessions import mirrored


class Master(Probes):
    """The one writer. It carries out what `peering` decides, which passes every change to its slave first."""

    def __init__(
        self,
        plane: DataPlane,
        config: SpliceConfig,
        segment: str,
        peer: Peer,
        *,
        slow_start: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(plane, config, segment, clock=clock)
        self._peer = peer
        self._turn = threading.RLock()
        self._capacity = CapacityWatch(plane, config.timeouts, self._clock())
        self._slow_start = slow_start
        self._leader = self._at_start()

    def _at_start(self) -> peering.Leader:
        """On from where the data plane is. One without a chain set has no sessions either: its slave may."""
        now = self._clock()
        table = balancer.adopted(self._plane.adopt(), now, self._slow_start)
        if not table.epoch:
            self._plane.set_take_over(TakeOver.HOLD)
        state = self._plane.take_over()
        return peering.Leader(
            self.instance,
            table,
            self._config.timeouts.transit,
            self._config.timeouts.longest_hold,
            rewrites=self._config.rewrites,
            hold=now if state is TakeOver.HOLD else None,
            watch=now if state is TakeOver.WATCH else None,
        )

    @property
    def table(self) -> ChainTable:
        return self._leader.table

    @property
    def _ask_id(self) -> int:
        assert self._config.ask_id is not None, "a master is made with an ask ID"
        return self._config.ask_id

    def _attached(self) -> None:
        """From now on nothing passes the lost table: what it let through is under way for D at most."""
        if self._leader.hold is not None:
            self._leader = replace(self._leader, hold=self._clock())

    def _busy(self) -> bool:
        return self._leader.busy or self._capacity.urgent or bool(self._slow_start and self.table.warming())

    def _share(self) -> float:
        if self._capacity.urgent:
            return ALWAYS
        return HASTE if self.table.cooling_down() else SHARE

    def tick(self) -> bool:
        walked = super().tick()
        with self._lock:
            pins = sum(load.entries for load in self._load.values()) if walked else None
            ahead = max(IDLE_TICK, self._pace.pause(SHARE))
            self._capacity.look(pins, self._counters, self._clock(), ahead)
        self._drive(talk.Ticked(self._pins() if walked else None))
        if self._leader.connected:
            self._act_on_health()
        if self._leader.connected and self._slow_start and not self._plane.overflow():
            with self._turn:
                table = balancer.warmed(self.table, self._clock(), self._slow_start)
                if table != self.table:
                    self._propose(table)
        return walked

    def _pins(self) -> dict[int, int]:
        return {slot: load.pins for slot, load in self._load.items()}

    # -- the pair's protocol -------------------------------------------------------------------------------

    def _drive(self, said: talk.Said) -> Exception | None:
        """Have the protocol go on until there is nothing more to do; the first thing that failed."""
        failure: Exception | None = None
        with self._turn:
            waiting = deque([said])
            while waiting:
                before = self._leader
                with self._lock:
                    self._leader, acts = peering.step(before, waiting.popleft(), self._clock())
                self._tell_log(before)
                for act in acts:
                    try:
                        answer = self._carry_out(act)
                    except Exception as error:  # noqa: BLE001 - else what was proposed would be so for ever
                        failure = failure or error
                        answer = talk.Failed(told(error))
                    if answer is not None:
                        waiting.append(answer)
        return failure

    def _tell_log(self, before: peering.Leader) -> None:
        now = self._leader
        if before.connected and not now.connected:
            log.warning("slave lost", url=self._peer.url, reason=now.reason)
        elif now.connected and not before.connected:
            log.info("slave follows", url=self._peer.url, instance=now.slave, epoch=now.table.epoch)
            self._prober.acquit()
        elif now.reason != before.reason:
            log.warning("no slave", url=self._peer.url, reason=now.reason)
        if now.connected and now.table is not before.table:
            pairs = [f"{p.tags} {p.state}" for p in now.table.pairs]
            log.info("chain set", epoch=now.table.epoch, pairs=pairs)

    def _carry_out(self, act: talk.Act) -> talk.Said | None:
        match act:
            case talk.Look():
                return self._look()
            case talk.FetchChains():
                return talk.Chains(from_wire(self._peer.pairs(), self._clock()))
            case talk.FetchPins():
                return self._copy_pins(act.since_ms)
            case talk.Exchange():
                return self._exchange(act)
            case talk.Greet():
                return self._greet(act)
            case talk.Tell():
                return self._tell(act)
            case talk.Adopt():
                self._adopt(act)
                return talk.Adopted()
            case talk.Count():
                stats = self._peer.stats()
                leases = {row.slot: row.sessions for row in stats.pairs}
                return talk.Counted(stats.epoch, self._pins(), leases)
            case talk.SetTakeOver():
                with self._lock:
                    self._plane.set_take_over(act.state)
                log.info("take-over", state=act.state.name.lower())
                return None

    def _look(self) -> talk.Seen:
        """Whoever is no slave of ours is asked nothing: its chains and sessions are not ours to copy."""
        health = self._peer.health()
        if (health.role, health.segment) != ("slave", self._segment):
            raise Conflict(
                f"{self._peer.url} is the {health.role} of segment {health.segment!r}, no slave of "
                f"{self._segment!r}: check --peer here, and --segment of both"
            )
        if health.standby is not None and health.standby.state == "following":
            raise Conflict(f"{self._peer.url} stands by for {health.standby.of}: see --peer here")
        terms = health.term, health.slave_term
        return talk.Seen(health.instance, health.epoch, health.peer.instance, *terms, health.clock_ms)

    def _greet(self, act: talk.Greet) -> talk.Accepted:
        greeting = wire.Handshake(
            protocol=wire.PROTOCOL,
            term=self._leader.term,
            slave_term=self._leader.slave_term,
            master_id=self.instance,
            slave_id=act.slave,
            ask_id=self._ask_id,
            affinity=self._config.affinity,
            timeouts=wire.TimeoutsModel(**asdict(self._config.timeouts)),
            chain_set=to_wire(self._segment, act.table),
        )
        reply, room = self._peer.handshake(greeting), self._plane.capacity
        if reply.capacity > room:
            log.warning("a copy of the slave's larger table would not fit", slave=reply.capacity, here=room)
        return talk.Accepted(reply.slave_id, reply.epoch)

    def _tell(self, act: talk.Tell) -> talk.Accepted:
        chains = to_wire(self._segment, act.table)
        with self._unrefused():
            self._peer.put_chain_set(wire.ChainSetUpdate(master_id=self.instance, chain_set=chains))
        return talk.Accepted(self._leader.slave or "", act.table.epoch)

    def _adopt(self, act: talk.Adopt) -> None:
        """Overflow may have begun. From the last look at it to the switch nothing is placed without a pin."""
        with self._lock:
            self._prepare(act.table)  # it configures, which would end `refusing`
            if act.forced or not self._moves(act.table):
                self._plane.apply(act.table)
            else:
                with self._plane.refusing():
                    self._check_overflow()
                    self._plane.apply(act.table)
        self._wake.set()

    def _copy_pins(self, since_ms: int | None) -> talk.Copied:
        generations = {pair.slot: pair.generation for pair in self.table.pairs}
        done, left_out = copies.copy(self._plane, self._lock, self._peer, since_ms, generations)
        self._pace = Pace()  # what was counted last was another table
        # What was seen between both copies counts twice: rather too many than too few.
        self._left_out = left_out + (0 if since_ms is None else self._left_out)
        return done

    def _exchange(self, act: talk.Exchange) -> talk.Exchanged:
        return copies.exchange(self._plane, self._lock, self._peer, act, self.instance, self.table.epoch)

    def _settled_epoch(self, patience: float) -> int | None:
        if not self._turn.acquire(timeout=patience):
            return None
        try:
            return self.table.epoch
        finally:
            self._turn.release()

    def _propose(self, table: ChainTable, *, force: bool = False) -> None:
        """Make it the chain set of the pair, or raise why it is not."""
        if not self._leader.connected:
            raise Unavailable(f"no handshake with the slave at {self._peer.url}: {self._leader.reason}")
        if not force and self._moves(table):
            self._check_overflow()
        error = self._drive(talk.Propose(table, force))
        if isinstance(error, Conflict):
            raise error
        if error is not None:
            raise Unavailable(f"the slave did not take the change: {error}") from error

    def _tell_slave(self, order: Order) -> None:
        """Each try is an order of its own: what is late, or comes twice, the slave refuses."""
        if not self._leader.connected:
            raise Unavailable(f"no handshake with the slave at {self._peer.url}: {self._leader.reason}")
        with self._unrefused():
            given = self._peer.nonce(wire.NonceRequest(master_id=self.instance))
            self._peer.sweep(mirrored(order, self.instance, given.nonce))

    @contextmanager
    def _unrefused(self) -> Iterator[None]:
        """What the slave refuses, a greeting mends: to who asked us it is no refusal, but for later."""
        try:
            yield
        except (InvalidValue, Conflict, NotFound) as refusal:
            raise Unavailable(f"the slave at {self._peer.url} refused: {refusal.detail}") from refusal

    # -- what the management system asks -------------------------------------------------------------------

    def change(self, request: wire.Change) -> wire.ChainSet:
        self._refuse_while_copying()
        with self._turn:
            if request.expect_epoch not in (None, self.table.epoch):
                raise Conflict(
                    f"expected epoch {request.expect_epoch}, the present one is {self.table.epoch}"
                )
            table = balancer.change(
                self.table,
                add=[(item.pair(), item.weight) for item in request.add if not item.bypass],
                bypass=[item.pair() for item in request.add if item.bypass],
                remove=[item.pair() for item in request.remove],
                cancel=[item.pair() for item in request.cancel],
                forget=[item.pair() for item in request.forget],
                rules=None if request.classifier is None else [item.rule() for item in request.classifier],
                ask_id=self._ask_id,
                now=self._clock(),
                transit=self._config.timeouts.transit,
            )
            if table != self.table and self._slow_start and not self._plane.overflow():
                warmed = balancer.warmed(table, self._clock(), self._slow_start)
                table = replace(warmed, epoch=table.epoch)
            if table != self.table:
                self._propose(table, force=request.force)
            return to_wire(self._segment, self.table)

    def _refuse_while_copying(self) -> None:
        """A copy takes seconds: nobody should wait for its end."""
        if self._leader.hold is not None:
            raise Unavailable(
                f"this master has no session table and copies that of its slave at {self._peer.url}: "
                f"{self._leader.reason or 'it is under way'}"
            )

    def _moves(self, new: ChainTable) -> bool:
        """Would it move sessions without a pin, which live by the hash?"""
        old = self.table
        return (old.placement(), old.bypass, old.rules) != (new.placement(), new.bypass, new.rules)

    def _check_overflow(self) -> None:
        if self._plane.overflow():
            raise Conflict(
                f"the session table of {self._plane.capacity} is full: sessions without a pin live by the "
                "hash, which a change of the chain set would move; wait until it is over, or force it"
            )

    def rebalance(self, request: wire.Rebalance) -> wire.Rebalanced:
        self._refuse_while_copying()
        if request.move_idle is not None:
            self._refuse_if_rewriting("leave out --move-idle")
        with self._turn:
            live = {slot: load.live for slot, load in self._walk().items()}
            weights = [(item.pair(), item.weight) for item in request.weights]
            table = balancer.reweigh(self.table, weights, live)
            if table != self.table:
                self._propose(table, force=request.force)
            moved = 0 if request.move_idle is None else self._let_idle_go(request.move_idle)
            return wire.Rebalanced(**to_wire(self._segment, self.table).model_dump(), moved=moved)

    def forecast(self, text: str) -> SessionForecast:
        """Where a session would go that began now. It waits for nobody: no lock is taken, nothing walked."""
        plane = self._plane
        return forecasting.forecast(
            self.single(text),
            forecasting.Place(
                self.table,
                plane.entries(),
                plane.live,
                self._config.policy,
                overflow=plane.overflow(),
                copying=plane.take_over() is TakeOver.HOLD,
            ),
            Directed.parse(text).client,
        )

    def activity(self, tags: TagPair) -> wire.PairActivity:
        with self._lock:
            pair = self.table.find(tags)
            pins = self._walk().get(pair.slot, Load()).pins
        return wire.PairActivity(
            forward=tags.forward,
            reverse=tags.reverse,
            state=pair.state,
            active=pair.state is not PairState.DRAINED,
            sessions=pins,
        )

    def stats(self) -> wire.BalancerStats:
        """Its own and its slave's. Who asks does not wait for a slave that does not follow."""
        try:
            peer = self._peer.stats() if self._leader.connected else None
        except CatenaryError:
            peer = None
        return self._stats(peer)

    def _own_counters(self) -> dict[str, int]:
        return {"left_out": self._left_out}

    def health(self) -> wire.BalancerHealth:
        leader, last = self._leader, self._leader.exchanged
        return self._health(
            wire.PeerHealth(
                url=self._peer.url,
                connected=leader.connected,
                instance=leader.slave,
                reason=leader.reason,
                lag=None if last is None else round(self._clock() - last.begun, 3),
                standby=self._peer.other_url if isinstance(self._peer, Places) else None,
            ),
            leader.term,
            leader.slave_term,
        )
