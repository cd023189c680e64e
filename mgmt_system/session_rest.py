"""The REST call that lists sessions of all segments."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request, Response

from catenary import wire
from catenary.errors import InvalidValue, NotFound, Unavailable
from catenary.pages import LINK, link
from catenary.problems import problems
from catenary.wire import SegmentSession, SessionSort, SessionState
from mgmt_system.capture import At
from mgmt_system.sessions import Sessions, Wanted


def _wanted(
    chain: Annotated[wire.Name | None, Query(description="those of one chain")] = None,
    segment: Annotated[wire.Name | None, Query(description="those of one segment")] = None,
    state: SessionState | None = None,
    older: Annotated[float, Query(ge=0, le=1e6, description="placed so many seconds ago or more")] = 0.0,
    idle: Annotated[float, Query(ge=0, le=1e6, description="seconds without a packet")] = 0.0,
    sort: SessionSort = "age",
    ended: Annotated[bool, Query(description="those that ended lately, in place of live ones")] = False,
    limit: Annotated[int, Query(ge=1, le=999)] = 100,
    after: Annotated[str | None, Query(description="where the page before ended", max_length=200)] = None,
    at: Annotated[At, Query(description="as the masters hold them, or as the slaves do")] = "master",
) -> Wanted:
    return Wanted(chain, segment, state, older, idle, sort, ended, limit, after, at)


def add_session_list(app: FastAPI, sessions: Sessions) -> None:
    @app.get(
        "/v1/sessions",
        tags=["sessions"],
        responses={200: {"headers": LINK}, **problems(NotFound, InvalidValue, Unavailable)},
    )
    def list_sessions(
        request: Request, response: Response, wanted: Annotated[Wanted, Depends(_wanted)]
    ) -> list[SegmentSession]:
        """Live sessions of all segments, or those that ended lately; the largest of what is sorted by first.

        There may be more if there is a Link to the next page.
        """
        entries, after = sessions.list(wanted)
        if after is not None:
            link(request, response, after)
        return entries
