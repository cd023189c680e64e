"""The dashboard in a headless Chromium, beside the REST answers of the same moments.

Pictures of it are left in results/dashboard.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect
from rich.console import Group
from rich.text import Text

from catenary.callers import Callers, hashed
from catenary.chain import ChainState
from catenary.client import ManagementClient
from catenary.roles import Caller, Role
from catenary.tags import TagPair
from catenary.token import write_private
from mgmt_system import plan_tables, tables
from mgmt_system.config_cli import written
from mgmt_system.dashboard.panels import EVENTS
from mgmt_system.explain_cli import explanation
from mgmt_system.records import SELF
from mgmt_system.store import backups
from tests.browser import MS, chromium, needs_chromium
from tests.e2e.dashboard_page import (
    CONTRASTS,
    LAG,
    PHONE,
    ROOT,
    Eventually,
    close,
    close_all,
    dashboard,
    exact,
    fresh,
    picture,
    press,
    printed,
    tab_to,
    taken_at,
    write,
)
from tests.e2e.dashboard_world import BusySite, management
from tests.serving import free_port
from tests.unit.mgmt_fakes import network_text
from topologies.patience import PATIENCE_S

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
SESSION = "tcp 10.0.0.1:4000 10.0.0.2:80"

pytestmark = needs_chromium


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
    with chromium() as browser:
        yield browser


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


def test_every_panel_shows_what_rest_tells_of_that_moment(
    page: Page, rest: ManagementClient, eventually: Eventually
) -> None:
    eventually(lambda: rest.traffic()[0].chains[0].new is not None, what="a sample with rates")
    shown = fresh(page, rest, eventually, since=rest.traffic()[0].at + LAG)
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
    [segment] = sample.segments
    assert segment.pins == 207
    assert keys["pins"]["value"] == "207"
    assert segment.states == {"opening": 20, "established": 177, "udp": 3, "closing": 7}
    for state, sessions in segment.states.items():
        assert keys[f"state-{state}"]["value"] == str(sessions)


def test_events_are_the_newest_of_the_journal(
    page: Page, rest: ManagementClient, eventually: Eventually
) -> None:
    newest = [entry.seq for entry in rest.history(last=EVENTS)]
    assert len(newest) > 5
    shown = fresh(page, rest, eventually)["events"]
    assert shown == newest[::-1]


def test_numbers_follow_the_traffic(
    page: Page, site: BusySite, rest: ManagementClient, eventually: Eventually
) -> None:
    site.carry(2, 137)
    eventually(lambda: rest.traffic()[0].chains[0].sessions == 137, what="a sample of it")
    shown = fresh(page, rest, eventually, since=rest.traffic()[0].at + LAG)
    assert shown["cells"]["chain-1"]["sessions"] == "137"
    assert page.locator("td[data-chain=chain-1][data-field=sessions]").inner_text() == "137"
    site.carry(2, 120)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page: Page, scheme: str, eventually: Eventually) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    expect(page.locator("body.body--dark")).to_have_count(int(scheme == "dark"), timeout=MS)
    picture(page, f"{scheme}.png", full_page=True)
    assert len(page.evaluate(CONTRASTS)) > 60

    def all_readable() -> bool:  # colours change by and by
        return page.evaluate(CONTRASTS)[0][0] >= 4.5

    eventually(all_readable)
    page.get_by_role("button", name="Add chain").click()
    expect(page.get_by_role("dialog")).to_be_visible(timeout=MS)
    picture(page, f"add-{scheme}.png")
    eventually(all_readable)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=MS)
    page.emulate_media(color_scheme="light")


def test_it_fits_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    outside = "[...document.querySelectorAll('#board *')].filter(e => e.getBoundingClientRect().right > 360)"
    assert page.evaluate(f"{outside}.map(e => e.outerHTML.slice(0, 200))") == []
    picture(page, "phone.png", full_page=True)
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
    press(page, "remove chain chain-3")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("20 live sessions stay on it until they end", timeout=MS)
    picture(page, "remove.png")
    assert rest.chain("chain-3").state is ChainState.ACTIVE  # nothing happens before it is confirmed
    write(page, "Why (for the journal)", "worn out")
    press(page, "Remove chain")
    eventually(lambda: rest.chain("chain-3").state is ChainState.COOLING)
    [entry] = rest.history(kind="remove")
    assert (entry.who.split("@")[0], entry.why) == ("dashboard", "worn out")
    note = page.locator("[data-key=cooldown-chain-3]")
    expect(note).to_contain_text("predicted", timeout=MS)
    shown = fresh(page, rest, eventually)
    [cooling] = taken_at(rest, shown["at"]).cooling
    assert (cooling.sessions, cooling.left) == (20, 20)
    assert cooling.p50 is not None
    assert cooling.p95 is not None
    assert shown["keys"]["cooldown-chain-3"]["p50"] == str(cooling.p50)
    assert shown["keys"]["cooldown-chain-3"]["p95"] == str(cooling.p95)
    assert shown["keys"]["left-chain-3"]["value"] == str(cooling.left)
    assert shown["keys"]["of-chain-3"]["value"] == str(cooling.sessions)
    picture(page, "cooling.png", full_page=True)
    press(page, "cancel chain chain-3")
    expect(dialog).to_be_visible(timeout=MS)
    press(page, "Take back")
    eventually(lambda: rest.chain("chain-3").state is ChainState.ACTIVE)
    expect(dialog).to_have_count(0, timeout=MS)


def test_a_chain_is_added_and_weights_are_changed_with_the_keyboard(
    page: Page, rest: ManagementClient, eventually: Eventually
) -> None:
    dialog = page.get_by_role("dialog")
    press(page, "Add chain")
    expect(dialog).to_be_visible(timeout=MS)
    press(page, "Add chain")
    expect(dialog.get_by_role("alert")).to_contain_text("choose the NFs", timeout=MS)
    tab_to(page, "NFs, client side first")
    page.keyboard.press("Enter")
    expect(page.get_by_role("option", name="shared")).to_be_visible(timeout=MS)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("option", name="shared")).to_have_attribute("aria-selected", "true", timeout=MS)
    page.keyboard.press("Escape")
    write(page, "Name (made up if empty)", "fourth")
    press(page, "Add chain")
    eventually(
        lambda: [one.name for one in rest.chains() if one.state is ChainState.ACTIVE][-1:] == ["fourth"]
    )
    assert rest.chain("fourth").nfs == ["shared"]
    expect(page.locator("td[data-chain=fourth]").first).to_be_visible(timeout=MS)
    press(page, "Rebalance")
    expect(dialog).to_be_visible(timeout=MS)
    write(page, "fourth", "40")
    press(page, "Rebalance")
    eventually(lambda: rest.chain("fourth").weight == 40)
    expect(dialog).to_have_count(0, timeout=MS)


def test_a_dialog_fits_a_phone(page: Page, rest: ManagementClient) -> None:
    page.set_viewport_size(PHONE)
    outside = "[...document.querySelectorAll('.dialog *')].filter(e => e.getBoundingClientRect().right > 360)"
    dialog = page.get_by_role("dialog")
    for name in ("remove chain chain-1", "Sessions", "Configuration"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(dialog.get_by_role("button", name="Close")).to_be_visible(timeout=MS)
        picture(page, f"phone-{name.split()[0].lower()}.png")
        told = page.evaluate(f"{outside}.filter(e => !e.closest('.told, .q-table__middle'))")
        assert told == [], name
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        dialog.get_by_role("button", name="Close").click()
        expect(dialog).to_have_count(0, timeout=MS)
    assert rest.chain("chain-1").state is ChainState.ACTIVE
    page.set_viewport_size(DESKTOP)


def test_a_session_is_explained_listed_and_ended(
    page: Page, site: BusySite, rest: ManagementClient, eventually: Eventually
) -> None:
    site.busy.keys[SESSION] = TagPair(2, 3)
    page.get_by_role("button", name="Sessions", exact=True).click()
    row = page.locator(f"td[data-session='{SESSION}'][data-field=chain]")
    expect(row).to_have_text("chain-1", timeout=MS)
    picture(page, "sessions.png")
    page.get_by_role("button", name=f"explain {SESSION}").click()
    told = page.locator(".told")
    expect(told).to_contain_text("client to server", timeout=MS)
    picture(page, "explain.png")
    assert told.inner_text().splitlines() == printed(explanation(rest.explain(SESSION)))
    page.get_by_role("button", name="Reset", exact=True).click()
    assert rest.session(SESSION).state == "established"  # nothing happens before it is confirmed
    page.get_by_role("button", name="Reset session").click()
    eventually(lambda: rest.session(SESSION).state == "reset")
    close_all(page)


def test_a_configuration_is_planned_and_applied_and_a_stale_plan_is_refused(
    page: Page, rest: ManagementClient, eventually: Eventually
) -> None:
    page.get_by_role("button", name="Configuration").click()
    document, alert = page.get_by_label("Document (YAML)"), page.get_by_role("alert")
    expect(document).to_have_value(written(rest.config()), timeout=MS)
    config = rest.config()
    config.chains["fourth"] = config.chains["fourth"].model_copy(update={"weight": 70})
    wanted = written(config)
    document.fill(wanted + "typo: 1\n")
    page.get_by_role("button", name="Plan", exact=True).click()
    line = wanted.count("\n") + 1
    expect(alert).to_contain_text(f"document:{line}: typo: unknown key: use", timeout=MS)
    document.fill(wanted)
    apply = page.get_by_role("button", name="Apply this plan")
    expect(apply).to_be_disabled(timeout=MS)
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(apply).to_be_enabled(timeout=MS)
    assert page.locator(".told").inner_text().splitlines() == printed(plan_tables.plan(rest.plan(config)))
    picture(page, "configuration.png")
    rest.cordon_chain("chain-2")
    apply.click()
    expect(alert).to_contain_text("stale", timeout=MS)
    rest.uncordon_chain("chain-2")
    page.get_by_label("Why").fill("for the evening")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(alert).to_be_hidden(timeout=MS)
    expect(apply).to_be_enabled(timeout=MS)
    apply.click()
    expect(page.locator(".told")).to_contain_text("succeeded", timeout=MS)
    assert rest.chain("fourth").weight == 70
    assert [entry.why for entry in rest.history(kind="weight", last=1)] == ["for the evening"]
    close_all(page)


def test_a_chain_is_captured(page: Page, rest: ManagementClient) -> None:
    page.get_by_role("button", name="Capture", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Download").click()
    expect(dialog.get_by_role("alert")).to_contain_text("choose the chain", timeout=MS)
    dialog.get_by_role("combobox", name="Chain").click()
    page.get_by_role("option", name="chain-2").click()
    dialog.get_by_label("Seconds").fill("3")
    with page.expect_download(timeout=MS) as downloading:
        dialog.get_by_role("button", name="Download").click()
    found = downloading.value
    assert found.suggested_filename == "chain-2.pcap"
    asked = b"".join(rest.capture("chain-2", seconds=3, packets=10_000))
    assert Path(found.path()).read_bytes() == asked
    expect(dialog).to_have_count(0, timeout=MS)


def test_a_backup_is_downloaded(page: Page, rest: ManagementClient, tmp_path: Path) -> None:
    page.get_by_role("button", name="Backup", exact=True).click()
    dialog = page.get_by_role("dialog")
    with page.expect_download(timeout=MS) as downloading:
        dialog.get_by_role("button", name="Download").click()
    found = downloading.value
    assert found.suggested_filename == "catenary.db"
    backup = backups.restored(Path(found.path()), tmp_path / "ms.db", SELF).backup
    assert backup.chains == len(rest.chains())
    expect(dialog).to_have_count(0, timeout=MS)


def test_the_journal_is_filtered(page: Page, rest: ManagementClient) -> None:
    page.get_by_role("button", name="History").click()
    told = page.locator(".told")
    expect(told).to_contain_text("add main chain-1", timeout=MS)
    page.get_by_label("Chain", exact=True).fill("chain-2")
    page.get_by_role("button", name="Show entries").click()
    expect(told).not_to_contain_text("add main chain-1", timeout=MS)
    entries = [Text(tables.entry(entry)) for entry in rest.history(chain="chain-2")]
    assert told.inner_text().splitlines() == printed(Group(*entries))
    page.get_by_label("Chains as they were at").fill("0s")
    page.get_by_role("button", name="Chains then").click()
    expect(told).to_contain_text("NFs", timeout=MS)
    assert told.inner_text().splitlines() == printed(tables.chains(rest.chains()))
    close_all(page)


@pytest.mark.parametrize(
    ("name", "words"),
    [("Insert", "main"), ("Services", "main"), ("Operations", "chain-1")],
)
def test_the_other_tools_open(page: Page, name: str, words: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text(words, timeout=MS)
    close_all(page)


def test_one_beside_a_management_system_ends_with_it(tmp_path: Path, eventually: Eventually) -> None:
    """Even with one that is killed."""
    network, own = tmp_path / "network.yaml", free_port()
    network.write_text(network_text())
    files = ["--network", str(network), "--db", str(tmp_path / "db"), "--port", str(free_port())]
    command = ["ms", "run", *files, "--dashboard", str(own)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from mgmt_system.cli import app; app()", *command],
        cwd=ROOT,
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )

    def answers() -> bool:
        try:
            return "Catenary" in httpx.get(f"http://127.0.0.1:{own}", timeout=5.0).text
        except httpx.TransportError:
            return False

    try:
        eventually(answers, what="a dashboard")
        process.kill()
        process.wait()
        eventually(lambda: not answers(), what="its end")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[Role, str], Path]]:
    """A dashboard of a management system that asks for tokens, one of each role, and its log."""
    tokens = {role: f"{role}-0123456789abcdef-secret" for role in Role}
    callers = Callers.of({token: Caller(f"a-{role}", role) for role, token in tokens.items()})
    folder = tmp_path_factory.mktemp("guarded")
    own, log = folder / "token", folder / "log"
    write_private(own, callers.own(Caller("dashboard", Role.VIEWER)))
    site = BusySite()
    site.add("n1")
    site.settle()
    with (
        management(site, callers) as url,
        dashboard(url, log, CATENARY_TOKEN_FILE=str(own)) as address,
    ):
        yield address, tokens, log
    site.close()
    text = log.read_text()
    assert not [token for token in tokens.values() if token in text]


def test_who_has_no_token_sees_nothing(browser: Browser, guarded: tuple[str, dict[Role, str], Path]) -> None:
    url, tokens, log = guarded
    with browser.new_context() as context:
        page = sign_in(context, url, "a wrong one that is long")
        expect(page.get_by_role("alert")).to_be_visible(timeout=MS)
        assert page.url == f"{url}/login"
        assert context.cookies() == []
        page = sign_in(context, url, tokens[Role.ADMIN])
        page.wait_for_selector("#board[data-at] .chart svg")
        assert page.url == f"{url}/"
        [cookie] = context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert tokens[Role.ADMIN] not in cookie["value"]
        answer = httpx.get(f"{url}/_nicegui_ws/socket.io/?EIO=4&transport=polling")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        context.close()
    assert "does not know this token" in log.read_text()


OFFERED = {
    Role.VIEWER: set(),
    Role.OPERATOR: {"Add chain", "Rebalance", "Capture", "Insert"},
    Role.ADMIN: {"Add chain", "Rebalance", "Capture", "Insert", "Backup"},
}


@pytest.mark.parametrize("role", Role)
def test_what_a_role_can_not_do_is_not_offered(
    role: Role, browser: Browser, guarded: tuple[str, dict[Role, str], Path]
) -> None:
    url, tokens, _ = guarded
    with browser.new_context() as context:
        page = sign_in(context, url, tokens[role])
        page.wait_for_selector("#board[data-at] .chart svg")
        expect(page.get_by_label("signed in")).to_have_text(f"a-{role}, {role}")
        offered = {name for name in OFFERED[Role.ADMIN] if page.get_by_role("button", name=name).count()}
        assert offered == OFFERED[role]
        verbs = page.get_by_role("button", name=re.compile("(remove|cordon) chain"))
        assert bool(verbs.count()) is (role is not Role.VIEWER)
        page.get_by_role("button", name="Configuration").click()
        page.get_by_role("button", name="Plan", exact=True).wait_for()
        apply = page.get_by_role("button", name="Apply this plan")
        expect(apply).to_be_visible() if role is Role.ADMIN else expect(apply).to_be_hidden()
        # Who asks for what is not offered is refused by the management system itself.
        answer = page.request.get(f"{url}/backup")
        assert answer.status == (200 if role is Role.ADMIN else 403)
        context.close()


def test_a_page_ends_when_its_token_is_revoked(browser: Browser, tmp_path: Path) -> None:
    site, token = BusySite(), "a-token-0123456789abcdef"
    callers = Callers.of({token: Caller("ann", Role.OPERATOR)})
    write_private(tmp_path / "own", callers.own(Caller("dashboard", Role.VIEWER)))
    with (
        management(site, callers) as api,
        dashboard(api, tmp_path / "log", CATENARY_TOKEN_FILE=str(tmp_path / "own")) as url,
        browser.new_context() as context,
    ):
        page = sign_in(context, url, token)
        page.wait_for_selector("#board[data-at] .chart svg")
        callers.known[hashed(token)] = Caller("ann", Role.VIEWER)
        expect(page.get_by_role("button", name="Add chain")).to_have_count(0, timeout=MS)
        page.wait_for_selector("#board[data-at] .chart svg")
        del callers.known[hashed(token)]
        page.wait_for_url(f"{url}/login")
        assert page.get_by_role("status").count() == 0
        context.close()
    site.close()


def sign_in(context: BrowserContext, url: str, token: str) -> Page:
    context.set_default_timeout(MS)
    page = context.new_page()
    page.goto(url)
    assert page.url == f"{url}/login"
    page.get_by_label("token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    return page
