"""The REST call that tells the whole store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from catenary.errors import InsufficientStorage, Unavailable
from catenary.problems import problems
from mgmt_system.store import backups
from mgmt_system.store.ledger import Ledger

MEDIA_TYPE = "application/octet-stream"
_FILE: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_PIECE = 1 << 18


def add_backup_route(app: FastAPI, ledger: Ledger) -> None:
    @app.get(
        "/v1/backup",
        tags=["store"],
        responses={200: {"content": _FILE}, **problems(Unavailable, InsufficientStorage)},
        response_class=StreamingResponse,
    )
    def backup() -> StreamingResponse:
        """A copy of all that is stored, as of one moment: an SQLite file, for `catenary restore`.

        Changes go on meanwhile. It is made on the disk of the management system's TMPDIR first, and checked.
        """
        copy = backups.taken(ledger)
        size = {"Content-Length": str(os.fstat(copy.fileno()).st_size)}
        return StreamingResponse(_pieces(copy), media_type=MEDIA_TYPE, headers=size)


def _pieces(copy: BinaryIO) -> Iterator[bytes]:
    with copy:
        while piece := copy.read(_PIECE):
            yield piece
