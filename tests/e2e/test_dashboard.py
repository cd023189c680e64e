"""The dashboard in a headless Chromium, beside the REST answers of the same moments.

Pictures of it are left in results/dashboard.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from catenary.chain import ChainState
from catenary.client import ManagementClient
from catenary.traffic import TrafficSample
from tests.e2e.dashboard_world import BusySite, management
from topologies.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "results" / "dashboard"
TOKEN = "0123456789abcdef-secret"
MS = PATIENCE_S * 1000
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
Eventually = Callable[..., None]

pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="needs chromium: run `tools/install.sh test`"
)

NUMBERS = """() => {
  const found = {at: +document.querySelector('#board').dataset.at, keys: {}, cells: {}, lines: []};
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


@pytest.fixture(scope="module")
def site() -> Iterator[BusySite]:
    """Three chains; the third has the fewest sessions."""
    site = BusySite()
    site.now = time.time() - 100.0  # its engine's clock, until the service starts
    for nf in ("n1", "n2", "n3"):
        site.add(nf)
        site.settle()
    for tag, sessions in ((2, 120), (4, 60), (6, 20)):
        site.carry(tag, sessions)
    yield site
    site.close()


@pytest.fixture(scope="module")
def rest(site: BusySite) -> Iterator[ManagementClient]:
    with management(site) as url, ManagementClient(url, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def address(rest: ManagementClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard(rest.url, tmp_path_factory.mktemp("dashboard") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments, timeout=MS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visit(browser: Browser, address: str) -> Iterator[tuple[Page, list[str]]]:
    """A visitor's page, once it shows numbers, and all that it asked for."""
    with browser.new_context(viewport=DESKTOP, color_scheme="light") as context:
        context.set_default_timeout(MS)
        page, asked = context.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("#board[data-at] .chart svg")
        yield page, asked
        context.close()


@pytest.fixture
def page(visit: tuple[Page, list[str]]) -> Page:
    return visit[0]


def taken_at(rest: ManagementClient, at: float) -> TrafficSample:
    """The sample that a page shows, as REST tells it."""
    [sample] = rest.traffic(since=at - 5e-4, limit=1)
    assert sample.at == at
    return sample


def exact(value: float | None) -> str | None:
    return None if value is None else str(value).removesuffix(".0")


def close(shown: Any, value: float) -> bool:
    return abs(float(shown) - value) <= 1e-6 * max(1.0, abs(value))


def test_every_panel_shows_what_rest_tells_of_that_moment(
    page: Page, rest: ManagementClient, eventually: Eventually
) -> None:
    newest = rest.traffic()[0].at
    eventually(lambda: page.evaluate(NUMBERS)["at"] >= newest, what="a newer sample on the page")
    shown = page.evaluate(NUMBERS)
    sample = taken_at(rest, shown["at"])
    keys = shown["keys"]
    chains = {row.name: row for row in sample.chains}
    assert set(shown["cells"]) == set(chains) == {"chain-1", "chain-2", "chain-3"}
    for name, row in chains.items():
        cells = shown["cells"][name]
        for field in ("sessions", "share", "new", "forward", "reverse"):
            assert cells[field] == exact(getattr(row, field)), (name, field)
        assert cells["state"] == "active"
        assert keys[f"lane-sessions-{name}"]["value"] == str(row.sessions)
        assert close(keys[f"lane-rate-{name}"]["value"], (row.forward or 0) + (row.reverse or 0))
        throughput, share = (line[name] for line in shown["lines"])
        assert throughput[0] == share[0] == round(sample.at * 1000)
        assert abs(throughput[1] - ((row.forward or 0) + (row.reverse or 0)) * 8e-6) < 1e-3
        assert abs(share[1] - 100 * (row.share or 0)) < 0.01
    for field in ("sessions", "new", "forward", "reverse"):
        assert close(keys[f"total-{field}"]["value"], sum(getattr(row, field) for row in sample.chains))
    assert keys["total-chains"]["value"] == "3"
    assert keys["pins"]["value"] == str(sum(segment.pins or 0 for segment in sample.segments))


def test_numbers_follow_the_traffic(page: Page, site: BusySite, eventually: Eventually) -> None:
    site.carry(2, 137)
    eventually(lambda: page.evaluate(NUMBERS)["cells"]["chain-1"]["sessions"] == "137")
    assert page.locator("td[data-chain=chain-1][data-field=sessions]").inner_text() == "137"
    site.carry(2, 120)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page: Page, scheme: str, eventually: Eventually) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    expect(page.locator("body.body--dark")).to_have_count(int(scheme == "dark"), timeout=MS)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{scheme}.png", full_page=True)
    assert len(page.evaluate(CONTRASTS)) > 60

    def all_readable() -> bool:  # colours change by and by
        return page.evaluate(CONTRASTS)[0][0] >= 4.5

    eventually(all_readable)
    page.get_by_role("button", name="Add chain").click()
    expect(page.get_by_role("dialog")).to_be_visible(timeout=MS)
    page.screenshot(path=PICTURES / f"add-{scheme}.png")
    eventually(all_readable)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=MS)
    page.emulate_media(color_scheme="light")


def test_it_fits_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    outside = "[...document.querySelectorAll('#board *')].filter(e => e.getBoundingClientRect().right > 360)"
    assert page.evaluate(f"{outside}.map(e => e.outerHTML.slice(0, 200))") == []
    page.screenshot(path=PICTURES / "phone.png", full_page=True)
    page.set_viewport_size(DESKTOP)


def test_the_theme_can_be_chosen(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    for name, dark in (("light", False), ("dark", True), ("auto", False)):
        page.get_by_role("button", name="Theme").click()
        expect(page.get_by_role("button", name=f"Theme: {name}")).to_be_visible(timeout=MS)
        expect(page.locator("body.body--dark")).to_have_count(int(dark), timeout=MS)


def test_nothing_is_asked_of_anybody_else(visit: tuple[Page, list[str]], address: str) -> None:
    asked = visit[1]
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_a_chain_is_removed_and_taken_back_with_the_keyboard_alone(
    page: Page, rest: ManagementClient, eventually: Eventually
) -> None:
    page.reload()
    page.wait_for_selector("#board[data-at] .chart svg")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the chains"
    press_until(page, "remove chain chain-3")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("20 live sessions stay on it until they end", timeout=MS)
    page.screenshot(path=PICTURES / "remove.png")
    assert rest.chain("chain-3").state is ChainState.ACTIVE  # nothing happens before it is confirmed
    dialog.get_by_label("Why").focus()
    page.keyboard.type("worn out")
    press_until(page, "Remove chain")
    page.keyboard.press("Enter")
    eventually(lambda: rest.chain("chain-3").state is ChainState.COOLING)
    [entry] = rest.history(kind="remove")
    assert (entry.who.split("@")[0], entry.why) == ("dashboard", "worn out")
    note = page.locator("[data-key=cooldown-chain-3]")
    expect(note).to_contain_text("predicted", timeout=MS)
    shown = page.evaluate(NUMBERS)
    [cooling] = taken_at(rest, shown["at"]).cooling
    assert cooling.p50 is not None
    assert cooling.p95 is not None
    assert shown["keys"]["cooldown-chain-3"]["p50"] == str(cooling.p50)
    assert shown["keys"]["cooldown-chain-3"]["p95"] == str(cooling.p95)
    assert shown["keys"]["left-chain-3"]["value"] == str(cooling.left)
    page.screenshot(path=PICTURES / "cooling.png", full_page=True)
    page.get_by_role("button", name="cancel chain chain-3").click()
    page.get_by_role("dialog").get_by_role("button", name="Take back").click()
    eventually(lambda: rest.chain("chain-3").state is ChainState.ACTIVE)


def press_until(page: Page, label: str) -> None:
    """Tab until a control of that name has the focus."""
    name = "(e => e.ariaLabel || e.innerText)(document.activeElement)"
    for _ in range(60):
        if page.evaluate(name) == label:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{label!r} can't be reached by Tab")


def test_a_chain_is_added_and_weights_are_changed(
    page: Page, rest: ManagementClient, eventually: Eventually
) -> None:
    page.get_by_role("button", name="Add chain").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Add chain").click()
    expect(dialog.get_by_role("alert")).to_contain_text("choose the NFs", timeout=MS)
    dialog.get_by_role("combobox", name="NFs").click()
    page.get_by_role("option", name="shared").click()
    page.keyboard.press("Escape")
    dialog.get_by_label("Name").fill("fourth")
    dialog.get_by_role("button", name="Add chain").click()
    eventually(
        lambda: [one.name for one in rest.chains() if one.state is ChainState.ACTIVE][-1:] == ["fourth"]
    )
    expect(page.locator("td[data-chain=fourth]").first).to_be_visible(timeout=MS)
    page.get_by_role("button", name="Rebalance").click()
    page.get_by_role("dialog").get_by_label("fourth").fill("40")
    page.get_by_role("dialog").get_by_role("button", name="Rebalance").click()
    eventually(lambda: rest.chain("fourth").weight == 40)


def test_who_does_not_know_the_token_sees_nothing(
    browser: Browser, rest: ManagementClient, tmp_path: Path
) -> None:
    secret, log = tmp_path / "token", tmp_path / "log"
    secret.write_text(TOKEN)
    with dashboard(rest.url, log, CATENARY_TOKEN_FILE=str(secret)) as url, browser.new_context() as context:
        context.set_default_timeout(MS)
        page = context.new_page()
        page.goto(url)
        assert page.url == f"{url}/login"
        page.get_by_label("Token").fill("a wrong one that is long")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible(timeout=MS)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector("#board[data-at] .chart svg")
        assert page.url == f"{url}/"
        [cookie] = context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert TOKEN not in cookie["value"]
        answer = httpx.get(f"{url}/_nicegui_ws/socket.io/?EIO=4&transport=polling")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        context.close()
    assert TOKEN not in log.read_text()
    assert "a wrong token" in log.read_text()
