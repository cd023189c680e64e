"""What results there are, as the report shows them: summaries and pictures, read and checked."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catenary.errors import InvalidValue, NotFound
from experiments.evaluation import catalog

_NOT_TOLD = ("load_average", "seconds", "time")
"""Of an environment: what each run has of its own."""


@dataclass(frozen=True)
class Row:
    """One figure, as text. `good`: does it keep what is asked? None: nothing is."""

    key: str
    value: str
    unit: str
    asked: str
    paper: str
    runs: str
    good: bool | None


@dataclass(frozen=True)
class Result:
    """One `summary.json`; a `reference` comes with its experiment, and stands in for a run of one's own."""

    name: str
    about: str
    status: str
    rows: tuple[Row, ...]
    pictures: tuple[str, ...]
    environment: Mapping[str, str]
    command: str
    time: str
    seeds: tuple[int, ...]
    reference: bool


def collect(results: Path) -> list[Result]:
    """Those of the evaluation in its order, from `results` or else their references; then all others.

    Raises `NotFound` if there is nothing at all, `InvalidValue` that names a summary that can't be read.
    """
    found = []
    for item in map(catalog.evaluation, catalog.NAMES):
        for folder, reference in ((results / item.name, False), (item.folder / "reference", True)):
            if (folder / "summary.json").exists():
                found.append(read(folder, item.about, reference=reference))
                break
    known = set(catalog.NAMES)
    others = sorted(path.parent for path in results.glob("*/summary.json") if path.parent.name not in known)
    found += [read(folder, "", reference=False) for folder in others]
    if not found:
        raise NotFound(
            f"no results in {results}: run `make experiments` first, or name another folder by --results"
        )
    return found


def read(folder: Path, about: str, *, reference: bool) -> Result:
    """One result. Raises `InvalidValue`."""
    path = folder / "summary.json"
    try:
        content = json.loads(path.read_text())
        environment = content["environment"]
        status = content.get("status", "ok" if content["ok"] else "not reached")
        return Result(
            name=content["name"],
            about=about,
            status=status,
            rows=tuple(_rows(content)),
            pictures=tuple(_inline(picture) for picture in sorted(folder.glob("*.png"))),
            environment={key: _text(value) for key, value in environment.items() if key not in _NOT_TOLD},
            command=content.get("command", f"make {content['name']}"),
            time=environment.get("time", ""),
            seeds=tuple(content.get("seeds", ())),
            reference=reference,
        )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InvalidValue(
            f"{path} is no summary of an experiment ({error!r}): remove it, or run it again"
        ) from None


def shared(results: Sequence[Result]) -> dict[str, str]:
    """Facts of the machine that are the same in all of them."""
    first = results[0].environment
    return {
        key: value for key, value in first.items() if all(it.environment.get(key) == value for it in results)
    }


def _rows(content: Mapping[str, Any]) -> list[Row]:
    asked = content.get("asked", {})
    rows = []
    for key, figure in content["figures"].items():
        value, claim = figure["value"], asked.get(key, {})
        rows.append(
            Row(
                key=key,
                value="-" if value is None else _text(value),
                unit=figure["unit"],
                asked=claim.get("text", ""),
                paper=_text(figure["paper"]) if "paper" in figure else "",
                runs=", ".join(map(_text, figure.get("runs", ()))),
                good=claim.get("holds"),
            )
        )
    return rows


def _inline(picture: Path) -> str:
    return "data:image/png;base64," + b64encode(picture.read_bytes()).decode()


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value)
