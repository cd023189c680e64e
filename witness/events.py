"""What happened beside the packets: the events of a run, and the pins of its load balancers. Pure.

Both come as JSON lines (docs/reference.md, "Events and pins of a run"). Their times become those of the
recording that they are told with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from catenary.errors import InvalidValue

CHANGE, FAULT = "change", "fault"
"""The kinds that are counted. Any other kind is only told."""

Told = TypeVar("Told")


@dataclass(frozen=True)
class Event:
    """`time_ns` is on the recording's clock. A fault with a `chain` killed that chain."""

    time_ns: int
    kind: str
    text: str = ""
    chain: str = ""

    def __str__(self) -> str:
        killed = f" ({self.chain} killed)" if self.kind == FAULT and self.chain else ""
        return f"{self.kind}{': ' if self.text else ''}{self.text}{killed}"


@dataclass(frozen=True)
class Pin:
    """What a load balancer held for a session at a moment; `key` is written as `SessionKey` prints it.

    It got its chain in `epoch`, by what `cause` says: placed, learned, hinted, ...
    """

    time_ns: int
    lb: str
    key: str
    chain: str
    epoch: int
    cause: str

    def __str__(self) -> str:
        return f"{self.lb} holds {self.chain}, {self.cause} in epoch {self.epoch}"


def read_events(lines: Iterable[str], where: str, wall_ns: int) -> tuple[Event, ...]:
    """Events in order of time. `wall_ns`: Unix time minus the recording's clock, 0 when that is Unix time.

    Raises `InvalidValue` that names `where` and the line.
    """

    def event(item: Mapping[str, Any]) -> Event:
        kind = _text(item, "kind")
        if not kind:
            raise ValueError("its kind is empty")
        return Event(_time(item, wall_ns), kind, _text(item, "text", ""), _text(item, "chain", ""))

    return tuple(sorted(_read(lines, where, event), key=lambda event: event.time_ns))


def read_pins(lines: Iterable[str], where: str, wall_ns: int) -> tuple[Pin, ...]:
    """Pins in order of time; otherwise like `read_events`."""

    def pin(item: Mapping[str, Any]) -> Pin:
        lb, key, chain, cause = (_text(item, name) for name in ("lb", "key", "chain", "cause"))
        return Pin(_time(item, wall_ns), lb, key, chain, int(item["epoch"]), cause)

    return tuple(sorted(_read(lines, where, pin), key=lambda pin: pin.time_ns))


def _read(lines: Iterable[str], where: str, make: Callable[[Mapping[str, Any]], Told]) -> list[Told]:
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            if not isinstance(item, dict):
                raise ValueError("not an object")
            found.append(make(item))
        except KeyError as error:
            raise InvalidValue(f"{where}, line {number}: {error.args[0]!r} is missing") from None
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidValue(f"{where}, line {number}: {error}") from None
    return found


def _text(item: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = item[name] if default is None else item.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"its {name} is {value!r}, not a text")
    return value


def _time(item: Mapping[str, Any], wall_ns: int) -> int:
    """Of `time` (Unix seconds) or `monotonic` (seconds of the clock that the taps read)."""
    if "monotonic" not in item:
        return int(float(item["time"]) * 1e9) - wall_ns
    if not wall_ns:
        raise ValueError("it has a 'monotonic' time, but pcaps have Unix time: give 'time'")
    return int(float(item["monotonic"]) * 1e9)
