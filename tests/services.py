"""The apps of all services, each with something in it; switches and data planes are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from fastapi.testclient import TestClient

from catenary import wire
from catenary.callers import Callers
from catenary.session import Timeouts
from controller import rest as controller_rest
from experiments.chaos.plane import OraclePlane
from lb_adapter import rest as balancer_rest
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from lb_adapter.standby_roles import MasterStandby
from mgmt_system import rest as management_rest
from tests.unit.mgmt_fakes import Site
from tests.unit.test_controller_conductor import ONE, World

SESSION = "tcp 10.0.0.1:4000 10.0.0.2:80"


@contextmanager
def management(callers: Callers | None = None) -> Iterator[FastAPI]:
    """With a chain, a session, and its engine running."""
    site = Site()
    site.add("n1", name="chain-1")
    site.settle()
    site.master.keys[SESSION] = site.manager.chain("chain-1").tags.pair()
    app = management_rest.create(site.running(), callers)
    with TestClient(app):
        yield app


@contextmanager
def controller(callers: Callers | None = None) -> Iterator[FastAPI]:
    """With three switches and a chain."""
    world = World()
    world.connect(1, 2, 3)
    world.conductor.steer("chain-1", ONE)
    try:
        yield controller_rest.build(world.conductor, callers)
    finally:
        world.conductor.fabric.stop()


def daemons() -> tuple[Master, Slave]:
    slave = Slave(plane(), SpliceConfig("slave", "outer", "inner", None, Timeouts()), "main")
    slave.url = "here"  # type: ignore[attr-defined]
    config = SpliceConfig("master", "outer", "inner", 4094, Timeouts())
    master = Master(plane(), config, "main", slave)  # type: ignore[arg-type]
    for daemon in (slave, master):
        daemon._stop.set()  # nobody reads what it would send a standby for as long as both live
    master.tick()
    master.change(wire.Change(add=[wire.PairAdd(forward=2, reverse=3), wire.PairAdd(forward=4, reverse=5)]))
    return master, slave


def plane() -> OraclePlane:
    """A data plane whose clock stands still."""
    return OraclePlane(lambda: 1000, Splice, 1000)


@contextmanager
def master(callers: Callers | None = None) -> Iterator[FastAPI]:
    """With two pairs, and a slave that follows."""
    yield balancer_rest.build(daemons()[0], callers)


@contextmanager
def slave(callers: Callers | None = None) -> Iterator[FastAPI]:
    """With two pairs, of a master that has greeted it."""
    yield balancer_rest.build(daemons()[1], callers)


@contextmanager
def standby(callers: Callers | None = None) -> Iterator[FastAPI]:
    """It has taken the place of its master."""
    active, peer = daemons()
    active.url = "there"  # type: ignore[attr-defined]
    config = SpliceConfig("master", "outer2", "inner2", 4094, Timeouts())
    made = MasterStandby(plane(), config, "main", peer, active)  # type: ignore[arg-type]
    made._stop.set()
    made.take_over(wire.TakeOverOrder(fenced=60))
    made.tick()  # the slave's pins, as those of the lost one never came
    made.tick()
    yield balancer_rest.build(made, callers)


SERVICES = {
    "management": management,
    "controller": controller,
    "master": master,
    "slave": slave,
    "standby": standby,
}
