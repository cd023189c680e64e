"""What every run with traffic through the load balancers is held to, whatever else it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.evaluation.play import Offered, Played, chain_of
from experiments.evaluation.repeat import Shown, none_of
from topologies.traffic import HttperfResult, InjectionResult
from witness.verdict import Verdict

MAX_LOSS_PERCENT = 0.1
"""Of what comes to both load balancers. If one drops 1 % of what it sends to the chains, a quarter of that is
lost at the least: each packet comes to both, and where each has an answer, half of them go the other way."""
LEAST_SHARE = 0.2
"""p2c gives a chain that others outnumber more than its share, until it has caught up."""
MAX_UNANSWERED_PERCENT = 2.0
"""curl gives up after a while: what is offered to an IDS above what it carries gets lost, again and again."""
LEAST_OFFERED = 0.9
"""Of what was planned: with less than that from its clients, a run shows nothing."""


@dataclass(frozen=True)
class Span:
    """From `since` to `until` (s, as in `Played`) these chains take new sessions."""

    since: float
    until: float
    chains: tuple[str, ...]


def whole(played: Played, nfs: Sequence[str]) -> Span:
    """All of a run in which the chains of these NFs stay."""
    return Span(played.moments[0], played.end, tuple(map(chain_of, nfs)))


def shown(*, clients: bool = True) -> list[Shown]:
    """`lost` came to a load balancer and did not leave it. What gets lost `between_taps`, outside NFs, is
    told only: a switch that is given more than it carries drops. With `clients`, what these say, too."""
    found = [
        Shown("sessions", "sessions", at_least=1, worst=min),
        none_of("violations", "sessions"),
        none_of("bypassed", "sessions"),
        none_of("witness_dropped", "packets"),
        Shown("lost", "% in a load balancer", at_most=MAX_LOSS_PERCENT, worst=max),
        Shown("between_taps", "% lost between two taps", worst=max),
        Shown("least_share", "of an even share of new sessions", at_least=LEAST_SHARE, worst=min),
    ]
    if clients:
        found += [
            Shown("begun", "of the sessions planned", at_least=LEAST_OFFERED, worst=min),
            Shown("sent", "of the injections planned", at_least=LEAST_OFFERED, worst=min),
            none_of("cut", "sessions that the client did not end"),
            Shown("unanswered", "% of the injections", at_most=MAX_UNANSWERED_PERCENT, worst=max),
            none_of("missed", "injections that no NF told of, or two"),
        ]
    return found


def figures(played: Played, spans: Sequence[Span]) -> dict[str, float | None]:
    """Their values in one run, of all segments."""
    verdicts = [seen.verdict for seen in played.seen.values()]
    clients = of_clients(played.offered, played.browsed, played.injections)
    return of_verdicts(verdicts, spans, played.lost) | clients | {"missed": played.missed}


def of_clients(
    offered: Offered, browsed: HttperfResult | None, injections: InjectionResult | None
) -> dict[str, float | None]:
    """Whether they did what was planned. Sessions that are open when the run ends were not cut."""
    return {
        "begun": browsed.connections / offered.sessions if browsed else 1.0,
        "cut": browsed.cut if browsed else 0,
        "sent": injections.sent / offered.injections if injections else 1.0,
        "unanswered": _unanswered(injections) if injections else 0,
    }


def _unanswered(injections: InjectionResult) -> float:
    return 100 * (1 - injections.answered / max(injections.sent, 1))


def of_verdicts(verdicts: Sequence[Verdict], spans: Sequence[Span], lost: float) -> dict[str, float | None]:
    """Those that the witness tells, and the share `lost` in a load balancer (0..1)."""
    return {
        "sessions": max(verdict.sessions for verdict in verdicts),
        "violations": sum(len(verdict.violations) for verdict in verdicts),
        "bypassed": sum(len(verdict.bypassed) for verdict in verdicts),
        "witness_dropped": sum(verdict.witness_dropped for verdict in verdicts),
        "lost": 100 * lost,
        "between_taps": 100 * max(verdict.loss_share for verdict in verdicts),
        "least_share": min(_least_share(verdict, span) for verdict in verdicts for span in spans),
    }


def _least_share(verdict: Verdict, span: Span) -> float:
    """The smallest of its chains, over an even share."""
    among = [chain for chain in span.chains if chain in verdict.chains]
    return min(verdict.shares(_ns(span.since), _ns(span.until), among=among).values()) * len(among)


_PICKS: Mapping[str, Callable[[Iterable[float]], float]] = {
    "lost": max,
    "between_taps": max,
    "least_share": min,
    "unanswered": max,
    "begun": min,
    "sent": min,
}


def of_several(parts: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Of a run that plays several times: sums of what is counted, the worst of shares."""
    found: dict[str, float | None] = {}
    for key in parts[0] if parts else ():
        pick = _PICKS.get(key, sum)
        found[key] = pick(part[key] or 0 for part in parts)
    return found


def details(played: Played) -> list[str]:
    """The first findings of each kind, and what httperf complains of."""
    complaints = played.browsed.reasons if played.browsed else []
    found = findings([seen.verdict for seen in played.seen.values()])
    return found + [f"httperf: {complaint}" for complaint in complaints]


def findings(verdicts: Sequence[Verdict]) -> list[str]:
    """The same of verdicts."""
    kinds = [kind for verdict in verdicts for kind in (verdict.violations, verdict.bypassed)]
    return [str(finding) for kind in kinds for finding in kind[:3]]


def _ns(moment: float) -> int:
    return int(moment * 1e9)
