"""The REST call for what the chains carry over time."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Response

from catenary.traffic import TrafficSample
from mgmt_system.sampling import Sampling

Since = Annotated[
    float | None,
    Query(ge=0, lt=253402300800, allow_inf_nan=False, description="Later ones only; the last, if not given."),
]


def add_traffic_routes(app: FastAPI, sampling: Sampling) -> None:
    @app.get("/v1/traffic", tags=["status"], response_model=list[TrafficSample])
    def read_traffic(since: Since = None, limit: Annotated[int, Query(ge=1, le=600)] = 60) -> Response:
        """Sessions, rates and cool-downs of all chains, oldest first.

        A sample is taken each second while somebody asks, else every 5 s; those of some minutes are kept.
        """
        rows = sampling.read(since, limit)
        return Response(b"[" + b",".join(rows) + b"]", media_type="application/json")
