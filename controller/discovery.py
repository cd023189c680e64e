"""Which links are there, from LLDP frames that were heard: a pure table, `now` is an argument (seconds)."""

from __future__ import annotations

from controller.network import Link, Port

PERIOD = 1.0
"""Seconds between two rounds of probes; a change of switches or ports starts a round at once."""
LIFETIME = 6.0
"""Seconds without a probe after which a link is gone: a busy switch may lose a few in a row."""
SETTLE = 0.5
"""Seconds without a change before the topology counts as known: paths chosen earlier could be detours."""


class LinkTable:
    """One entry a direction that a probe crossed; a link needs both, for chains use both."""

    def __init__(self, lifetime: float = LIFETIME) -> None:
        self._lifetime = lifetime
        self._heard: dict[tuple[Port, Port], float] = {}

    def heard(self, source: Port, at: Port, now: float) -> bool:
        """A probe sent out of `source` came in `at`; says whether that made a link."""
        before = self.links()
        self._heard = {pair: when for pair, when in self._heard.items() if pair[0] != source or pair[1] == at}
        self._heard[source, at] = now
        return self.links() != before

    def expire(self, now: float) -> bool:
        """Forget what was not heard for a lifetime; says whether a link went."""
        before = self.links()
        self._heard = {pair: when for pair, when in self._heard.items() if now - when <= self._lifetime}
        return self.links() != before

    def keep(self, ports: frozenset[Port], switch: str) -> bool:
        """Forget what crossed other ports of `switch` than these (down or gone); says whether a link went."""
        before = self.links()
        self._heard = {
            pair: when
            for pair, when in self._heard.items()
            if all(end.switch != switch or end in ports for end in pair)
        }
        return self.links() != before

    def links(self) -> frozenset[Link]:
        return frozenset(Link.of(*pair) for pair in self._heard if pair[::-1] in self._heard)
