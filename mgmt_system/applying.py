"""Plans and applies: what a document would change, what that costs, and the one request that does it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from catenary import wire
from catenary.chain import ChainState
from catenary.config import ServiceConfig, ServiceEntry
from catenary.document import Fault, told
from catenary.errors import CatenaryError, Conflict, Unavailable
from catenary.plans import ConfigView, PlanFault, PlanView, ServiceView
from mgmt_system import planning
from mgmt_system.admission import Deadline, both_or_none
from mgmt_system.costs import Costs
from mgmt_system.crash import CrashPoint
from mgmt_system.current import Current
from mgmt_system.engine import Engine
from mgmt_system.etags import Match, unchanged
from mgmt_system.journal import Event
from mgmt_system.manager import ATTEMPTS, Manager
from mgmt_system.peers import CONTROLLER, Peers
from mgmt_system.planning import Decision, Terms
from mgmt_system.predictions import predicted
from mgmt_system.reconcile import REFUSALS
from mgmt_system.records import SELF, Author, ChainRecord, Goal, OperationRecord, Then
from mgmt_system.status import StatusPage
from mgmt_system.store import rows
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.snapshot import Snapshot
from mgmt_system.tasks import STEERED_AT_ONCE, steer_requests
from mgmt_system.views import operation_view


@dataclass(frozen=True)
class Options:
    """How a document is applied; `deadline` in seconds from now, with what becomes of sessions then."""

    force: bool = False
    deadline: float | None = None
    then: Then | None = None

    def __post_init__(self) -> None:
        both_or_none(self.deadline, self.then)


@dataclass(frozen=True)
class Condition:
    """What must hold for an apply: its plan is not stale, what was read is unchanged; None is anything."""

    token: str | None = None
    match: Match = None


class Applying:
    """`peers` should have a short timeout: a request waits for them. Calls come from many threads."""

    def __init__(
        self,
        ledger: Ledger,
        engine: Engine,
        manager: Manager,
        status: StatusPage,
        peers: Peers,
        network: Current,
        crash_point: CrashPoint,
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._manager = manager
        self._status = status
        self._peers = peers
        self._network = network
        self._crash_point = crash_point
        self._predictions = manager.predictions
        # One at a time: a plan of many chains computes for long, and whoever else asks waits meanwhile.
        self._planning = threading.Lock()

    def view(self) -> ConfigView:
        """The document that says what is, tags included; raises `Unavailable` where there is none."""
        return self._view(self._ledger.snapshot())

    def _view(self, snapshot: Snapshot) -> ConfigView:
        config = planning.in_force(self._network.config, snapshot.chains)
        try:
            return ConfigView(revision=f"{snapshot.gate}-{config.revision}", config=config)
        except ValidationError as error:  # a damaged store has lost its configuration, or a chain is garbled
            raise Unavailable(
                f"the chains do not fit the configuration in force ({wire.explain(error.errors())}): "
                "start the management system with the network file that was applied last"
            ) from error

    def plan(self, wanted: ServiceConfig, options: Options) -> PlanView:
        """What applying a document would do now. Nothing is changed, whatever it says."""
        with self._planning:
            return self._plan(wanted, options)

    def _plan(self, wanted: ServiceConfig, options: Options) -> PlanView:
        snapshot = self._ledger.snapshot()
        decision = self._decide(wanted, snapshot, options, "op-planned")
        faults = decision.faults or self._unreachable(wanted, decision)
        view = self._view(snapshot)
        touched = {record.segment for record in decision.records}
        sessions = self._status.sessions([it for it in self._manager.chains() if it.segment in touched])
        going = [record for record in decision.records if record.goal is Goal.ABSENT]
        estimate = Costs(sessions, self._predictions.prospects(going), options.deadline)
        return PlanView(
            revision=view.revision,
            token=_token(view.revision, wanted, decision, options),
            changes=decision.changes,
            refused=[PlanFault(key=list(fault.key), text=fault.text) for fault in faults],
            segments=estimate.segments(snapshot.chains, decision.records),
        )

    def status(self) -> wire.StatusView:
        return self._status.gather(self._manager.chains())

    def apply(
        self, wanted: ServiceConfig, options: Options, condition: Condition, author: Author = SELF
    ) -> wire.OperationView | None:
        """Accept a document: all of it is on disk when this returns, or nothing. None: it says what is.

        Raises `PreconditionFailed` for an ETag that is not that of what is, `Conflict` for a stale plan or
        what can't be changed while live, `InvalidValue`.
        """
        self._ledger.ready()
        operation_id = self._manager.operation_id()
        forecasts = self._predictions.forecasts(planning.leavers(wanted, self._ledger.snapshot().chains))
        with self._manager.deciding.alone():
            for _ in range(ATTEMPTS):
                snapshot = self._ledger.snapshot()
                decision = self._decide(wanted, snapshot, options, operation_id)
                if not decision.changes and not decision.faults:
                    return None
                revision = self._view(snapshot).revision
                unchanged(condition.match, revision, "the configuration")
                _check_token(condition.token, _token(revision, wanted, decision, options))
                self._check_faults(wanted, decision, planned=condition.token is not None)
                records = [predicted(_before(snapshot, it), it, forecasts) for it in decision.records]
                decision = replace(decision, records=records)
                names = tuple(record.name for record in records + decision.taken if record.operation)
                now = self._manager.now()
                operation = OperationRecord(operation_id, "apply", "", "running", now, author, chains=names)
                if self._accept(wanted, snapshot, decision, operation):
                    self._engine.wake()
                    return operation_view(operation)
        raise Unavailable("too many requests at once: try again")

    def _accept(
        self, wanted: ServiceConfig, snapshot: Snapshot, decision: Decision, operation: OperationRecord
    ) -> bool:
        """Write it all down. The configuration is in force a moment before: the engine must know what the
        chains on record refer to."""
        records = [*decision.records, *decision.taken]
        operations = [*self._taken_over(snapshot, records, operation), operation]
        config = rows.config_value(wanted) if decision.document else None
        changes = {
            f"{change.kind} {change.name}": (change.before or None, change.after or None)
            for change in decision.changes
            if change.kind != "chain"
        }
        event = Event("apply", operation.author, changes, operation=operation.id)
        before, done = self._network.config, False
        self._network.put(wanted)
        try:
            done = self._ledger.accept(
                snapshot, records, operations, operation.author, config=config, also=[event]
            )
        finally:
            if not done:
                self._network.put(before)
        return done

    def _decide(
        self, wanted: ServiceConfig, snapshot: Snapshot, options: Options, operation: str
    ) -> Decision:
        now = self._manager.now()
        end = None
        if options.deadline is not None and options.then is not None:
            end = Deadline(now, options.deadline, options.then)
        applies = frozenset(item.id for item in snapshot.applies)
        terms = Terms(operation, now, options.force, end, applies)
        return planning.decide(self._network.config, wanted, snapshot.chains, terms)

    def _check_faults(self, wanted: ServiceConfig, decision: Decision, *, planned: bool) -> None:
        faults = decision.faults or ([] if planned else self._unreachable(wanted, decision))
        if faults:
            raise Conflict("\n".join(told(fault) for fault in faults))

    def _unreachable(self, wanted: ServiceConfig, decision: Decision) -> list[Fault]:
        """What the controller would refuse. If it can't say now, what changes will wait for it."""
        records = [record for record in decision.records if record.goal is Goal.PRESENT]
        new = [record for record in records if record.state is ChainState.REQUESTED]
        faults: list[Fault] = []
        try:
            if decision.network:
                self._check_network(wanted)
                return []  # it can't judge chains on a network that it does not have yet
            for first in range(0, len(new), STEERED_AT_ONCE):
                faults += self._pathless(new[first : first + STEERED_AT_ONCE])
        except REFUSALS as error:
            return [Fault((), error.detail)]
        except CatenaryError:
            return faults
        return faults

    def _check_network(self, wanted: ServiceConfig) -> None:
        try:
            self._peers.controller.put_network(wanted.network, check=True)
        finally:
            self._crash_point(f"call to {CONTROLLER}: check network")

    def _pathless(self, records: Sequence[ChainRecord]) -> list[Fault]:
        """One call for all; if that is refused, one for each, to know which."""
        requests = steer_requests(records)
        try:
            self._peers.controller.check_all(requests)
        except REFUSALS as error:
            if len(records) > 1:
                return [fault for record in records for fault in self._pathless([record])]
            return [Fault(("chains", *requests), error.detail)]
        finally:
            self._crash_point(f"call to {CONTROLLER}: check {', '.join(requests)}")
        return []

    def _taken_over(
        self, snapshot: Snapshot, after: Sequence[ChainRecord], by: OperationRecord
    ) -> list[OperationRecord]:
        """Operations that this one takes a chain from before it is what it shall be: they have failed."""
        ended = {}
        for record in after:
            old = _before(snapshot, record)
            operation = snapshot.operation(old.operation) if old else None
            if old is None or operation is None or (operation.kind == "apply" and old.settled):
                continue
            reason = f"operation {by.id} applied another configuration: chain {record.name!r} shall be"
            ended[operation.id] = operation.finish("failed", by.created, f"{reason} {record.goal}")
        return list(ended.values())

    def services(self) -> list[ServiceView]:
        """All services with their segments and chains; a segment that no service names is one of its name."""
        status = self.status()
        config = self._network.config
        named = {segment for service in config.services.values() for segment in service.segments}
        alone = {name: ServiceEntry(segments=[name]) for name in config.segments if name not in named}
        return [_service(name, entry, status) for name, entry in (config.services | alone).items()]


def _before(snapshot: Snapshot, record: ChainRecord) -> ChainRecord | None:
    stored = snapshot.stored(record)
    return stored.record if stored else None


def _service(name: str, entry: ServiceEntry, status: wire.StatusView) -> ServiceView:
    by_name: Mapping[str, wire.SegmentStatus] = {segment.name: segment for segment in status.segments}
    chains = [chain for segment in entry.segments for chain in status.chains if chain.segment == segment]
    # A session crosses every segment of its service: the first sees them all.
    first = [chain.sessions for chain in chains if chain.segment == entry.segments[0] and chain.nfs]
    known = [sessions for sessions in first if sessions is not None]
    return ServiceView(
        name=name,
        segments=[by_name[segment] for segment in entry.segments if segment in by_name],
        chains=chains,
        sessions=sum(known) if len(known) == len(first) else None,
        classifier=entry.classifier,
    )


def _token(revision: str, wanted: ServiceConfig, decision: Decision, options: Options) -> str:
    """The same for the same document on what is in force, if it means the same changes on the same terms: a
    chain that has cooled down since the plan can't be taken back, only added."""
    steps = [(change.verb, change.kind, change.name) for change in decision.changes]
    meant = hashlib.sha256(repr((steps, options)).encode()).hexdigest()[:8]
    return f"{revision}-{wanted.revision}-{meant}"


def _check_token(given: str | None, present: str) -> None:
    if given is not None and given != present:
        raise Conflict(
            "this plan is stale, for the document, the options or what is in force changed: plan again, "
            "and look"
        )
