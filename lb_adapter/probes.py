"""The master's part in health checks (affinity rule 9): what follows when a chain is down, or up again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

from catenary import wire
from catenary.chain import Condition, PairState
from catenary.errors import CatenaryError
from catenary.health import HealthCheck
from catenary.tags import TagPair
from lb_adapter import balancer
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.core.setup import Order
from lb_adapter.daemon import log, to_wire
from lb_adapter.dataplane.base import DataPlane, Load, SpliceConfig
from lb_adapter.health import MEMORY, Health, turns_after
from lb_adapter.prober import Prober, Target
from lb_adapter.sessions import Sessions


class Probes(Sessions):
    """It acts by itself: nobody is asked, and what could not be done is done at the next tick."""

    def __init__(self, plane: DataPlane, config: SpliceConfig, *rest: object, **options: object) -> None:
        super().__init__(plane, config, *rest, **options)  # type: ignore[arg-type]
        quiet = 2 * config.timeouts.transit
        self._prober = Prober(plane, config.inner, self._targets, self._chains_turned, quiet=quiet)

    @property
    @abstractmethod
    def table(self) -> ChainTable: ...
    @abstractmethod
    def _moves(self, new: ChainTable) -> bool: ...

    def _targets(self) -> dict[Target, bool]:
        """The chains to be probed, and whether each is down already."""
        return {
            Target(p.tags, p.slot, p.generation): p.condition is not Condition.UP
            for p in self.table.pairs
            if p.state is PairState.ACTIVE and not p.bypass
        }

    def _prepare(self, table: ChainTable) -> None:
        super()._prepare(table)
        if table.check != self._prober.check:
            self._prober.set(table.check)

    def put_health(self, order: wire.HealthOrder) -> wire.ChainSet:
        """Probe so from now on."""
        self._refuse_while_copying()
        check = None if order.health is None else order.health.check()
        if check is not None and check.on_dead == "rebalance":
            self._refuse_if_rewriting("on_dead: reset")
        with self._turn:
            table = balancer.checked_by(self.table, check)
            if table != self.table:
                self._propose(table, force=False)
            return to_wire(self._segment, self.table)

    def _chains_turned(self) -> None:
        try:
            self._act_on_health()
        except CatenaryError as error:
            log.warning("chain is down, and nothing could be done yet", reason=error.detail)

    def _act_on_health(self) -> None:
        """Put in force what probes say, and end what a shut chain still has. Repeated, it does the rest."""
        check = self.table.check
        if check is None:
            return
        with self._turn:
            known = self._prober.verdicts()
            down = {tags for tags, health in known.items() if health.verdict == "down"}
            table = balancer.judged(self.table, down, self._clock())
            # In an overflow what lives by the hash may move. New sessions of a chain that fell would be lost
            # else; one that is up again can wait.
            fell = bool(_fallen(table) - _fallen(self.table))
            if table.open and not self.table.open:
                log.error("no chain is left", now="new sessions pass by")
            if table != self.table and (fell or not (self._moves(table) and self._plane.overflow())):
                self._propose(table, force=fell)
            for pair in self.table.pairs:
                if pair.condition is Condition.SHUT:
                    self._empty(pair, "reset" if check.on_dead == "reset" else "delete")

    def _empty(self, pair: Pair, mode: wire.SweepMode) -> None:
        with self._lock:
            if not self._walk().get(pair.slot, Load()).pins:
                return
        swept = self._sweep(Order(mode, (pair.slot, pair.generation)))
        log.warning("sessions of a dead chain", pair=str(pair.tags), reset=swept.reset, moved=swept.moved)

    def _probed(self) -> Mapping[TagPair, wire.PairHealth]:
        check, now = self.table.check, self._clock()
        if check is None:
            return {}
        return {tags: _told(known, check, now) for tags, known in self._prober.verdicts().items()}

    def _reason(self) -> str | None:
        return super()._reason() or self._prober.trouble or self._unwell()

    def _unwell(self) -> str | None:
        """The chains that probes speak against, in words."""
        known = self._prober.verdicts()
        down = [str(tags) for tags, health in known.items() if health.verdict == "down"]
        unproven = [str(tags) for tags, health in known.items() if health.verdict == "unproven"]
        words = [f"chains that are down: {', '.join(down)}"] if down else []
        if self.table.open:
            words.append("no chain is left, so new sessions pass by")
        if unproven:
            words.append(
                f"no probe ever came back from {', '.join(unproven)}: see that its network functions let "
                "probes pass, or use another kind; until then its traffic goes on"
            )
        return "; ".join(words) or None

    def start(self, settled: Callable[[], None] = lambda: None) -> None:
        super().start(settled)
        self._prober.start()

    def stop(self, *, detach: bool) -> None:
        self._prober.stop()
        super().stop(detach=detach)


def _told(known: Health, check: HealthCheck, now: float) -> wire.PairHealth:
    return wire.PairHealth(
        verdict=known.verdict,
        seconds=round(max(0.0, now - known.since), 3),
        latency_ms=_ms(known.latency),
        answered_ms=_ms(known.answered),
        sent=known.sent,
        lost=known.lost,
        falls=sum(now - fall < MEMORY for fall in known.falls),
        row=known.row,
        needed=turns_after(known, check, now),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def _fallen(table: ChainTable) -> set[TagPair]:
    return {pair.tags for pair in table.pairs if pair.condition is not Condition.UP}
