"""What running Catenary for real takes: failures of chains and of its own parts, and growth (README.md).

python -m experiments.operations.run [--only PARTS] [--quick] [--results DIR]
"""

from __future__ import annotations

from experiments.experiment import Experiment
from experiments.operations import autoscale, chain_failover, growth, lb_failover, ms_failover, synflood
from experiments.operations.plan import FULL, QUICK, Plan
from experiments.part import Part, Say


def _synflood(plan: Plan, say: Say) -> Part:
    return synflood.measure(plan.flood, say)


OPERATIONS = Experiment(
    name="operations",
    target="bench-ops",
    about=__doc__,
    full=FULL,
    quick=QUICK,
    parts={
        "chain_failover": (chain_failover.measure, chain_failover.CLAIMS),
        "lb_failover": (lb_failover.measure, lb_failover.CLAIMS),
        "ms_failover": (ms_failover.measure, ms_failover.CLAIMS),
        "autoscale": (autoscale.measure, autoscale.CLAIMS),
        "synflood": (_synflood, synflood.CLAIMS),
        "growth": (growth.measure, ()),
    },
)

if __name__ == "__main__":
    OPERATIONS.main()
