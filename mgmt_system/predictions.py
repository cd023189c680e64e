"""What the masters know of the sessions of chains that are to be removed, for predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from catenary.errors import CatenaryError
from catenary.session import Timeouts
from catenary.tags import TagPair
from catenary.wire import ChainLives
from mgmt_system.current import Current
from mgmt_system.forecast import Forecast, Outlook
from mgmt_system.peers import Peers
from mgmt_system.records import ChainRecord, Goal

FRESH_S = 5.0
"""How old a life table may be: it tells of the last hour, and cool-downs take minutes."""


@dataclass(frozen=True)
class Prospect:
    """The live sessions of a chain, and what is to be expected of sessions of its segment."""

    outlook: Outlook
    lives: ChainLives

    def forecast(self) -> Forecast:
        return self._forecast

    @cached_property
    def _forecast(self) -> Forecast:
        return self.outlook.forecast(self.lives)

    def cut(self, deadline: float) -> float:
        return self.outlook.cut(self.lives, deadline)


class Predictions:
    """Asks the masters for life tables, each once a question. One that is silent leaves its chains out.

    `clock` only measures, in seconds. Calls come from many threads; two may ask for the same table.
    """

    def __init__(self, peers: Peers, network: Current, clock: Callable[[], float] = time.monotonic) -> None:
        self._peers = peers
        self._network = network
        self._clock = clock
        self._known: dict[tuple[str, Timeouts], tuple[float, dict[TagPair, Prospect]]] = {}

    def prospects(self, records: Iterable[ChainRecord]) -> dict[str, Prospect]:
        """By chain, for those of these whose master tells."""
        wanted = [record for record in records if record.carrying]
        found = {}
        for segment in dict.fromkeys(record.segment for record in wanted):
            config = self._network.segments[segment]
            known = self._of(config.master, config.timeouts.timeouts())
            for record in wanted:
                if record.segment == segment and record.chain.tags in known:
                    found[record.name] = known[record.chain.tags]
        return found

    def _of(self, master: str, timeouts: Timeouts) -> dict[TagPair, Prospect]:
        """All chains of a master, by their tags; none if it does not tell."""
        now = self._clock()
        heard, known = self._known.get((master, timeouts), (float("-inf"), {}))
        if now - heard < FRESH_S:
            return known
        try:
            table = self._peers.balancers[master].lives()
        except CatenaryError:
            return {}
        outlook = Outlook(table, timeouts)
        known = {pair.pair(): Prospect(outlook, pair) for pair in table.pairs}
        self._known[master, timeouts] = now, known
        return known

    def forecasts(self, records: Iterable[ChainRecord]) -> dict[str, Forecast]:
        """By chain, as `prospects`: ask before a change is decided, for others wait for that."""
        return {name: prospect.forecast() for name, prospect in self.prospects(records).items()}


def predicted(
    before: ChainRecord | None, after: ChainRecord, forecasts: Mapping[str, Forecast]
) -> ChainRecord:
    """A record that is about to be written; with a prediction, if it begins the removal of its chain."""
    found = forecasts.get(after.name)
    if found is None or before is None or before.goal is Goal.ABSENT or after.goal is not Goal.ABSENT:
        return after
    return replace(after, p50=round(found.p50, 1), p95=round(found.p95, 1))
