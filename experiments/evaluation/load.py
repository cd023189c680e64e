"""The paper's load at the scale of this machine: all of it follows from three parameters."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from experiments.evaluation.parameters import Parameters
from experiments.evaluation.play import NfKind, Offered
from experiments.evaluation.preflight import Need, rate, sessions

PAPER_CAPACITY_MBIT = 162.0
"""What one Snort carries in the paper."""


@dataclass(frozen=True)
class PaperLoad:
    """What the paper's hosts offer: `sessions` of `megabytes`, `rate` begun a second (h1's httperf), and
    `injections`, `batch` at once every `every` s (h3's curl)."""

    sessions: int = 8000
    rate: float = 75.0
    megabytes: float = 0.75
    injections: int = 0
    batch: int = 1
    every: float = 1.0

    @property
    def seconds(self) -> float:
        """For so long sessions begin."""
        return self.sessions / self.rate

    @property
    def overload(self) -> float:
        """Offered by httperf, over what one NF carries."""
        return self.rate * self.megabytes * 8 / PAPER_CAPACITY_MBIT if self.sessions else 0.0


class Load(Parameters):
    """Each NF is an `nf` (topologies/nfs) that carries `capacity_mbit` (each direction). Of the paper's
    sessions and injections there is a `share`, and its time axis is shortened by `time_scale`. The size of a
    session is what keeps its ratio of offered load to capacity."""

    nf: str
    capacity_mbit: float = Field(gt=0, le=1000)
    time_scale: float = Field(gt=0, le=1)
    share: float = Field(gt=0, le=1)

    @property
    def nfs(self) -> NfKind:
        return NfKind(self.nf, self.capacity_mbit)

    def mbit(self, paper: PaperLoad, nfs: int) -> float:
        """What so many NFs then let through at the most."""
        return min(paper.overload, nfs) * self.capacity_mbit

    def needs(self, *loads: tuple[PaperLoad, int]) -> list[Need]:
        """Of a machine that is to carry each of them, through so many NFs."""
        most = max(self.mbit(paper, nfs) for paper, nfs in loads)
        begun = max(self.offered(paper).begun_a_second for paper, _ in loads)
        return [rate(most), sessions(begun)]

    def offered(self, paper: PaperLoad) -> Offered:
        """Its size and rates here."""
        sessions = round(paper.sessions * self.share)
        rate = sessions / (paper.seconds * self.time_scale) if sessions else 0.0
        return Offered(
            rate=round(rate, 3),
            sessions=sessions,
            size=round(paper.overload * self.capacity_mbit * 1e6 / 8 / rate) if rate else 0,
            injections=round(paper.injections * self.share),
            batch=max(round(paper.batch * self.share), 1),
            every=paper.every * self.time_scale,
        )
