"""What the user sees: live progress in a terminal, plain lines elsewhere, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from catenary.wire import ChainStatus
from experiments.demo.meter import Meter
from experiments.demo.story import NF_RATE_MBIT

_BARS = " ▁▂▃▄▅▆▇█"
_FULL_MBIT = 3 * NF_RATE_MBIT
_PLAIN_EVERY_S = 2.0


class Screen:
    """The demo's voice. `say` prints a line; `live` keeps a picture of the chains up to date."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._begun: float | None = None
        self._spoken = 0.0
        self._live: Live | None = None
        self._title = ""

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Show that something is under way."""
        if not self.console.is_terminal:
            self.say(f"{text} ...")
            yield
            return
        with self.console.status(text):
            yield
        self.say(f"[green]✓[/] {text}")

    @contextmanager
    def live(self, now: float) -> Iterator[None]:
        """Begin the picture; `now` is the story's moment 0 (seconds, monotonic)."""
        self._begun = now
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            self._live = live if self.console.is_terminal else None
            try:
                yield
            finally:
                self._live = None

    def headline(self, text: str) -> None:
        """What is happening now."""
        self._title = text
        self.say(f"[bold]{text}[/]")

    def show(self, meter: Meter, now: float) -> None:
        """Refresh the picture, or say a line now and then where there is no terminal."""
        rates, total = self._rates(meter, now)
        chains = meter.status.chains if meter.status else []
        if self._live is not None:
            self._live.update(self._picture(chains, rates, total, now, meter.away), refresh=True)
        elif now - self._spoken >= _PLAIN_EVERY_S:
            self._spoken = now
            parts = [f"{c.name} {c.state} {rates.get(c.name, 0):.0f} Mbit/s" for c in chains]
            self.say(f"  {now - (self._begun or now):5.1f} s  {total[-1]:6.1f} Mbit/s  {', '.join(parts)}")

    def _rates(self, meter: Meter, now: float) -> tuple[Mapping[str, float], list[float]]:
        """Mbit/s of each chain in the last second, and of all in each of the last 60."""
        series = meter.series()
        if len(series.times) < 2:
            return {}, [0.0]
        rates = series.throughput(np.arange(now - 59, now + 0.5, 1.0))
        return dict(zip(series.chains, rates[-1], strict=True)), [float(rate) for rate in rates.sum(axis=1)]

    def _picture(
        self,
        chains: Sequence[ChainStatus],
        rates: Mapping[str, float],
        total: Sequence[float],
        now: float,
        away: str | None,
    ) -> RenderableType:
        table = Table(expand=False)
        for name in ("chain", "NFs", "tags", "state", "Mbit/s", "sessions", "share"):
            numeric = name in ("Mbit/s", "sessions", "share")
            table.add_column(name, justify="right" if numeric else "left", min_width=8)
        for chain in chains:
            table.add_row(
                chain.name,
                ",".join(chain.nfs),
                f"{chain.tags.forward},{chain.tags.reverse}",
                Text(chain.state, style=_STYLES.get(chain.state, "")),
                f"{rates.get(chain.name, 0):.1f}",
                "" if chain.sessions is None else str(chain.sessions),
                "" if chain.share is None else f"{chain.share:.0%}",
            )
        sparks = "".join(_BARS[min(8, round(8 * rate / _FULL_MBIT))] for rate in total)
        head = f"{now - (self._begun or now):5.1f} s  {total[-1]:6.1f} Mbit/s  [cyan]{sparks}[/]"
        lines: list[RenderableType] = [head, table]
        if away:
            lines.append(f"[yellow]{away}[/]")
        return Group(*lines)


_STYLES = {"active": "green", "cooling": "yellow", "drained": "yellow", "failed": "red"}
