"""What a load balancer that is well says of itself."""

from __future__ import annotations

from typing import Any

from catenary import wire


def health_of(**fields: Any) -> wire.BalancerHealth:
    """A slave, unless `fields` say otherwise."""
    made = wire.BalancerHealth(
        status="ok",
        role="slave",
        segment="main",
        data_plane="ebpf",
        epoch=1,
        instance="x",
        ask_id=4094,
        timeouts=wire.TimeoutsModel(),
        rewrites=False,
        peer=wire.PeerHealth(url=None, connected=True),
    )
    return made.model_copy(update=fields)
