"""Which share of new sessions each chain gets: pure functions from loads to weights."""

from __future__ import annotations

from collections.abc import Mapping

from catenary.chain import WEIGHT_MAX


def rebalanced(weights: Mapping[int, int], live: Mapping[int, int]) -> dict[int, int]:
    """Weights that bring live sessions back to their shares by placing new sessions only.

    `weights` are the operator's, `live` the sessions of each slot. A slot that carries x times its share
    gets 1/x of its weight, within a factor of four, so that no chain is starved or flooded (the paper's
    re-balance request; "session management overrides balancing", section II).
    """
    total_weight, total_live = sum(weights.values()), sum(live.get(slot, 0) for slot in weights)
    result: dict[int, int] = {}
    for slot, weight in weights.items():
        if weight == 0 or total_live == 0:
            result[slot] = weight
            continue
        share = total_live * weight / total_weight
        factor = min(4.0, max(0.25, share / max(live.get(slot, 0), 1)))
        result[slot] = max(1, min(WEIGHT_MAX, round(weight * factor)))
    return result
