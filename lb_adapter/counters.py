"""What a load balancer counts under `counters`, each with its meaning for people."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lb_adapter import abi


def _reasons() -> dict[str, str]:
    """The comments of `enum reason`, which is the one place where they stand."""
    _, _, body = (abi.CORE / "abi.h").read_text().partition("enum reason {")
    body, _, _ = body.partition("};")
    return dict(re.findall(r"^\s*(\w+) = \d+,\s*/\* (.+?) \*/$", body, re.MULTILINE))


OWN: Mapping[str, str] = {
    "left_out": "master: pins of its slave's copy for which its table had no room (rule 8)",
}
"""Those of the daemon; all others are of the data plane."""


def meanings() -> dict[str, str]:
    """All counters, in the order of a REST answer."""
    return _reasons() | dict(OWN)
