"""Options that the commands of all three services have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


LogLevelOption = Annotated[
    LogLevel, typer.Option("--log-level", help="What is logged; debug tells of requests that read, too.")
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="auto: text on a terminal, else JSON lines.")
]
