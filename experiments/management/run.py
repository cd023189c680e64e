"""What the management system takes, and whether it keeps its word when it is killed (README.md).

python -m experiments.management.run [--only PARTS] [--quick] [--results DIR]
"""

from __future__ import annotations

from experiments.experiment import Experiment
from experiments.management import compared, cooldowns, crashes, explained, scale, wide
from experiments.management.plan import FULL, QUICK

MANAGEMENT = Experiment(
    name="management",
    target="bench-mgmt",
    about=__doc__,
    full=FULL,
    quick=QUICK,
    parts={
        "scale": (scale.measure, scale.CLAIMS),
        "wide": (wide.measure, wide.CLAIMS),
        "explained": (explained.measure, explained.CLAIMS),
        "compared": (compared.measure, compared.CLAIMS),
        "cooldowns": (cooldowns.measure, cooldowns.CLAIMS),
        "crashes": (crashes.measure, crashes.CLAIMS),
    },
)

if __name__ == "__main__":
    MANAGEMENT.main()
