"""What `make bench-ops` claims."""

from __future__ import annotations

from experiments.operations.rising import IN_WINDOW_S
from experiments.operations.run import OPERATIONS

ASKED = {
    "chain_failover_s": (None, 3.2),
    "chain_failover_fast_s": (None, 0.5),
    "lb_failover_s": (None, 1),
    "lb_failover_pins_lost": (0, 0),
    "lb_failover_slave_s": (None, 1),
    "lb_failover_slave_pins_lost": (0, 0),
    "ms_failover_s": (None, 5),
    "ms_failover_lost": (0, 0),
    "autoscale_violations": (0, 0),
    "autoscale_failed": (0, 0),
    "autoscale_lasted_s": (IN_WINDOW_S, None),
    "synflood_live_sessions_lost": (None, 0),
    "synflood_new_session_success": (0.95, None),
}
"""At least, at most."""


def test_every_figure_that_is_asked_for_has_its_claim() -> None:
    claims = [claim for _, claims in OPERATIONS.parts.values() for claim in claims]
    assert {claim.key: (claim.at_least, claim.at_most) for claim in claims} == ASKED
