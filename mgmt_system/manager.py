"""What the REST service does: accept or refuse requests, and show what is on record."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from catenary import wire
from catenary.chain import PairState
from catenary.errors import CatenaryError, Conflict, InvalidValue, NotFound, Unavailable
from catenary.tags import TagPair
from mgmt_system import admission
from mgmt_system.admission import Network, Wanted
from mgmt_system.agreement import differs
from mgmt_system.crash import CrashPoint
from mgmt_system.current import Current
from mgmt_system.engine import Engine
from mgmt_system.orders import steer_request
from mgmt_system.peers import CONTROLLER, Peers
from mgmt_system.records import ChainRecord, Goal, OperationRecord, Then
from mgmt_system.store.ledger import Ledger, Snapshot

ATTEMPTS = 20
"""Times that a request is checked again because another one, or the engine, wrote in between."""


def _operation_id() -> str:
    return f"op-{secrets.token_hex(4)}"


class Manager:
    """`peers` should have a short timeout: a request waits for them. Calls come from many threads."""

    def __init__(
        self,
        ledger: Ledger,
        engine: Engine,
        peers: Peers,
        network: Current,
        crash_point: CrashPoint,
        *,
        clock: Callable[[], float] = time.time,
        operation_id: Callable[[], str] = _operation_id,
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._peers = peers
        self._config = network
        self._crash_point = crash_point
        self.now = clock
        self.operation_id = operation_id
        # Requests are decided one by one: two may each be the last but one chain that takes sessions.
        self.deciding = threading.RLock()

    @property
    def _network(self) -> Network:
        return self._config.facts

    def add(self, request: wire.ChainRequest) -> wire.OperationView:
        """Accept a chain: its operation is on disk when this returns.

        Raises `InvalidValue` or `Conflict`, and then nothing has changed.
        """
        tags = request.tags.pair() if request.tags else None
        wanted = Wanted(tuple(request.nfs), request.name, tags, request.weight, request.segment)
        operation_id = self.operation_id()

        def accept(snapshot: Snapshot) -> tuple[list[ChainRecord], list[OperationRecord]]:
            now = self.now()
            record = admission.admit(wanted, snapshot.chains, self._network, operation_id, now)
            self._check_path(record)
            return [record], [OperationRecord(operation_id, "add", record.name, "running", now)]

        return self._accept(accept)

    def remove(
        self, name: str, *, force: bool, deadline: float | None = None, then: Then | None = None
    ) -> wire.OperationView:
        """Accept the removal of a chain. After `deadline` seconds its last sessions are ended as `then` says.

        Raises `NotFound`, `Conflict` or `InvalidValue`, and then nothing has changed.
        """
        if (deadline is None) != (then is None):
            raise InvalidValue(
                "a deadline goes with what shall become of the sessions that are left: say both, such as "
                "--deadline 60s --then reset, or --then rebalance"
            )
        operation_id = self.operation_id()

        def accept(snapshot: Snapshot) -> tuple[list[ChainRecord], list[OperationRecord]]:
            now = self.now()
            end = admission.Deadline(now, now + deadline, then) if deadline is not None and then else None
            record = admission.dismiss(name, snapshot.chains, operation_id, force=force, deadline=end)
            if then == "rebalance" and self._config.segments[record.segment].rewrites:
                raise Conflict(
                    f"chain {name!r} is in segment {record.segment!r}, whose chains rewrite: no other one "
                    "can go on with its sessions; use --then reset"
                )
            removal = OperationRecord(operation_id, "remove", name, "running", now)
            before = admission.find(name, snapshot.chains).operation
            adding = self._ledger.operation(before) if before else None
            if adding is not None and before == record.operation:
                return [record], [adding]  # it is being removed, and has a deadline now
            if adding is None or adding.kind == "apply":  # which goes on with its other chains
                return [record], [removal]
            how = "again" if adding.kind == "cancel" else "before it was active"
            reason = f"chain {name!r} was removed {how}"
            return [record], [adding.finish("failed", now, reason), removal]

        return self._accept(accept)

    def cancel(self, name: str) -> wire.OperationView:
        """Accept that a removal is cancelled; raises `NotFound` or `Conflict`, then nothing has changed."""
        operation_id = self.operation_id()

        def accept(snapshot: Snapshot) -> tuple[list[ChainRecord], list[OperationRecord]]:
            now = self.now()
            record = admission.recall(name, snapshot.chains, operation_id, now)
            cancel = OperationRecord(operation_id, "cancel", name, "running", now)
            before = admission.find(name, snapshot.chains).operation
            removal = self._ledger.operation(before) if before else None
            if removal is None or removal.kind == "apply":
                return [record], [cancel]
            return [record], [removal.finish("failed", now, f"the removal of {name!r} was cancelled"), cancel]

        return self._accept(accept)

    def cordon(self, name: str, *, force: bool) -> wire.ChainView:
        """No new sessions for a chain from now on; its live ones stay, and so does the chain.

        Raises `NotFound`, `Conflict`, or the master's own error.
        """
        return self._reweigh(lambda records: admission.cordon(name, records, force=force), force=force)

    def uncordon(self, name: str) -> wire.ChainView:
        """The chain gets its weight back."""
        return self._reweigh(lambda records: admission.uncordon(name, records))

    def _reweigh(
        self, decide: Callable[[Sequence[ChainRecord]], ChainRecord], *, force: bool = False
    ) -> wire.ChainView:
        """The master first: what it refuses is not written down. It is told even what is on record already,
        for the answer to an earlier call may have been lost."""
        with self.deciding:
            after = decide(self._ledger.snapshot().chains)
            tags = after.chain.tags
            weight = wire.PairAdd(forward=tags.forward, reverse=tags.reverse, weight=after.chain.weight)
            master = self._config.segments[after.segment].master
            try:
                self._peers.balancers[master].rebalance(wire.Rebalance(weights=[weight], force=force))
            finally:
                self._crash_point(f"call to {master}: rebalance")
            self._weigh(after, after.chain.weight, after.uncordoned)
        return self.view(after)

    def insert(self, segment: str) -> wire.SegmentView:
        """Put a segment's pair around the chain that carries its traffic; its live sessions stay on it.

        First both load balancers know the chain, then the switches lead through them: so no packet meets one
        that can't place it. Raises `NotFound`, `Conflict`, or the others' own errors, and then nothing is led
        through the pair; again is answered alike.
        """
        config = self._config.segments.get(segment)
        if config is None:
            raise NotFound(
                f"unknown segment {segment!r}: this network has {', '.join(self._config.segments)}"
            )
        if config.inserted:
            return wire.SegmentView(name=segment, inserted=True)
        with self.deciding:
            views = {view.name: view for view in self._peers.controller.segments()}
            if segment not in views:
                raise Conflict(f"the controller has no segment {segment!r}: give both one network file")
            if views[segment].inserted:
                return views[segment]
            chain = admission.adopter(segment, self._ledger.snapshot().chains).chain
            reason = differs(config, self._peers.balancers[config.master].health())
            if reason is not None:
                raise Conflict(f"load balancer {config.master} can't be inserted: {reason}")
            add = wire.PairAdd(**wire.Tags.of(chain.tags).model_dump(), weight=chain.weight)
            try:
                known = self._peers.balancers[config.master].change(wire.Change(add=[add]))
            finally:
                self._crash_point(f"call to {config.master}: add pair {chain.name}")
            for pair in known.pairs:
                if pair.pair() != chain.tags and pair.state is PairState.ACTIVE:
                    raise Conflict(
                        f"load balancer {config.master} has tag pair {pair.pair()} too: live sessions could "
                        "go there; remove it from the load balancer, or start that one afresh"
                    )
            try:
                return self._peers.controller.insert(segment)
            finally:
                self._crash_point(f"call to {CONTROLLER}: insert {segment}")
                self._engine.wake()

    def _accept(
        self, accept: Callable[[Snapshot], tuple[list[ChainRecord], list[OperationRecord]]]
    ) -> wire.OperationView:
        with self.deciding:
            for _ in range(ATTEMPTS):
                snapshot = self._ledger.snapshot()
                chains, operations = accept(snapshot)
                if self._ledger.accept(snapshot, chains, operations):
                    self._engine.wake()
                    return operation_view(operations[-1])
        raise Unavailable("too many requests at once: try again")

    def _check_path(self, record: ChainRecord) -> None:
        """Ask the controller whether there is a path. If it can't say now, the chain will wait for it."""
        try:
            self._peers.controller.check(record.name, steer_request(record))
        except (InvalidValue, Conflict, NotFound):
            raise
        except CatenaryError:
            return
        finally:
            self._crash_point(f"call to {CONTROLLER}: check {record.name}")

    def rebalance(self, request: wire.Rebalance, segment: str | None = None) -> wire.Rebalanced:
        """Have a segment's master re-balance; given weights are the chains' from now on.

        Without `segment`, that of the weights' chains is meant, or the only one. Raises `NotFound` for a pair
        that no active chain has, `InvalidValue` for an unknown segment or several, or the master's own error.
        """
        records = [record for record in self._ledger.snapshot().chains if record.serving]
        by_tags = {record.chain.tags: record for record in records}
        weights: dict[TagPair, int] = {}
        for pair in request.weights:
            if pair.pair() not in by_tags:
                known = ", ".join(str(tags) for tags in by_tags) or "none"
                raise NotFound(f"no active chain has tag pair {pair.pair()}: active pairs are {known}")
            weights[pair.pair()] = pair.weight
        segments = {by_tags[tags].segment for tags in weights} | ({segment} if segment else set())
        if len(segments) > 1:
            raise InvalidValue(f"rebalance one segment at a time: these are {', '.join(sorted(segments))}")
        chosen = admission.choose_segment(next(iter(segments), None), self._network)
        master = self._config.segments[chosen.name].master
        if weights and request.move_idle is not None:
            # Weights that hold are on record even if the sessions can't be moved then.
            self._rebalance(master, request.model_copy(update={"move_idle": None}))
            self._record(by_tags, weights)
            return self._rebalance(master, wire.Rebalance(force=request.force, move_idle=request.move_idle))
        chain_set = self._rebalance(master, request)
        self._record(by_tags, weights)
        return chain_set

    def _rebalance(self, master: str, request: wire.Rebalance) -> wire.Rebalanced:
        try:
            return self._peers.balancers[master].rebalance(request)
        finally:
            self._crash_point(f"call to {master}: rebalance")

    def _record(self, by_tags: Mapping[TagPair, ChainRecord], weights: Mapping[TagPair, int]) -> None:
        for tags, weight in weights.items():
            self._weigh(by_tags[tags], weight)

    def _weigh(self, wanted: ChainRecord, weight: int, uncordoned: int | None = None) -> None:
        """Record a weight, so that a master that lost its pairs gets this one back."""
        for _ in range(ATTEMPTS):
            found = [stored for stored in self._ledger.chains() if stored.record.id == wanted.id]
            if not found:
                return
            record = found[0].record
            after = replace(record, chain=replace(record.chain, weight=weight), uncordoned=uncordoned)
            if after == record or self._ledger.advance(found[0], after, None):
                return
        raise Unavailable("too many requests at once: try again")

    def chains(self) -> list[wire.ChainView]:
        """All chains that are not removed, oldest first."""
        return [self.view(record) for record in self.records()]

    def records(self) -> list[ChainRecord]:
        records = [stored.record for stored in self._ledger.chains()]
        gone = [record for record in records if record.goal is Goal.ABSENT and record.settled]
        return [record for record in records if record not in gone]

    def chain(self, name: str) -> wire.ChainView:
        """The latest chain of this name, a removed one too; raises `NotFound`."""
        records = [stored.record for stored in self._ledger.chains()]
        named = [record for record in records if record.name == name]
        return self.view(named[-1] if named else admission.find(name, records))

    def operations(self) -> list[wire.OperationView]:
        return [self._operation_view(operation) for operation in self._ledger.operations()]

    def operation(self, operation_id: str) -> wire.OperationView:
        operation = self._ledger.operation(operation_id)
        if operation is None:
            raise NotFound(f"unknown operation {operation_id!r}: see the list of operations")
        return self._operation_view(operation)

    def _operation_view(self, operation: OperationRecord) -> wire.OperationView:
        view = operation_view(operation)
        if operation.kind != "apply":
            return view
        records = [stored.record for stored in self._ledger.chains()]
        left = [record for record in records if record.operation == operation.id and not record.settled]
        return view.model_copy(update={"done": len(operation.chains) - len(left)})

    def health(self) -> wire.ManagementHealth:
        healthy = not self._engine.faults()
        return wire.ManagementHealth(status="ok" if healthy else "degraded", chains=len(self.records()))

    def view(self, record: ChainRecord) -> wire.ChainView:
        return wire.ChainView(
            name=record.name,
            segment=record.segment,
            nfs=list(record.chain.nfs),
            tags=wire.Tags.of(record.chain.tags),
            weight=record.chain.weight,
            cordoned=record.uncordoned is not None,
            state=record.state,
            reason=self._engine.reason(record),
            created=record.created,
            changed=record.changed,
            deadline=record.deadline,
            then=record.then,
            reset=record.reset,
            moved=record.moved,
        )


def operation_view(operation: OperationRecord) -> wire.OperationView:
    return wire.OperationView(**vars(operation))
