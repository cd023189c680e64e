"""The parts of a running management system, put together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from catenary import wire
from catenary.config import ServiceConfig
from catenary.errors import InvalidValue
from mgmt_system import crash
from mgmt_system.applying import Applying
from mgmt_system.capture import Captures
from mgmt_system.crash import CrashPoint
from mgmt_system.current import Current
from mgmt_system.detours import Detours
from mgmt_system.engine import Engine
from mgmt_system.explain import Explainer
from mgmt_system.failover import TIMEOUT as LOOK_TIMEOUT
from mgmt_system.failover import Failover
from mgmt_system.history import History
from mgmt_system.journal import Retention
from mgmt_system.manager import Manager
from mgmt_system.peers import Peers, Secrets, connect
from mgmt_system.recollection import Recollection
from mgmt_system.sampling import Sampling
from mgmt_system.scaling import Scaling
from mgmt_system.sessions import Sessions
from mgmt_system.status import StatusPage
from mgmt_system.store.access import Access
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.opening import opened
from mgmt_system.turns import Turns
from mgmt_system.world import World

ENGINE_TIMEOUT = 5.0
"""Seconds that the engine waits for an answer: a master's change includes a call to its slave."""
REQUEST_TIMEOUT = 2.0
"""Seconds that a request of an operator waits for another part."""
STATUS_TIMEOUT = 1.0
"""Seconds that the status page and a sample of the traffic wait for each part."""

log = structlog.get_logger("mgmt_system")


@dataclass
class Running:
    """What the REST service needs; `start` and `stop` the threads of engine and sampling.

    `on_failure` is called when the engine dies of an unexpected error: the process had better end then,
    since whoever supervises it can start it again and it goes on from its store. On a store that is damaged
    there is a `recollection`, and the engine does not run.
    """

    ledger: Ledger
    engine: Engine
    manager: Manager
    status: StatusPage
    sessions: Sessions
    applying: Applying
    history: History
    sampling: Sampling
    captures: Captures
    explainer: Explainer
    detours: Detours
    turns: Turns
    scaling: Scaling
    failover: Failover
    recollection: Recollection | None = None
    on_failure: Callable[[], None] = lambda: None
    failed: bool = False
    _thread: threading.Thread | None = None

    @classmethod
    def build(
        cls,
        first: ServiceConfig,
        ledger: Ledger,
        peers: Callable[[Current, float], Peers],
        crash_point: CrashPoint = crash.never,
        hooks: Path | None = None,
    ) -> Self:
        """`first` is in force until another is applied; `peers` makes clients with a timeout in seconds.
        `hooks` is the folder of programs that provisioners may run."""
        network = Current(ledger.configured(first))
        for_engine, looks = peers(network, ENGINE_TIMEOUT), peers(network, LOOK_TIMEOUT)
        recollection = Recollection(ledger, for_engine, network) if ledger.damaged else None
        engine = Engine(ledger, for_engine, World(for_engine, network, crash_point), network)
        for_requests = peers(network, REQUEST_TIMEOUT)
        manager = Manager(ledger, engine, for_requests, network, crash_point)
        sessions = Sessions(for_requests, network, ledger)
        for_looks = peers(network, STATUS_TIMEOUT)
        status = StatusPage(for_looks, network)
        sampling = Sampling(for_looks, network, manager.chains)
        applying = Applying(ledger, engine, manager, status, for_requests, network, crash_point)
        history = History(ledger)
        captures = Captures(for_requests, network, ledger)
        explainer = Explainer(for_requests, network, ledger, history)
        return cls(
            ledger,
            engine,
            manager,
            status,
            sessions,
            applying,
            history,
            sampling,
            captures,
            explainer,
            Detours(ledger, looks, for_requests, network),
            Turns(ledger, network, first),
            Scaling(ledger, manager, for_requests, network, hooks),
            Failover(ledger, network, looks, for_requests),
            recollection,
        )

    @classmethod
    def from_files(
        cls,
        network: Path,
        database: str,
        url: str,
        secrets: Secrets,
        retention: Retention,
        access: Access = Access(),
        hooks: Path | None = None,
    ) -> Self:
        """Raises `InvalidValue` for a file that can't be read or is not valid, `Conflict` for one in use. A
        database that is damaged is said to be, and shown. `url`: where others find it, if they share one in
        etcd, which `access` is for."""
        config = ServiceConfig.load(read_text(network), str(network))
        crash_point = crash.from_environment(os.environ)
        ledger = Ledger(opened(database, url, access), crash_point, retention=retention)
        running = cls.build(
            config, ledger, lambda network, timeout: connect(network, secrets, timeout), crash_point, hooks
        )
        if not ledger.damaged and not _holds(running.applying.view().config, config):
            log.warning(
                "the network file is not in force: the database has what was applied last",
                network=str(network),
                database=database,
                fix="see the difference with catenary diff -f, and have it with catenary apply -f",
            )
        return running

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="reconcile")
        self._thread.start()
        self.sampling.start()
        self.detours.start()
        if self.recollection is None:
            self.scaling.start()
        self.failover.start()

    def look(self) -> wire.StatusView:
        """All parts with their load; the store is one while it can't be written."""
        view = self.status.gather(self.manager.chains())
        segments = [self.detours.told(segment) for segment in view.segments]
        view = view.model_copy(update={"segments": segments})
        fault = self.ledger.fault
        if fault is not None:
            store = wire.ServiceStatus(name="store", url=self.ledger.where, ok=False, reason=fault)
            view.services.insert(0, store)
        return view

    def _run(self) -> None:
        try:
            if self.recollection:
                self.recollection.run()
            else:
                self.engine.run(self.turns.mine)
        except BaseException:
            log.exception("the reconcile loop died: stopping")
            self.failed = True
            self.on_failure()

    def stop(self) -> None:
        self.scaling.stop()
        (self.recollection or self.engine).stop()
        self.sampling.stop()
        self.detours.stop()
        self.failover.stop()
        if self._thread is not None:
            self._thread.join()
        self.status.close()
        self.explainer.close()
        self.ledger.close()


def _holds(present: ServiceConfig, file: ServiceConfig) -> bool:
    """Is what the file says in force? It need not name all chains: they come by other ways, too."""
    bare = (config.model_copy(update={"chains": {}}).revision for config in (present, file))
    return len({*bare}) == 1 and file.chains.keys() <= present.chains.keys()


def read_text(path: Path) -> str:
    """The text of the network file; raises `InvalidValue` that names it."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"network file {path} can't be read: {error}") from error
