"""From the witness's verdict to the demo's plain numbers; pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.demo.figures import Array, Judgement
from experiments.demo.story import active_after
from witness.verdict import Verdict

_BIN_S = 2.0


def judgement(verdict: Verdict, requests: Sequence[float], end: float) -> Judgement:
    """Sessions are those of the story; violations, bypasses and drops those of the whole run."""
    begun = (verdict.history.first_ns >= _ns(requests[0])) & (verdict.history.first_ns < _ns(end))
    ends = (*requests[1:], end)
    return Judgement(
        sessions=int(begun.sum()),
        server_opened=int((begun & verdict.history.server_opened).sum()),
        violations=len(verdict.violations),
        bypassed=len(verdict.bypassed),
        dropped=verdict.witness_dropped,
        across=tuple(verdict.alive_across(_ns(moment)) for moment in requests[1:]),
        shares=tuple(
            verdict.shares(_ns(since), _ns(until), among=active_after(number))
            for number, (since, until) in enumerate(zip(requests, ends, strict=True), 1)
        ),
    )


def share_bins(verdict: Verdict, begin: float, end: float) -> tuple[Array, Array]:
    """New sessions of each chain: (begin of each bin in seconds, (bins x chains) counts)."""
    moments = np.arange(begin, end, _BIN_S)
    counts = [
        [float(n) for n in verdict.new_sessions(_ns(since), _ns(min(since + _BIN_S, end))).values()]
        for since in moments
    ]
    return moments, np.array(counts, dtype=np.float64).reshape(len(moments), len(verdict.chains))


def _ns(moment: float) -> int:
    return int(moment * 1e9)
