"""The files of deploy/prometheus and deploy/grafana: by promtool, and of metrics that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from controller import metrics as controller_metrics
from lb_adapter import metrics as balancer_metrics
from mgmt_system import metrics as management_metrics
from tests.dashboards import queries

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
METRICS = {
    metric.name
    for metric in (*management_metrics.METRICS, *controller_metrics.METRICS, *balancer_metrics.METRICS)
}
NAMES = re.compile(r"\bcatenary_\w+")
GROUPS = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]


@pytest.mark.parametrize(
    "words",
    ["check config --syntax-only prometheus.yml", "check rules alerts.yml", "test rules alerts_test.yml"],
)
def test_promtool_has_no_complaint(words: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool: run `make test`, or tools/install.sh test")
    done = subprocess.run(["promtool", *words.split()], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_panels_name_metrics_that_there_are() -> None:
    rules = [rule["expr"] for group in GROUPS for rule in group["rules"]]
    panels = [query for _, query in queries()]
    named = {name for text in (*rules, *panels) for name in NAMES.findall(text)}
    assert named <= METRICS, named - METRICS
    assert len(named) > 15


def test_every_alert_says_what_to_do() -> None:
    for rule in (rule for group in GROUPS for rule in group["rules"]):
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
