"""What is known of a host before a load balancer is started on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lb_adapter.dataplane.base import PINS_DEFAULT, DataPlaneName


@dataclass(frozen=True)
class Plan:
    """What shall be started: the options of `catenary lb run` that a host must have room and means for."""

    data_plane: DataPlaneName = "ebpf"
    sessions: int = PINS_DEFAULT


NEEDS_ROOT = "needs root: sudo catenary doctor"


@dataclass(frozen=True)
class Trial:
    """What a trial showed, or the refusal that it met, or why it was not made.

    `by_kernel`: it is the kernel that refused, in words that name no fix.
    """

    found: str = ""
    refused: str = ""
    skipped: str = ""
    by_kernel: bool = False


UNTRIED = Trial(skipped=NEEDS_ROOT)


@dataclass(frozen=True)
class Trials:
    """What was tried, so that nothing of it is left.

    `ebpf`: the programs over tables of their own. `clsact`: one of them at an interface. `af_packet` and
    `pf_ring`: the worker on one.
    """

    ebpf: Trial = UNTRIED
    clsact: Trial = UNTRIED
    af_packet: Trial = UNTRIED
    pf_ring: Trial = UNTRIED


@dataclass(frozen=True)
class Clocks:
    """`hz`: what the kernel's configuration says, 0 if it is nowhere; `tick`: what the clock shows, in s."""

    source: str
    hz: int
    tick: float
    synchronised: bool


@dataclass(frozen=True)
class Host:
    """`needed` and `available` in bytes: of the session table, and for it. `jit`: what the sysctl says.

    `bpffs`: where it is mounted; empty if it is nowhere, None if this kernel has none. Of each tool that is
    on the PATH its version.
    """

    root: bool
    kernel: str
    cpus: int
    needed: int
    available: int
    jit: str
    bpffs: str | None
    tools: Mapping[str, str]
    clocks: Clocks
    trials: Trials = Trials()


@dataclass(frozen=True)
class Filter:
    """A filter at tc ingress: its kind, and its preference, the lowest of which sees a frame first."""

    kind: str
    preference: int


@dataclass(frozen=True)
class Queues:
    """Receive queues of a network card that are in use, and that it has; `kind` as ethtool names them."""

    used: int
    most: int
    kind: Literal["combined", "rx"] = "combined"


@dataclass(frozen=True)
class Feature:
    """What a card does with frames by itself: is it on, and may nobody change that?"""

    on: bool
    fixed: bool = False


@dataclass(frozen=True)
class Link:
    """One interface. `ours`: a load balancer's program is on it; `refused`: why none can be put there.

    Without root both are unknown. `bridge` is the name of what it is a port of. `queues`: None of what is no
    network card, or has no say in that. GRO and LRO: does it merge frames? `vlan`: what it does about tags,
    by the name that `ethtool -K` takes. `later`: filters behind ours.
    """

    name: str
    up: bool
    carrier: bool
    mtu: int
    gro: bool = False
    lro: bool = False
    vlan: Mapping[str, Feature] = field(default_factory=dict)
    queues: Queues | None = None
    xdp: bool = False
    addresses: tuple[str, ...] = ()
    bridge: str = ""
    later: tuple[Filter, ...] = ()
    ours: bool = False
    refused: str = ""


@dataclass(frozen=True)
class Ports:
    """The two interfaces as far as they are there; `refused`: why they can't be the ports of a splice."""

    links: tuple[Link, ...]
    refused: str = ""
