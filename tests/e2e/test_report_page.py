"""The page of all results as it is read: on a phone, and printed."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from playwright.sync_api import Page

from experiments.evaluation import pictures
from experiments.report.results import collect
from experiments.report.run import page
from tests.browser import MS, chromium, needs_chromium

pytestmark = needs_chromium

LONG = "a_name_that_is_longer_than_any_that_an_experiment_has_given_a_figure_so_far"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Of two results with all that can be wide: pictures, tables, commands, facts."""
    for name in ("warm-up", "some"):
        figure, _ = plt.subplots(figsize=(9, 4.5))
        pictures.save(figure, tmp_path / name / "throughput.png")
        content = {
            "name": name,
            "ok": True,
            "status": "ok",
            "figures": {
                LONG: {"value": 1.5, "unit": f"in {LONG}", "paper": 1.6, "runs": [1.4, 1.5, 1.6]},
                "sessions": {"value": 12345678, "unit": "sessions"},
            },
            "asked": {LONG: {"text": "1.23456..2.34567", "holds": True}},
            "environment": {
                "kernel": "6.1.0-13-amd64",
                "offloads": {f"h{n}-eth0": "tso gso gro tx rx" for n in range(6)},
                name: LONG,
            },
            "seeds": list(range(7, 27)),
            "command": f"python -m experiments.{name}.run --set {LONG}={LONG}",
        }
        (tmp_path / name / "summary.json").write_text(json.dumps(content))
    path = tmp_path / "report.html"
    path.write_text(page(collect(tmp_path), "2026-01-02"))
    return path


def test_a_phone_shows_it_without_scrolling_aside_and_it_prints(report: Path) -> None:
    with chromium() as browser:
        phone = browser.new_page(viewport={"width": 375, "height": 700})
        phone.set_default_timeout(MS)
        phone.goto(report.as_uri())
        assert _widths(phone) == (375, 375)
        assert phone.locator("img").first.evaluate("e => e.naturalWidth") > 375, "pictures shrink"
        assert phone.get_by_text("h0-eth0: tso gso gro tx rx; h1-eth0").first.is_visible()
        printed = phone.pdf(format="A4")
        phone.emulate_media(media="print")
        phone.set_viewport_size({"width": 794, "height": 1123})  # A4 at 96 dpi
        assert _widths(phone) == (794, 794), "nothing is cut at the edge of the paper"
    assert printed.startswith(b"%PDF-")


def _widths(page: Page) -> tuple[int, int]:
    """Of what is shown, and of all there is."""
    shown, there = page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
    return shown, there
