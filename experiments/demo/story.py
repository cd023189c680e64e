"""What the demo does and when, as values: the steps, their lengths, the segment's timeouts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from catenary.errors import InvalidValue
from catenary.session import Timeouts

Verb = Literal["add", "remove"]

NF_RATE_MBIT = 30.0
"""Capacity of each NF in each direction: the NF is the bottleneck, as Snort is in the paper."""

TIMEOUTS = Timeouts(
    tcp_opening=8.0,  # longer than a client waits between two SYNs of one attempt (1, 2, 4 s)
    tcp_established=20.0,  # longer than any gap of a live session here, retransmissions included
    tcp_closing=2.0,
    udp=2.0,
    other=2.0,
    neighbour=2.0,
    lease=1.25,
    transit=1.0,  # an NF's full queue alone takes 0.3 s
)
"""Short, so that a removed chain is drained within a phase; a service on real networks keeps the defaults."""


@dataclass(frozen=True)
class Step:
    """One change of the chain set; `nf` is the one NF of the chain."""

    verb: Verb
    chain: str
    nf: str

    def __str__(self) -> str:
        return f"{self.verb} {self.chain} ({self.nf})"


STORY = (
    Step("add", "chain-1", "n1"),
    Step("add", "chain-2", "n2"),
    Step("add", "chain-3", "n3"),
    Step("remove", "chain-2", "n2"),
    Step("remove", "chain-3", "n3"),
)
NF_OF = {step.chain: step.nf for step in STORY if step.verb == "add"}


def active_after(number: int) -> tuple[str, ...]:
    """The chains that take new sessions once the first `number` steps are done, in order of their adding."""
    chains: dict[str, None] = {}
    for step in STORY[:number]:
        if step.verb == "add":
            chains[step.chain] = None
        else:
            del chains[step.chain]
    return tuple(chains)


@dataclass(frozen=True)
class Plan:
    """How long, and how much is asked for."""

    phase_s: float = 16.0
    """Seconds from one step to the next; the paper's is 35."""
    adds: int = 20
    """Chains added one by one after the story, to measure `add_latency_ms`."""
    min_sessions: int = 2000
    min_server_opened: int = 200
    min_share: float = 20.0
    """Per cent of a phase's new sessions, for each active chain."""
    timed: bool = True
    """Whether to hold the times to what is asked: that needs a machine that does nothing else."""

    def __post_init__(self) -> None:
        if not 4.0 <= self.phase_s <= 600.0:
            raise InvalidValue(f"a phase of {self.phase_s:g} s is out of range: use 4..600")
        if not 1 <= self.adds <= 1000:
            raise InvalidValue(f"{self.adds} adds are out of range: use 1..1000")

    @property
    def settle_s(self) -> float:
        """How much of a phase's begin is left out of its mean throughput: chains fill or cool down."""
        return 0.4 * self.phase_s


FULL = Plan()
PAPER = replace(FULL, phase_s=35.0)
BRIEF = Plan(phase_s=7.0, adds=4, min_sessions=700, min_server_opened=70, min_share=5.0, timed=False)
"""The same story in short. It asks for fewer sessions, a smaller share (most of a short phase goes by while
the chain that was added catches up), and no times, which need a quiet machine."""
