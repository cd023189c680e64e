"""Two management systems on three etcd nodes, and what they bear under a stream of changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from catenary.client import ManagementClient
from catenary.errors import Unavailable
from catenary.wire import ChainRequest
from experiments.management.documents import nf_name
from experiments.operations.ms_failover import NFS, Replicas, Stream, faults, replicas
from tests.isolation import isolated
from topologies.etcd import etcd
from topologies.services import wait_until

FAILOVER_S = 5.0
"""What is claimed: `make bench-ops` measures it."""
pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs etcd: run tools/install.sh test")


def chain(number: int) -> ChainRequest:
    return ChainRequest(nfs=[nf_name(1, NFS + 1 - number)], name=f"extra-{number}")


def insisted(client: ManagementClient, number: int) -> bool:
    """Ask for a chain unless it is there: one that was refused may have been written."""
    return chain(number).name in names(client) or bool(client.add_chain(chain(number)))


def names(client: ManagementClient) -> set[str]:
    return {item.name for item in client.chains()}


def roles(made: Replicas) -> tuple[str, str]:
    """Who leads, and who follows."""
    leader = made.leader()
    assert leader is not None
    return leader, "ms-2" if leader == "ms-1" else "ms-1"


def what_was_acknowledged_is_there_once(made: Replicas) -> None:
    nodes = made.nodes
    with Stream(made) as stream:
        stream.wait_for_more(10)
        first, second = roles(made)
        made.services.kill(first)
        assert stream.wait_for_more() < FAILOVER_S
        assert made.leader() == second
        for lose, find in ((nodes.kill, nodes.start), (nodes.hold, nodes.go_on)):
            node = nodes.leader()
            assert node is not None
            lose(node)
            stream.wait_for_more(10)
            find(node)
        made.services.restart(first)
        stream.wait_for_more(10)
        assert made.leader() == second, "who comes back follows"
    assert faults(made, stream) == []
    with made.client(first) as one, made.client(second) as two:
        wait_until(lambda: names(one) == names(two), "the follower has read all")


def without_a_quorum_reads_go_on_and_changes_are_refused(made: Replicas) -> None:
    nodes = made.nodes
    first, second = roles(made)
    with made.client(first) as leader, made.client(second) as follower:
        leader.add_chain(chain(1))
        there = names(leader)
        wait_until(lambda: names(follower) == there, "the follower has read it")
        for number in (0, 1):
            nodes.kill(number)
        both = (leader, follower)
        wait_until(lambda: all("does not answer" in str(it.health().reason) for it in both), "both know")
        for client in both:
            with pytest.raises(Unavailable, match=r"no management system leads at present.*127.0.0.1:12379"):
                client.add_chain(chain(2))
            assert names(client) == there
            assert [entry.chain for entry in client.history(kind="add")][-1] == "extra-1"
            assert client.operations()[-1].chain == "extra-1"
            assert next(iter(client.status().services)).name == "store"
        nodes.start(0)
        wait_until(lambda: insisted(leader, 3), "it goes on by itself")
        wait_until(lambda: names(follower) == there | {"extra-3"}, "the follower reads on")


def a_leader_that_stops_is_followed_at_once(made: Replicas) -> None:
    first, second = roles(made)
    made.services.stop(first)
    with made.client() as client:
        wait_until(lambda: insisted(client, 4), "the other one leads")
    assert made.leader() == second


@isolated
def test_two_management_systems_on_three_nodes(tmp_path: Path) -> None:
    with etcd(tmp_path, 3) as nodes, replicas(nodes) as made:
        what_was_acknowledged_is_there_once(made)
        without_a_quorum_reads_go_on_and_changes_are_refused(made)
        a_leader_that_stops_is_followed_at_once(made)
