"""Several management systems on three etcd nodes: the leader is killed under a stream of changes.

Every change that was acknowledged must be there once, whoever leads then.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self

import httpx
import yaml

from catenary.client import ManagementClient
from catenary.errors import CatenaryError, Unavailable
from catenary.wire import ChainRequest, ManagementHealth
from experiments.management.documents import CONTROLLER, many, nf_name, segment_name
from experiments.operations.plan import Plan
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies import namespaces
from topologies.etcd import Nodes, etcd
from topologies.hosts import Host
from topologies.services import Service, Services, wait_until

CLAIMS = (
    Claim("ms_failover_s", at_most=5),
    Claim("ms_failover_lost", at_least=0, at_most=0),
)
_PORTS = {"ms-1": 8081, "ms-2": 8082}
_STAND_INS_PORT = 8090
_ANSWER_S = 5.0
_EVERY_S = 0.05
"""Between two changes of the stream."""
NFS = 1500
"""Each change uses one."""


class Replicas:
    """Two management systems on one etcd, beside stand-ins for all others."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.directory = Path(tempfile.mkdtemp(prefix="failover-", dir=namespaces.PRIVATE))
        config = many(1, 1, spare=NFS, port=_STAND_INS_PORT).model_copy(update={"chains": {}})
        network = self.directory / "service.yaml"
        network.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)))
        root = Host("root", os.getpid(), self.directory, "127.0.0.1")
        argv = [sys.executable, "-m", "experiments.management.stand_ins", str(network), str(_STAND_INS_PORT)]
        self._stand_ins = root.popen(argv, log="stand-ins")
        self.services = Services()
        for name, port in _PORTS.items():
            command = ("ms", "run", "--network", str(network), "--db", nodes.url, "--port", str(port))
            ready = partial(self._answers, name)
            self.services.start(Service(name, root, "mgmt_system", command, ready))
        self.services.wait_ready()
        wait_until(self.leader, "a management system leads")

    def client(self, *names: str, timeout: float = _ANSWER_S) -> ManagementClient:
        """Of these, or of both."""
        urls = ",".join(f"http://127.0.0.1:{_PORTS[name]}" for name in names or _PORTS)
        return ManagementClient(urls, timeout=timeout)

    def health(self, name: str) -> ManagementHealth:
        with self.client(name) as client:
            return client.health()

    def _answers(self, name: str) -> bool:
        return bool(self.health(name).status)

    def leader(self) -> str | None:
        """Which of them leads; None: neither does."""
        for name in self.services.running():
            with suppress(CatenaryError):
                if self.health(name).leads:
                    return name
        return None

    def held(self) -> dict[str, int]:
        """What the stand-ins hold."""
        url = f"http://{CONTROLLER}:{_STAND_INS_PORT}/held"
        answer: dict[str, int] = httpx.get(url, trust_env=False).json()
        return answer

    def close(self) -> None:
        self.services.stop_all()
        self._stand_ins.kill()
        self._stand_ins.wait()


@contextmanager
def replicas(nodes: Nodes) -> Iterator[Replicas]:
    made = Replicas(nodes)
    try:
        yield made
    finally:
        made.close()


class Stream:
    """Changes one after the other, each a new chain, by one client of both. As a context, it goes on beside.

    `accepted`: the names of those that were acknowledged. `refused`: what was said of others.
    """

    def __init__(self, made: Replicas) -> None:
        self._client = made.client()
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        for number in range(1, NFS - 10):
            if self._stop.wait(_EVERY_S):
                return
            chain = ChainRequest(nfs=[nf_name(1, number)], name=f"c{number}", segment=segment_name(1))
            try:
                self.accepted.append(self._client.add_chain(chain).chain)
            except CatenaryError as error:
                self.refused.append(error.detail)

    def wait_for_more(self, count: int = 1) -> float:
        """Until so many more are acknowledged: the seconds that it took."""
        began, before = time.monotonic(), len(self.accepted)
        wait_until(lambda: len(self.accepted) >= before + count, "changes are acknowledged", interval=0.005)
        return time.monotonic() - began


def faults(made: Replicas, stream: Stream) -> list[str]:
    """What is wrong once all is still: acknowledged changes that are lost or doubled, parts that differ.

    The leader is asked: a follower may not have read the last change yet.
    """
    found = []
    leader = made.leader()
    if leader is None:
        raise Unavailable("no management system leads")
    with made.client(leader) as client:
        wait_until(lambda: not [it for it in client.chains() if it.state != "active"], "all are active")
        names = Counter(chain.name for chain in client.chains())
        told = Counter(entry.chain for entry in client.history(kind="add"))
        done = Counter(item.chain for item in client.operations() if item.kind == "add")
    found += [f"{name} was acknowledged and is lost" for name in stream.accepted if not names[name]]
    for what, counter in (("there", names), ("in the journal", told), ("an operation", done)):
        found += [f"{name} is {what} {count} times" for name, count in counter.items() if count > 1]
    if names != told or names != done:
        found.append("chains, journal and operations differ")
    count, held = len(names), made.held()
    if held != {"steered": count, "pairs": count, "active": count}:
        found.append(f"there are {count} chains, and the others hold {held}")
    return found


def measure(plan: Plan, say: Say) -> Part:
    """`ms_failover_s`: from the leader's SIGKILL to the next change that is acknowledged, the longest."""
    took: list[float] = []
    folder = Path(tempfile.mkdtemp(prefix="etcd-", dir=namespaces.PRIVATE))
    with etcd(folder, 3) as nodes, replicas(nodes) as made:
        with Stream(made) as stream:
            for _ in range(plan.ms_failovers):
                stream.wait_for_more(5)
                leader = made.leader()
                if leader is None:
                    raise Unavailable("no management system leads")
                made.services.kill(leader)
                took.append(stream.wait_for_more())
                say(f"{leader} killed: the other one goes on after {took[-1]:.2f} s")
                made.services.restart(leader)
        wrong = faults(made, stream)
    details = [f"beside {len(stream.accepted)} changes {len(stream.refused)} were refused", *wrong]
    figures = {
        "ms_failover_s": Figure(round(max(took), 2), f"s, the longest of {len(took)}"),
        "ms_failover_lost": Figure(len(wrong), f"of {len(stream.accepted)} changes lost or doubled"),
    }
    return Part(figures, CLAIMS, details)
