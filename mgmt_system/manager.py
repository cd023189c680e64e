"""What the REST service does: accept or refuse requests, and show what is on record."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from catenary import wire
from catenary.chain import PairState
from catenary.errors import CatenaryError, Conflict, InvalidValue, NotFound, Unavailable
from mgmt_system import admission
from mgmt_system.admission import Network, Wanted
from mgmt_system.agreement import differs
from mgmt_system.crash import CrashPoint
from mgmt_system.current import Current
from mgmt_system.deciding import Deciding
from mgmt_system.engine import Engine
from mgmt_system.etags import Match, unchanged
from mgmt_system.journal import Event, Kind
from mgmt_system.peers import CONTROLLER, Peers
from mgmt_system.predictions import Predictions, predicted
from mgmt_system.records import SELF, Author, ChainRecord, OperationRecord, Then
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.snapshot import Snapshot, Stored, StoredChain
from mgmt_system.tasks import pair_weight, steer_requests
from mgmt_system.views import ChainViews, Shown, operation_view

ATTEMPTS = 20
"""Times that a request is checked again because another one, or the engine, wrote in between."""


def _operation_id() -> str:
    return f"op-{secrets.token_hex(4)}"


class Manager:
    """`peers` should have a short timeout: a request waits for them. Calls come from many threads.

    Whatever changes something takes its `author`, and `match`, the ETags that the chain may have, or all
    chains where none is named. Raises `PreconditionFailed` unless one of them is found.
    """

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
        self.predictions = Predictions(peers, network)
        self._config = network
        self._crash_point = crash_point
        self.now = clock
        self.operation_id = operation_id
        self._views = ChainViews()
        self.deciding = Deciding()

    @property
    def _network(self) -> Network:
        return self._config.facts

    def add(
        self, request: wire.ChainRequest, *, author: Author = SELF, match: Match = None
    ) -> wire.OperationView:
        """Accept a chain: its operation is on disk when this returns.

        Raises `InvalidValue` or `Conflict`, and then nothing has changed.
        """
        self._ledger.ready()
        tags = request.tags.pair() if request.tags else None
        wanted = Wanted(
            tuple(request.nfs), request.name, tags, request.weight, request.segment, request.canary
        )
        operation_id = self.operation_id()

        def admit(wanted: Wanted, snapshot: Snapshot) -> ChainRecord:
            unchanged(match, snapshot.chains_revision, "the list of chains")
            return admission.admit(wanted, snapshot.chains, self._network, operation_id, self.now())

        segment = admission.choose_segment(request.segment, self._network).name
        with self.deciding.on(segment, alone=match is not None), self.deciding.adding:
            checked = admit(wanted, self._ledger.snapshot())
            self._check_path(checked)
            exactly = replace(wanted, name=checked.name, tags=checked.chain.tags, segment=segment)

            def accept(snapshot: Snapshot) -> tuple[list[ChainRecord], list[OperationRecord]]:
                record = admit(exactly, snapshot)
                now = record.created
                return [record], [OperationRecord(operation_id, "add", record.name, "running", now, author)]

            return self._accept(accept, author, segment)

    def remove(
        self,
        name: str,
        *,
        force: bool,
        deadline: float | None = None,
        then: Then | None = None,
        author: Author = SELF,
        match: Match = None,
    ) -> wire.OperationView:
        """Accept the removal of a chain. `deadline` seconds after its last new session what is left is ended
        as `then` says.

        Raises `NotFound`, `Conflict` or `InvalidValue`, and then nothing has changed.
        """
        admission.both_or_none(deadline, then)
        operation_id = self.operation_id()
        chains = [it for it in self._ledger.snapshot().chains if it.name == name and it.staying]
        forecasts = self.predictions.forecasts(chains)

        def accept(snapshot: Snapshot) -> tuple[list[ChainRecord], list[OperationRecord]]:
            now = self.now()
            before = _find(name, snapshot, match)
            end = admission.Deadline(now, deadline, then) if deadline is not None and then else None
            fellows = snapshot.of(before.segment)
            record = admission.dismiss(name, fellows, operation_id, force=force, deadline=end)
            record = predicted(before, record, forecasts)
            if then == "rebalance" and self._config.segments[record.segment].rewrites:
                raise Conflict(f"chain {name!r} is in {admission.no_refuge(record.segment)}")
            removal = OperationRecord(operation_id, "remove", name, "running", now, author)
            adding = snapshot.operation(before.operation)
            if adding is not None and before.operation == record.operation:
                return [record], [adding]  # it is being removed, and has a deadline now
            if adding is None or (adding.kind == "apply" and before.serving):  # it had what it wants of this
                return [record], [removal]
            how = "again" if adding.kind == "cancel" else "before it was active"
            return [record], [adding.overruled(now, f"chain {name!r} was removed {how}"), removal]

        with self._deciding_on(name) as segment:
            return self._accept(accept, author, segment)

    def cancel(self, name: str, *, author: Author = SELF, match: Match = None) -> wire.OperationView:
        """Accept that a removal is cancelled; raises `NotFound` or `Conflict`, then nothing has changed."""
        operation_id = self.operation_id()

        def accept(snapshot: Snapshot) -> tuple[list[ChainRecord], list[OperationRecord]]:
            now = self.now()
            before = admission.check_entered(_find(name, snapshot, match))
            record = admission.recall(name, snapshot.of(before.segment), operation_id, now)
            cancel = OperationRecord(operation_id, "cancel", name, "running", now, author)
            removal = snapshot.operation(before.operation)
            if removal is None:
                return [record], [cancel]
            return [record], [removal.overruled(now, f"the removal of {name!r} was cancelled"), cancel]

        with self._deciding_on(name) as segment:
            return self._accept(accept, author, segment)

    def cordon(self, name: str, *, force: bool, author: Author = SELF, match: Match = None) -> wire.ChainView:
        """No new sessions for a chain from now on; its live ones stay, and so does the chain.

        Raises `NotFound`, `Conflict`, or the master's own error.
        """
        return self.reweigh(
            "cordon", name, partial(admission.cordon, name, force=force), author, match, force=force
        )

    def uncordon(self, name: str, *, author: Author = SELF, match: Match = None) -> wire.ChainView:
        """The chain gets its weight back."""
        return self.reweigh("uncordon", name, partial(admission.uncordon, name), author, match)

    def reweigh(
        self,
        kind: Kind,
        name: str,
        decide: Callable[[Sequence[ChainRecord]], ChainRecord],
        author: Author,
        match: Match,
        *,
        force: bool = False,
    ) -> wire.ChainView:
        """The master first: what it refuses is not written down. It is told even what is on record already,
        for the answer to an earlier call may have been lost."""
        with self._deciding_on(name) as segment:
            snapshot = self._ledger.snapshot()
            before = _find(name, snapshot, match)
            after = decide(snapshot.of(before.segment))
            admission.check_place(after, segment)
            self._rebalance(after.segment, wire.Rebalance(weights=[pair_weight(after)], force=force), author)
            self._weigh(kind, [after], author)
        return self.chain(name)

    def insert(self, segment: str, *, author: Author = SELF, match: Match = None) -> wire.SegmentView:
        """Put a segment's pair around the chain that carries its traffic; its live sessions stay on it.

        First both load balancers know the chain, then the switches lead through them: so no packet meets one
        that can't place it. Raises `NotFound`, `Conflict`, or the others' own errors, and then nothing is led
        through the pair; again is answered alike. `match` is of that chain.
        """
        config = self._config.segments.get(segment)
        if config is None:
            raise NotFound(
                f"unknown segment {segment!r}: this network has {', '.join(self._config.segments)}"
            )
        if config.inserted:
            return wire.SegmentView(name=segment, inserted=True)
        self._ledger.ready()
        with self.deciding.segment(segment):
            views = {view.name: view for view in self._peers.controller.segments()}
            if segment not in views:
                raise Conflict(f"the controller has no segment {segment!r}: give both one network file")
            if views[segment].inserted:
                return views[segment]
            snapshot = self._ledger.snapshot()
            chain = _find(admission.adopter(segment, snapshot.of(segment)).name, snapshot, match).chain
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
            self._ledger.learn(known, author)
            try:
                view = self._peers.controller.insert(segment)
            finally:
                self._crash_point(f"call to {CONTROLLER}: insert {segment}")
                self._engine.wake()
            self._ledger.tell(Event("insert", author, {"inserted": (False, True)}, segment, chain.name))
            return view

    @contextmanager
    def _deciding_on(self, name: str) -> Iterator[str]:
        """Decide on the segment of a chain, which is told; raises `NotFound`, or the store's error."""
        self._ledger.ready()
        segment = admission.find(name, self._ledger.snapshot().chains).segment
        with self.deciding.segment(segment):
            yield segment

    def _accept(
        self,
        accept: Callable[[Snapshot], tuple[list[ChainRecord], list[OperationRecord]]],
        author: Author,
        segment: str,
    ) -> wire.OperationView:
        """Write what is accepted; the caller decides on `segment`. `accept` asks no other part."""
        with self.deciding.accepting:
            for _ in range(ATTEMPTS):
                snapshot = self._ledger.snapshot()
                chains, operations = accept(snapshot)
                for record in chains:
                    admission.check_place(record, segment)
                if self._ledger.accept(snapshot, chains, operations, author):
                    self._engine.wake()
                    return operation_view(operations[-1])
        raise Unavailable("too many requests at once: try again")

    def _check_path(self, record: ChainRecord) -> None:
        """Ask the controller whether there is a path. If it can't say now, the chain will wait for it."""
        try:
            self._peers.controller.check_all(steer_requests([record]))
        except (InvalidValue, Conflict, NotFound):
            raise
        except CatenaryError:
            return
        finally:
            self._crash_point(f"call to {CONTROLLER}: check {record.name}")

    def rebalance(
        self,
        request: wire.Rebalance,
        segment: str | None = None,
        *,
        author: Author = SELF,
        match: Match = None,
    ) -> wire.Rebalanced:
        """Have a segment's master re-balance; given weights are the chains' from now on.

        Without `segment`, that of the weights' chains is meant, or the only one. Raises `NotFound` for a pair
        that no active chain has, `InvalidValue` for an unknown segment or several, or the master's own error.
        """
        self._ledger.ready()
        chosen, _ = self._reweighed(request, segment)
        with self.deciding.on(chosen, alone=match is not None):
            unchanged(match, self._ledger.snapshot().chains_revision, "the list of chains")
            _, weighed = self._reweighed(request, chosen)
            if weighed and request.move_idle is not None:
                # Weights that hold are on record even if the sessions can't be moved then.
                first = request.model_copy(update={"move_idle": None})
                self._tell_rebalance(chosen, self._rebalance(chosen, first, author), weighed, author)
                request, weighed = wire.Rebalance(force=request.force, move_idle=request.move_idle), []
            answer = self._rebalance(chosen, request, author)
            self._tell_rebalance(chosen, answer, weighed, author)
        return answer

    def _reweighed(self, request: wire.Rebalance, segment: str | None) -> tuple[str, list[ChainRecord]]:
        """The segment that is meant, and its chains with the weights that are given."""
        weights = {pair.pair(): pair.weight for pair in request.weights}
        weighed = admission.reweigh(weights, self._ledger.snapshot().chains)
        return admission.rebalanced(weighed, segment, self._network), weighed

    def _tell_rebalance(
        self, segment: str, answer: wire.Rebalanced, weighed: Sequence[ChainRecord], author: Author
    ) -> None:
        text = f"{answer.moved} idle sessions let go" if answer.moved else None
        self._weigh("weight", weighed, author, Event("rebalance", author, {}, segment, text=text))

    def _rebalance(self, segment: str, request: wire.Rebalance, author: Author) -> wire.Rebalanced:
        master = self._config.segments[segment].master
        try:
            answer = self._peers.balancers[master].rebalance(request)
        finally:
            self._crash_point(f"call to {master}: rebalance")
        self._ledger.learn(answer, author)
        return answer

    def _weigh(self, kind: Kind, wanted: Sequence[ChainRecord], author: Author, *also: Event) -> None:
        """Record weights, so that a master that lost its pairs gets these back."""
        for _ in range(ATTEMPTS):
            snapshot = self._ledger.snapshot()
            found = [(stored, record) for record in wanted if (stored := snapshot.stored(record)) is not None]
            chains = [(stored, admission.with_weight(stored.record, record)) for stored, record in found]
            if self._ledger.weigh(kind, chains, author, *also):
                return
        raise Unavailable("too many requests at once: try again")

    def present(self) -> Sequence[StoredChain]:
        """All chains that are not removed, oldest first."""
        return self._ledger.snapshot().present

    def shown(self, stored: StoredChain) -> Shown:
        return self._views.show(stored, self._engine.reason(stored.record))

    def chains(self) -> list[wire.ChainStatus]:
        """Views of all that are present; their loads are unknown here."""
        return [self.shown(stored).status for stored in self.present()]

    def chains_revision(self) -> int:
        return self._ledger.snapshot().chains_revision

    def operations_revision(self) -> int:
        return self._ledger.snapshot().operations_revision

    def stored_chain(self, name: str) -> StoredChain:
        """The latest chain of this name, a removed one too; raises `NotFound`."""
        snapshot = self._ledger.snapshot()
        found = snapshot.latest(name)
        if found is None:
            raise admission.unknown(name, snapshot.chains)
        return found

    def chain(self, name: str) -> wire.ChainView:
        return self.shown(self.stored_chain(name)).view

    def operations(self) -> list[wire.OperationView]:
        return [self.operation_view(operation) for operation in self._ledger.operations()]

    def stored_operation(self, operation_id: str) -> Stored[OperationRecord]:
        stored = self._ledger.snapshot().stored_operation(operation_id)
        if stored is None:
            raise NotFound(f"unknown operation {operation_id!r}: see the list of operations")
        return stored

    def operation(self, operation_id: str) -> wire.OperationView:
        return self.operation_view(self.stored_operation(operation_id).record)

    def operation_view(self, operation: OperationRecord) -> wire.OperationView:
        """With how many chains of an apply are what they shall be."""
        left = [] if operation.kind != "apply" else self._ledger.snapshot().chains
        waiting = [record for record in left if record.operation == operation.id and not record.settled]
        return operation_view(operation).model_copy(update={"done": len(operation.chains) - len(waiting)})

    def health(self) -> wire.ManagementHealth:
        faults = [*self._engine.faults().values(), *([self._ledger.fault] if self._ledger.fault else [])]
        return wire.ManagementHealth(
            status="degraded" if faults else "ok",
            chains=len(self._ledger.snapshot().present),
            reason="; ".join(faults) or None,
            leads=self._ledger.leads,
            leader=self._ledger.standing.leader,
        )


def _find(name: str, snapshot: Snapshot, match: Match) -> ChainRecord:
    """The chain as the request finds it; raises `NotFound` or `PreconditionFailed`."""
    record = admission.find(name, snapshot.chains)
    stored = snapshot.stored(record)
    unchanged(match, stored.revision if stored else 0, f"chain {name!r}")
    return record
