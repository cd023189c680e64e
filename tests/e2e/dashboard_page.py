"""A page of the dashboard as a visitor has it: its numbers, its pictures and its controls."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize
from rich.console import Console, RenderableType

from catenary.client import ManagementClient
from catenary.traffic import TrafficSample
from mgmt_system.dashboard.hub import REFRESH
from mgmt_system.dashboard.texts import WIDTH
from mgmt_system.sampling import WATCHED
from topologies.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "results" / "dashboard"
PHONE: ViewportSize = {"width": 360, "height": 740}
LAG = REFRESH + WATCHED
"""Seconds by which a page may be behind REST's newest sample."""
Eventually = Callable[..., None]

NUMBERS = """() => {
  const found = {at: +document.querySelector('#board').dataset.at, keys: {}, cells: {}, lines: [],
                 events: []};
  for (const e of document.querySelectorAll('[data-seq]')) found.events.push(+e.dataset.seq);
  for (const e of document.querySelectorAll('[data-key]')) found.keys[e.dataset.key] = {...e.dataset};
  for (const e of document.querySelectorAll('td[data-chain]'))
    (found.cells[e.dataset.chain] ??= {})[e.dataset.field] = e.dataset.value ?? e.innerText.trim();
  for (const e of document.querySelectorAll('.chart')) {
    const line = {};
    for (const one of getElement(+e.id.slice(1)).chart.getOption().series) line[one.name] = one.data.at(-1);
    found.lines.push(line);
  }
  return found;
}"""
"""All numbers of the page at one moment, from one look at it."""

CONTRASTS = """() => {
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = text => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = text; paint.fillRect(0, 0, 1, 1);
                        return [...paint.getImageData(0, 0, 1, 1).data]; };
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                        if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92
                       : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
    if (e.closest('script,style,[disabled]')) continue;
    const style = getComputedStyle(e), text = rgb(e.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(text), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), walk.currentNode.data.trim(), e.className.toString()]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@contextmanager
def dashboard(url: str, log: Path, **environment: str) -> Iterator[str]:
    """The command itself, on a port of its own, beside the management system at `url`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        own = f"http://127.0.0.1:{listening.getsockname()[1]}"
        command = ["dashboard", "--socket-fd", str(listening.fileno())]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", "from mgmt_system.cli import app; app()", *command],
                env={**os.environ, "CATENARY_URL": url, **environment},
                cwd=ROOT,
                pass_fds=[listening.fileno()],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    try:
        yield own
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()


def fresh(page: Page, rest: ManagementClient, eventually: Eventually, since: float = 0.0) -> dict[str, Any]:
    """All numbers of the page in one read, beside REST's newest: no older than one refresh and one sample.

    A machine that stalls is read again. `since`: REST's newest is not older than that.
    """
    found: dict[str, Any] = {}

    def read() -> bool:
        newest = rest.traffic()[0].at
        found.update(page.evaluate(NUMBERS))
        return newest >= since and newest - found["at"] <= LAG

    eventually(read, what="a page that is up to date")
    return found


def picture(page: Page, name: str, *, full_page: bool = False) -> None:
    """As it is once nothing moves any more."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / name, full_page=full_page, animations="disabled")


def taken_at(rest: ManagementClient, at: float) -> TrafficSample:
    """The sample that a page shows, as REST tells it."""
    [sample] = rest.traffic(since=at - 5e-4, limit=1)
    assert sample.at == at
    return sample


def exact(value: float | None) -> str | None:
    return None if value is None else str(value).removesuffix(".0")


def close(shown: Any, value: float) -> bool:
    return abs(float(shown) - value) <= 1e-6 * max(1.0, abs(value))


def press(page: Page, label: str) -> None:
    """Tab until a control of that name has the focus, and Enter."""
    tab_to(page, label)
    page.keyboard.press("Enter")


def tab_to(page: Page, label: str) -> None:
    name = "(e => e.ariaLabel || e.innerText)(document.activeElement)"
    for _ in range(120):
        if page.evaluate(name) == label:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{label!r} can't be reached by Tab")


def write(page: Page, label: str, text: str) -> None:
    """Text in place of what the field has."""
    tab_to(page, label)
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


def printed(told: RenderableType) -> list[str]:
    """The lines that a command prints in a terminal as wide as a dialog."""
    console = Console(width=WIDTH, file=StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(told)
    return [line.rstrip() for line in capture.get().splitlines()]


def close_all(page: Page) -> None:
    dialog = page.get_by_role("dialog")
    while dialog.count():
        before = dialog.count()
        page.keyboard.press("Escape")
        page.wait_for_function("n => document.querySelectorAll('[role=dialog]').length < n", arg=before)
