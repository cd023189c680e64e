"""Shapes of what operators write in `service.yaml`: durations, ports, addresses of hosts and of services."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, Strict, WithJsonSchema

from catenary import durations
from catenary.errors import CatenaryError

DURATION_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": durations.PATTERN}],
    "description": "60s, 5m, 1h30m, or seconds",
}


def seconds(value: Any) -> Any:
    """Seconds of a duration; what is no text is left to pydantic."""
    if not isinstance(value, str):
        return value
    if not re.match(durations.PATTERN, value):  # people may write it more freely where no schema reads it
        raise ValueError(f"{value!r} is not a duration: {durations.HINT}")
    try:
        return durations.parse(value)
    except CatenaryError as error:
        raise ValueError(error.detail) from error


Duration = Annotated[
    float,
    Strict(),
    Field(ge=0, le=1e7),
    BeforeValidator(seconds),
    PlainSerializer(durations.text, when_used="json"),
    WithJsonSchema(DURATION_SCHEMA),
]
"""Seconds, written `60s`."""


def _mac(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_MAC, value):
        raise ValueError(f"{value!r} is no Ethernet address: write it like 00:00:00:00:00:0a, in quotes")
    if int(value[:2], 16) & 1 or not int(value.replace(":", ""), 16):
        raise ValueError(f"{value} is the address of a group or of nobody: write the host's own")
    return value


_MAC = "([0-9a-f]{2}:){5}[0-9a-f]{2}"
Mac = Annotated[str, BeforeValidator(_mac), WithJsonSchema({"type": "string", "pattern": f"^{_MAC}$"})]


def _port(value: Any) -> Any:
    """A number is left to pydantic."""
    if isinstance(value, str) and not re.fullmatch(_PORT, value):
        raise ValueError(f"{value!r} is no port of a switch: use 1 to 15 characters without spaces and /")
    return value


_PORT = "[!-.0-~]{1,15}"
"""As Linux and OpenFlow name them."""
Port = Annotated[str, BeforeValidator(_port), WithJsonSchema({"type": "string", "pattern": f"^{_PORT}$"})]


def _url(value: Any) -> Any:
    if isinstance(value, str) and "@" in value:
        raise ValueError("no user and no password belong here: tokens lie in files (--balancer-token-file)")
    match = re.fullmatch(_URL, value) if isinstance(value, str) else None
    if match is None or not 0 < int(match["port"] or 1) < 1 << 16:
        raise ValueError(f"{value!r} is no address of a service: write it like https://10.255.0.11:8082")
    return value


_URL = r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?"
_URL_SCHEMA = {"type": "string", "pattern": f"^{_URL.replace('?P<port>', '')}$"}
Url = Annotated[str, BeforeValidator(_url), WithJsonSchema(_URL_SCHEMA)]
