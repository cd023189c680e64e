"""A segment that scales by itself on the testbed, under a load of sessions that rises and falls."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from catenary.autoscale import AutoscaleConfig
from catenary.chain import ChainState
from catenary.errors import CatenaryError
from catenary.wire import TimeoutsModel
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import ByteServer, Talks, TransferResult, Transfers
from topologies.watching import wait_quiet, watch
from witness.checker import judge
from witness.verdict import Verdict

TIMES = TimeoutsModel(
    tcp_opening=2, tcp_established=20, tcp_closing=1, udp=2, other=2, neighbour=2, lease=1, transit=0.25
)
NFS = ("n1", "n2", "n3")
TARGET = 12
"""Live sessions a chain."""
STEADY, LASTING, PASSING = 3, 6, 24
"""Sessions that are there all the time; in each cycle those that outlive its peak, and that end with it."""
IN_WINDOW_S = 3.0
INTERVAL_S = 0.2
"""Between what a session says."""
LASTED_S = 4.0
"""For at least so long sessions of a removed chain go on after its removal."""
WAIT_S = 60.0
_HOOK = f"""\
#!{sys.executable}
# What an operator's program may be: it asks the engine, which may do so, to start or stop an NF.
import os, socket, sys
action, segment, nf = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as engine:
    engine.connect(os.environ["ENGINE"])
    engine.sendall(f"{{action}} {{nf}}\\n".encode())
    said = engine.makefile().read()
    sys.exit(None if said == "done" else said or "no answer")
"""


class Engine:
    """What starts and stops NFs when a program asks: firewalls, each in a namespace of its own."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self.path = testbed.run_dir / "engine"
        self.asked: list[str] = []
        self._running = set(NFS)
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # shut down
                return
            with caller, caller.makefile() as lines:
                action, nf = lines.readline().split()
                self.asked.append(f"{action} {nf}")
                caller.sendall(self.do(action, nf).encode())

    def do(self, action: str, nf: str) -> str:
        """`start` or `stop` an NF, which may run already, or not any more: "done", or why not."""
        try:
            if action == "stop":
                self._testbed.nfs[nf].stop()
                self._running.discard(nf)
            elif nf not in self._running:
                self._testbed.nfs[nf].start()
                self._running.add(nf)
        except CatenaryError as error:
            return error.detail
        return "done"


@dataclass(frozen=True)
class Cycle:
    """Seconds from the load's rise to three chains, and from its fall to one that takes sessions.

    `lasted`: for how many seconds sessions of removed chains went on after the removal; `back`: was a chain
    that cooled down taken back? `failures` of sessions that talk.
    """

    rise: float
    fall: float
    lasted: float
    back: bool
    failures: tuple[str, ...]


@dataclass
class Outcome:
    """Of all cycles: what the taps saw, and what the clients had."""

    cycles: list[Cycle] = field(default_factory=list)
    verdict: Verdict | None = None
    requests: TransferResult | None = None
    steady: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    """What the program asked for."""

    @property
    def violations(self) -> int:
        assert self.verdict is not None
        return len(self.verdict.violations) + len(self.verdict.bypassed)

    @property
    def failed(self) -> int:
        """Requests that failed, and sessions that broke."""
        assert self.requests is not None
        return self.requests.failures + len(self.steady) + sum(len(cycle.failures) for cycle in self.cycles)


def scaled(*, hook: dict[str, str] | None) -> AutoscaleConfig:
    """With a program that finds `hook` in its environment, or with NFs that stand ready."""
    command = {"command": ["firewall"], "timeout": 10, "environment": hook} if hook else {}
    return AutoscaleConfig.model_validate(
        {
            "maximum": len(NFS),
            "targets": {"sessions": TARGET},
            "interval": 1,
            "in_window": IN_WINDOW_S,
            "provisioner": {"copies": [[nf] for nf in NFS], **command},
        }
    )


def cycles(count: int, *, hook: bool) -> Outcome:
    """So many rises and falls; in every other one the load rises again while chains cool down."""
    with Testbed(timeouts=TIMES, nf_rate_mbit=None) as testbed, Engine(testbed) as engine:
        if hook:
            program = testbed.hooks / "firewall"
            program.write_text(_HOOK)
            program.chmod(0o755)
            for nf in NFS:  # none runs before the program has started it
                engine.do("stop", nf)
        config = scaled(hook={"ENGINE": str(engine.path)} if hook else None)
        document = testbed.network.model_copy(update={"autoscale": {"main": config}})
        operation = testbed.management.apply(document)
        assert operation is not None
        testbed.management.wait(operation, WAIT_S)
        wait_until(lambda: taking(testbed) == 1, "there is one chain", WAIT_S)
        with watch(testbed, "main", NFS) as taps:
            outcome = _under_load(testbed, count)
            wait_quiet(taps)
            chains = {chain.name: chain.nfs for chain in testbed.management.chains()}
            outcome.asked = engine.asked
            outcome.verdict = judge(taps.snapshot(_all(testbed) | chains), in_flight_s=0.0)
    return outcome


def _all(testbed: Testbed) -> dict[str, list[str]]:
    """The NFs of all chains that there ever were."""
    found = {}
    for entry in testbed.management.history(kind="add"):
        if entry.chain is not None and "nfs" in entry.changes:
            found[entry.chain] = entry.changes["nfs"][1]
    return found


def _under_load(testbed: Testbed, count: int) -> Outcome:
    h1, h2, h3 = (testbed.hosts[name] for name in ("h1", "h2", "h3"))
    outcome = Outcome()
    with ByteServer(h2) as server:
        url = server.url("/20000")
        with (
            Transfers(h3, url, name="requests", parallel=1, pause=0.1) as requests,
            Talks(h1, h2, name="steady", sessions=STEADY, port=7900) as steady,
        ):
            for number in range(count):
                outcome.cycles.append(_cycle(testbed, number, again=number % 2 == 1))
            state = steady.state()
            outcome.steady = state.failures if state else ("no session",)
            outcome.requests = requests.stop()
    return outcome


def _cycle(testbed: Testbed, number: int, *, again: bool) -> Cycle:
    lasting = _talks(testbed, f"lasting-{number}", 7000 + number, LASTING)
    with ExitStack() as stack:
        with _talks(testbed, f"passing-{number}", 7100 + number, PASSING) as passing:
            rise = _until(testbed, len(NFS))
            stack.enter_context(lasting)
            failures = [*passing.wait_rounds(2).failures]
        fall, back, began = _until(testbed, 1), False, time.monotonic()
        if again:
            before = _taken_back(testbed)
            with _talks(testbed, f"again-{number}", 7200 + number, PASSING) as talks:
                _until(testbed, len(NFS))
                back = _taken_back(testbed) > before
                failures += talks.wait_rounds(2).failures
            _until(testbed, 1)
            began = time.monotonic()
        lasting.wait_rounds(int(LASTED_S / INTERVAL_S))
        failures += lasting.wait_rounds(1).failures
        lasted = time.monotonic() - began if _cooling(testbed) else 0.0
    # Sessions that are there all the time may be on one that was removed: they keep it, and it is taken back.
    wait_until(lambda: len(testbed.management.chains()) <= 2, "what nobody keeps is gone", WAIT_S)
    return Cycle(rise, fall, lasted, back, tuple(failures))


def _talks(testbed: Testbed, name: str, port: int, sessions: int) -> Talks:
    h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
    return Talks(h1, h2, name=name, sessions=sessions, port=port, interval=INTERVAL_S)


def _taken_back(testbed: Testbed) -> int:
    """Chains that the autoscaler took back while they cooled down."""
    return sum(entry.who == "autoscaler" for entry in testbed.management.history(kind="cancel"))


def _until(testbed: Testbed, count: int) -> float:
    """Seconds until so many chains take sessions."""
    began = time.monotonic()
    wait_until(lambda: taking(testbed) == count, f"{count} chains take sessions", WAIT_S)
    return time.monotonic() - began


def taking(testbed: Testbed) -> int:
    """Chains that take new sessions."""
    return sum(chain.state is ChainState.ACTIVE for chain in testbed.management.chains())


def _cooling(testbed: Testbed) -> set[str]:
    """Chains that their live sessions keep."""
    return {chain.name for chain in testbed.management.chains() if chain.state is ChainState.COOLING}
