"""The queries of the Grafana dashboard, as Grafana asks them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "catenary.json"
_VARIABLES = {"$__rate_interval": "4s", "$segment": ".*"}
_LABELS = re.compile(r"label_values\((\w+), \w+\)")


def queries() -> Iterator[tuple[str, str]]:
    """Each panel's title with the letter of the query; its variables have values."""
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in _VARIABLES.items():
                expression = expression.replace(name, value)
            yield f"{panel['title']} {target['refId']}", expression
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            metric = _LABELS.fullmatch(variable["query"]["query"])
            assert metric, variable
            yield f"variable {variable['name']}", metric[1]
