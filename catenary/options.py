"""Options that the commands of all three services have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
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
TlsCertOption = Annotated[Path | None, typer.Option(help="TLS certificate of the REST service (PEM).")]
TlsKeyOption = Annotated[Path | None, typer.Option(help="Its key (PEM).")]
TlsCaOption = Annotated[
    Path | None, typer.Option(help="CA of callers: one without a certificate of it is refused.")
]
TokensOption = Annotated[
    Path | None, typer.Option(help="Table of the tokens that callers need: catenary token add.")
]
