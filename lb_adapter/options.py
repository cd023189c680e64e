"""Options that several commands of a load balancer's host have."""

from __future__ import annotations

from enum import StrEnum

from catenary.errors import InvalidValue


class DataPlaneOption(StrEnum):
    EBPF = "ebpf"
    AF_PACKET = "af_packet"
    PF_RING = "pf_ring"


def both_ports(outer: str | None, inner: str | None) -> tuple[str, str] | None:
    """The names of both interfaces, or None; one alone is refused."""
    if outer is None and inner is None:
        return None
    if outer is None or inner is None:
        raise InvalidValue("--outer and --inner go together: name both interfaces")
    return outer, inner
