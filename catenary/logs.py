"""How the services log: events with fields, on standard error, as JSON lines unless that is a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from catenary import request_id
from catenary.options import LogFormat, LogLevel


def configure(
    level: LogLevel = LogLevel.INFO,
    style: LogFormat = LogFormat.AUTO,
    stream: TextIO | None = None,
    **fields: str,
) -> None:
    """All that this process says from now on, the libraries' warnings too; `fields` are in every line."""
    stream = stream or sys.stderr
    text = style is LogFormat.TEXT or (style is LogFormat.AUTO and stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]

    def add(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
        served = request_id.current()
        return {**event, **fields, **({"request": served} if served else {})}

    ahead: list[Any] = [
        add,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks are plain: with local variables in them, tokens would get into the log.
    last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    if text:
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*ahead, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=ahead, processors=[remove, *last])
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
