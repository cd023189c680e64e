"""The REST call that passes a capture on."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from catenary import pcap, wire
from catenary.errors import Conflict, NotFound, Unavailable, Unsupported
from catenary.explanations import CapturePackets, CaptureSeconds
from catenary.problems import problems
from mgmt_system.capture import At, Captures

_PCAP: dict[str, Any] = {pcap.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}


def add_capture_route(app: FastAPI, captures: Captures) -> None:
    @app.get(
        "/v1/capture",
        tags=["sessions"],
        responses={200: {"content": _PCAP}, **problems(NotFound, Conflict, Unavailable, Unsupported)},
        response_class=StreamingResponse,
    )
    async def capture(
        chain: wire.Name,
        session: wire.SessionText | None = None,
        at: At = "master",
        seconds: CaptureSeconds = 10.0,
        packets: CapturePackets = 10_000,
    ) -> StreamingResponse:
        """What a chain gets and gives at one of its load balancers, or one session of it, as a pcap.

        It grows until the time is over, as many packets have come, or the caller goes away. The frames bear
        the chain's tag.
        """
        pieces = await captures.begin(chain, at, session, seconds, packets)
        return StreamingResponse(pieces, media_type=pcap.MEDIA_TYPE)
