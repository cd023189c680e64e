"""Who keeps sessions whole while chains come and go: Catenary and its rivals. README.md has the claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from catenary.errors import CatenaryError
from experiments.evaluation.experiment import Evaluation, Setting
from experiments.evaluation.parameters import Parameters
from experiments.evaluation.play import NfKind
from experiments.evaluation.preflight import TESTBED, nf, rate
from experiments.evaluation.repeat import Once, Shown, Table, Tables
from experiments.peers import plot
from experiments.peers.alone import AlgorithmOne, HashModulo
from experiments.peers.balancing import CHAINS, Balancing, Managed
from experiments.peers.measuring import Offered, measure
from experiments.peers.outcome import Outcome, figures, shown
from experiments.peers.switches import Learn, Multipath
from topologies.testbed import Testbed


@dataclass(frozen=True)
class Peer:
    """`crosses`: whether it is claimed to break sessions; None: nothing is claimed."""

    title: str
    balancing: Callable[[Testbed], Balancing]
    crosses: bool | None


PEERS = {
    "catenary": Peer("Catenary", Managed, crosses=False),
    "algorithm1": Peer("Algorithm 1 at both ends", AlgorithmOne, crosses=True),
    "hash": Peer("hash % n at both ends", HashModulo, crosses=True),
    "multipath": Peer("Open vSwitch multipath", Multipath, crosses=True),
    "learn": Peer("Open vSwitch hash group + learn", Learn, crosses=None),
}


def _known(name: str) -> str:
    if name not in PEERS:
        raise ValueError(f"no peer {name!r}: there are {', '.join(PEERS)}")
    return name


class Sizes(Parameters):
    """`phase_s` from a change to the next; `capacity_mbit` of each NF (each direction); the load is that of
    `measuring.Offered`."""

    peers: tuple[Annotated[str, AfterValidator(_known)], ...] = Field(min_length=1)
    nf: Literal["firewall", "suricata"]
    capacity_mbit: float = Field(gt=0, le=1000)
    phase_s: float = Field(ge=0.5, le=600)
    parallel: int = Field(ge=1, le=1000)
    short: int = Field(ge=1, le=1000)
    late: int = Field(ge=1, le=1000)
    wait_s: float = Field(ge=0, le=60)
    timeout_s: float = Field(ge=1, le=600)

    @property
    def nfs(self) -> NfKind:
        return NfKind(self.nf, self.capacity_mbit)

    def offered(self) -> Offered:
        return Offered(self.parallel, self.short, self.late, self.wait_s, self.timeout_s)


def _shown(chosen: Sizes) -> list[Shown]:
    return [
        item
        for peer in chosen.peers
        for item in shown(peer, crosses=PEERS[peer].crosses, alerts=chosen.nfs.detects)
    ]


def _once(setting: Setting[Sizes]) -> Iterator[Once]:
    """All peers, one after the other. One that can't be measured has no figures, and the others go on."""
    found: dict[str, float | None] = {}
    tables: dict[str, Table] = {}
    details: list[str] = []
    for name in setting.parameters.peers:
        setting.say(f"{PEERS[name].title}:")
        try:
            seen = _measure(name, setting)
        except CatenaryError as error:
            details.append(f"{name} was not measured: {error.detail}")
            setting.say(details[-1])
        else:
            found |= figures(name, seen)
            tables |= plot.tables(name, seen)
            details += [f"{name}: {reason}" for reason in seen.reasons]
            setting.say(seen.reasons[0])
        yield Once(dict(found), dict(tables), details[:])


def _measure(name: str, setting: Setting[Sizes]) -> Outcome:
    chosen, balancing = setting.parameters, PEERS[name].balancing
    return measure(
        partial(Managed, sabotage=setting.sabotage) if balancing is Managed else balancing,
        chosen.offered(),
        nfs=chosen.nfs,
        phase_s=chosen.phase_s,
        say=setting.say,
        facts=setting.facts,
    )


def _plot(folder: Path, chosen: Sizes, tables: Tables) -> None:
    plot.draw(folder / "peers.png", {name: PEERS[name].title for name in chosen.peers}, tables)


EVALUATION = Evaluation(
    name="peers",
    about="Catenary beside Algorithm 1, hash % n and Open vSwitch, by the same changes and load",
    kind=Sizes,
    shown=_shown,
    once=_once,
    plot=_plot,
    needs=lambda chosen: (*TESTBED, nf(chosen.nf), rate(len(CHAINS) * chosen.capacity_mbit)),
)

if __name__ == "__main__":
    EVALUATION.main()
