"""What every run with traffic through the load balancers is held to, whatever else it measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.evaluation.play import Played, chain_of
from experiments.evaluation.repeat import Shown, none_of
from witness.verdict import Verdict

MAX_LOSS_PERCENT = 0.5
LEAST_SHARE = 0.2
"""p2c gives a chain that others outnumber more than its share, until it has caught up."""


@dataclass(frozen=True)
class Span:
    """From `since` to `until` (s, as in `Played`) these chains take new sessions."""

    since: float
    until: float
    chains: tuple[str, ...]


def whole(played: Played, nfs: Sequence[str]) -> Span:
    """All of a run in which the chains of these NFs stay."""
    return Span(played.moments[0], played.end, tuple(map(chain_of, nfs)))


def shown(*, injections: bool = True) -> list[Shown]:
    """`lost` left one tap and did not reach the next, outside NFs: one that is overloaded drops inside."""
    found = [
        Shown("sessions", "sessions", at_least=1),
        none_of("violations", "sessions"),
        none_of("bypassed", "sessions"),
        none_of("witness_dropped", "packets"),
        Shown("lost", "% between two taps", at_most=MAX_LOSS_PERCENT, worst=True),
        Shown("least_share", "of an even share of new sessions", at_least=LEAST_SHARE),
    ]
    if injections:
        found += [
            none_of("unanswered", "injections"),
            none_of("missed", "injections that no NF told of, or two"),
        ]
    return found


def figures(played: Played, spans: Sequence[Span]) -> dict[str, float | None]:
    """Their values in one run, of all segments."""
    told = played.injections
    unanswered = 0 if told is None else told.sent - told.answered
    verdicts = [seen.verdict for seen in played.seen.values()]
    return of_verdicts(verdicts, spans) | {"unanswered": unanswered, "missed": played.missed}


def of_verdicts(verdicts: Sequence[Verdict], spans: Sequence[Span]) -> dict[str, float | None]:
    """Those without injections."""
    return {
        "sessions": max(verdict.sessions for verdict in verdicts),
        "violations": sum(len(verdict.violations) for verdict in verdicts),
        "bypassed": sum(len(verdict.bypassed) for verdict in verdicts),
        "witness_dropped": sum(verdict.witness_dropped for verdict in verdicts),
        "lost": 100 * max(verdict.loss_share for verdict in verdicts),
        "least_share": min(_least_share(verdict, span) for verdict in verdicts for span in spans),
    }


def _least_share(verdict: Verdict, span: Span) -> float:
    """The smallest of its chains, over an even share."""
    among = [chain for chain in span.chains if chain in verdict.chains]
    return min(verdict.shares(_ns(span.since), _ns(span.until), among=among).values()) * len(among)


def of_several(parts: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Of a run that plays several times: sums of what is counted, the worst of shares."""
    found: dict[str, float | None] = {}
    for key in parts[0] if parts else ():
        pick = {"lost": max, "least_share": min}.get(key, sum)
        found[key] = pick(part[key] or 0 for part in parts)
    return found


def details(played: Played) -> list[str]:
    """The first findings of each kind."""
    return findings([seen.verdict for seen in played.seen.values()])


def findings(verdicts: Sequence[Verdict]) -> list[str]:
    """The same of verdicts."""
    kinds = [kind for verdict in verdicts for kind in (verdict.violations, verdict.bypassed)]
    return [str(finding) for kind in kinds for finding in kind[:3]]


def _ns(moment: float) -> int:
    return int(moment * 1e9)
