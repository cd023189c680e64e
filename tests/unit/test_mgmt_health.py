"""How a master comes to probe its chains as the configuration says."""

from __future__ import annotations

from catenary.errors import Conflict
from tests.unit.mgmt_fakes import Site, network_text

PROBED = network_text().replace("slave: l2,", "slave: l2, health: {kind: raw},")


def test_a_master_is_told_once() -> None:
    site = Site(network=PROBED)
    site.add("n1", name="chain-1")
    site.settle()
    assert site.master.check is not None
    assert site.master.check.kind == "raw"
    assert site.master.calls.count("put_health") == 1


def test_one_that_forgot_is_told_again() -> None:
    site = Site(network=PROBED)
    site.step()
    site.master.check = None
    site.settle()
    assert site.master.check is not None


def test_one_that_adopted_a_chain_as_down_is_told_that_nobody_probes() -> None:
    site = Site()
    site.add("n1", name="chain-1")
    site.settle()
    site.master.fallen = True
    site.step()
    assert not site.master.fallen


def test_a_segment_that_fails_open_has_a_bypass() -> None:
    config = Site(network=PROBED.replace("kind: raw", "kind: raw, when_none: fail-open")).config
    assert list(config.bypasses) == ["main-bypass"]
    assert not Site(network=PROBED).config.bypasses


def test_one_that_refuses_goes_on_serving_and_is_told_again() -> None:
    site = Site(network=PROBED)

    def full(call: str, after: bool) -> None:
        if call == "put_health":
            raise Conflict("the session table of 1000 is full")

    site.add("n1", name="chain-1")
    site.settle()
    site.master.fault, site.master.check = full, None
    site.master.states.clear()
    site.master.weights.clear()
    site.settle()
    assert site.master.states, "it lost its chains, and got them back"
    assert site.master.check is None
    site.master.fault = lambda call, after: None
    site.step()
    assert site.master.check is not None
