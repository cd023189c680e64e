"""Parameters of an experiment, from the `parameters.toml` in its folder.

The file has a table `[default]`, and may have `[quick]` (the smallest form, a test of the experiment itself)
and `[paper]` (the paper's own sizes), each of which only says what differs from the default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catenary.errors import InvalidValue


class Scale(StrEnum):
    """How large a run is."""

    DEFAULT = "default"
    QUICK = "quick"
    PAPER = "paper"


class Parameters(BaseModel):
    """What every experiment has; each has more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: int = Field(ge=1, le=100)
    """How often all of it is run."""
    seed: int = Field(ge=0)
    """Of the first run; each next one has the next number."""
    spread: float = Field(default=0.15, gt=0)
    """What steady figures may differ by between runs, as a share of their median: more is noisy."""


P = TypeVar("P", bound=Parameters)


def read(path: Path, kind: type[P], scale: Scale, sets: Sequence[str] = ()) -> P:
    """The parameters of a scale; `sets` are `KEY=VALUE` and win, values as TOML has them or bare words.

    Raises `InvalidValue` that names the file and the parameter.
    """
    tables = tomllib.loads(path.read_text())
    values: dict[str, Any] = {**tables[Scale.DEFAULT], **tables.get(scale, {})}
    for text in sets:
        key, sign, value = text.partition("=")
        if not sign:
            raise InvalidValue(f"--set {text!r} is not KEY=VALUE, such as --set runs=5")
        _check_known(key, kind)
        values[key] = _value(value)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InvalidValue(
            f"{path.parent.name}: parameter {key}: {first['msg']} (it is {first['input']!r})"
        ) from None


def _check_known(key: str, kind: type[Parameters]) -> None:
    known = kind.model_fields
    if key in known:
        return
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise InvalidValue(f"--set {key}: no such parameter; {hint}")


def _value(text: str) -> Any:
    """As TOML reads it; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def plain(parameters: Parameters) -> Mapping[str, Any]:
    """For JSON."""
    return parameters.model_dump(mode="json")
