"""The REST call that tells where a session goes."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query

from catenary import wire
from catenary.explanations import Explanation
from mgmt_system.explain import Explainer

SegmentName = Annotated[wire.Name | None, Query(description="only in this one")]


def add_explain_route(app: FastAPI, explainer: Explainer) -> None:
    @app.get("/v1/explain", tags=["sessions"])
    def explain_session(session: wire.DirectedText, segment: SegmentName = None) -> Explanation:
        """Where does a session go, in both directions and hop by hop, and why?

        One that is over is told of too, and of one that there never was where it would go. Parts that can't
        be asked are named in the answer.
        """
        return explainer.explain(session, segment)
