"""What happened when, as values and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from experiments.chaos.field.schedule import Strike


@dataclass
class Own:
    """What a fault tells of its own doing.

    `cut`: why sessions ended that it opened. `asked` datagrams of resting sessions, each of which the slave
    had to ask about, `unanswered` of them. A storm's `changes` in `seconds`, which took so many `epochs`.
    """

    cut: list[str] = field(default_factory=list)
    asked: int = 0
    unanswered: int = 0
    changes: int = 0
    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Row:
    """One fault. Moments are s, monotonic: `begun`, `struck` (seen to be in force), `undone`, `well` (all
    services healthy again), `proved` (the sessions have been asked).

    `live` sessions of the crowd before it, `server_first` of them; `cut` tells of those that did not go on.
    `sent` datagrams of the crowd's UDP sessions, `lost` of them did not come back; `failed` short sessions.
    `orphaned`: TCP sessions that a master without tables placed anew until `proved`.
    """

    strike: Strike
    what: str
    begun: float
    struck: float
    undone: float
    well: float
    proved: float
    live: int
    server_first: int
    cut: tuple[str, ...]
    sent: int
    lost: int
    failed: int
    orphaned: int
    epoch: int
    chains: str
    own: Own = field(default_factory=Own)

    def __str__(self) -> str:
        return (
            f"{self.strike.kind:16} {self.what:34} {self.well - self.begun:5.1f} s  {self.live} live "
            f"({self.server_first} server-first), {len(self.cut)} cut, {self.lost} of {self.sent} datagrams "
            f"lost, {self.failed} short failed"
        )


@dataclass(frozen=True)
class Note:
    """Anything else that is worth a line, at a moment (s, monotonic)."""

    at: float
    text: str


def text(title: str, rows: Iterable[Row], notes: Iterable[Note], crossed: Sequence[float]) -> str:
    """The timeline of a stage; `crossed` are the moments of the violations."""
    lines = [note for row in rows for note in _notes(row)] + list(notes)
    lines += [Note(moment, "A SESSION CROSSED TWO CHAINS") for moment in crossed]
    lines.sort(key=lambda line: line.at)
    begun = lines[0].at if lines else 0.0
    shown = [title, "     time  violations"]
    for line in lines:
        so_far = sum(moment <= line.at for moment in crossed)
        shown.append(f"{line.at - begun:7.2f} s  {so_far:10}  {line.text}")
    return "\n".join(shown) + "\n"


def _notes(row: Row) -> list[Note]:
    strike = row.strike
    return [
        Note(
            row.begun,
            f"{strike}: {row.what}; epoch {row.epoch}, chains {row.chains}, {row.live} sessions live, "
            f"{row.server_first} opened by the server side",
        ),
        Note(row.struck, f"{strike}: in force"),
        Note(row.undone, f"{strike}: undone"),
        Note(row.well, f"{strike}: all are well again"),
        Note(
            row.proved,
            f"{strike}: {row.live - len(row.cut)} of {row.live} go on, {row.lost} of {row.sent} datagrams "
            f"lost, {row.failed} short sessions failed",
        ),
        *(Note(row.proved, f"{strike}: cut: {reason}") for reason in row.cut),
    ]
