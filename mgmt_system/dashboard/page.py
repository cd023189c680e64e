"""The page: where each panel stands, and how it is kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import Any

from nicegui import Client, ui

from catenary.errors import CatenaryError, Unauthorized
from catenary.roles import Caller
from catenary.traffic import ChainTraffic, TrafficSample
from mgmt_system.dashboard import charts, panels
from mgmt_system.dashboard.actions import VERBS, Actions
from mgmt_system.dashboard.autoscaling import Autoscaling
from mgmt_system.dashboard.capturing import Capturing
from mgmt_system.dashboard.configuring import Configuring
from mgmt_system.dashboard.dialogs import Asker
from mgmt_system.dashboard.gate import LOGOUT, Login
from mgmt_system.dashboard.hub import REFRESH, Hub, View
from mgmt_system.dashboard.looking import Looking
from mgmt_system.dashboard.saving import Saving

ROWS = 25
CHECK = 5.0
"""Seconds within which a page learns that its token was revoked, or has another role."""
_COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("name", "chain", False),
    ("segment", "segment", True),
    ("state", "state", False),
    ("health", "health", True),
    ("nfs", "NFs", True),
    ("tags", "tags", True),
    ("weight", "weight", True),
    ("sessions", "sessions", False),
    ("share", "share", False),
    ("new", "new/s", True),
    ("forward", "to servers", True),
    ("reverse", "to clients", True),
    ("verbs", "", False),
)
"""Key, title, and whether it is left out on a phone."""
_TEXT = ("name", "segment", "state", "health", "nfs", "tags", "verbs")
_CELL = """
<q-td :props="props" :data-chain="props.row.name" :data-field="props.col.name"
      :data-value="props.row['raw_' + props.col.name]">{{ props.value }}</q-td>"""
_STATE = """
<q-td :props="props" :data-chain="props.row.name" data-field="state">
  <span :class="'state ' + props.value" :title="props.row.reason">{{ props.value }}</span></q-td>"""
_VERBS = """
<q-td :props="props"><div class="verbs">
  <q-btn v-for="verb in props.value.split(' ').filter(v => v)" :key="verb" flat dense no-caps
  size="13px" :label="verb" :aria-label="verb + ' chain ' + props.row.name"
  @click="() => $parent.$emit('verb', [verb, props.row.name])" /></div></q-td>"""


class Page:
    """One browser's view of the hub: which segment it shows, and what it looks for in the table."""

    def __init__(self, hub: Hub, client: Client, login: Login, sign_in: Callable[[str], Caller]) -> None:
        self._hub = hub
        self._login = login
        self._sign_in = sign_in
        self._shown = -1
        self._segment: str | None = None
        self._search = ""
        self._order: dict[str, Any] = {
            "page": 1,
            "rowsPerPage": ROWS,
            "sortBy": None,
            "descending": False,
            "rowsNumber": 0,
        }
        self.dark = ui.dark_mode(None)
        self._ask = ask = Asker(hub, f"dashboard@{client.ip}", login)
        self._verbs = {verb for verb, call in VERBS.items() if ask.may(call)}
        self._actions, self._configuring = Actions(hub, ask), Configuring(ask)
        self._capturing, self._saving = Capturing(hub, ask), Saving(ask)
        self._looking, self._autoscaling = Looking(hub, ask, self._capturing.open), Autoscaling(ask)
        self._build()
        self.refresh()
        self._timer = ui.timer(REFRESH / 2, self.refresh)
        self._check = ui.timer(CHECK, self._still, active=login.token is not None)

    def _build(self) -> None:
        with ui.element("main").classes("board").props("id=board") as self._board:
            self._head()
            self._tools()
            self._totals = ui.html("", sanitize=False).classes("cards").props('aria-label="totals"')
            self._filters()
            self._topology = self._html("Topology", "lines are as thick as chains are busy")
            self._throughput = self._chart("Throughput", "Mbit/s, both ways", "throughput")
            self._share = self._chart("Share", "% of live sessions", "share")
            self._chains()
            self._states = self._html("Sessions by state", classes="third")
            self._cooling = self._html("Cool-downs", "time since the removal; marks: predicted", "third")
            self._events = self._html("Events", "UTC, newest first", "third")
        ui.skip_link("Skip to the chains", target=self._table)

    def _head(self) -> None:
        with ui.element("header").classes("top"):
            ui.html("Catenary", tag="h1", sanitize=False)
            self._health = ui.html("", sanitize=False).classes("health").props("role=status")
            if self._ask.may("add_chain"):
                add = ui.button("Add chain", on_click=self._actions.add, color=None)
                add.props("no-caps").classes("primary")
            self._theme = ui.button("Theme: auto", on_click=self._next_theme, color=None)
            self._theme.props("no-caps flat")
            if self._login.token is not None:
                caller = self._login.caller
                ui.label(f"{caller.name}, {caller.role}").props("aria-label='signed in'")
                form = f'<form method="post" action="{LOGOUT}"><button class="link">Sign out</button></form>'
                ui.html(form, sanitize=False)

    def _tools(self) -> None:
        """All else that can be asked for, a dialog each."""
        tools: tuple[tuple[str, str, Callable[[], object]], ...] = (
            ("Rebalance", "rebalance", self._actions.rebalance),
            ("Autoscale", "list_autoscalers", self._autoscaling.open),
            ("Sessions", "list_sessions", self._looking.sessions),
            ("Explain", "explain_session", self._looking.explain),
            ("Capture", "capture", self._capturing.open),
            ("Configuration", "show_config", self._configuring.open),
            ("Insert", "insert_pair", self._actions.insert),
            ("Services", "list_services", self._looking.services),
            ("History", "read_history", self._looking.history),
            ("Operations", "list_operations", self._looking.operations),
            ("Backup", "backup", self._saving.open),
        )
        with ui.element("nav").classes("tools").props('aria-label="tools"'):
            for name, needed, call in tools:
                if self._ask.may(needed):
                    ui.button(name, on_click=call, color=None).props("no-caps flat dense")

    def _next_theme(self) -> None:
        following = {None: False, False: True, True: None}
        self.dark.value = following[self.dark.value]
        names = {None: "auto", False: "light", True: "dark"}
        self._theme.text = f"Theme: {names[self.dark.value]}"

    def _filters(self) -> None:
        with ui.element("div").classes("filters") as self._choice:
            self._select = ui.select([], label="Segment", on_change=lambda event: self._choose(event.value))
            self._select.props("dense outlined options-dense")

    def _choose(self, segment: str | None) -> None:
        self._segment = None if segment == _ALL else segment
        self._order["page"] = 1
        self._draw()

    def _panel(self, title: str, note: str = "", classes: str = "") -> ui.element:
        panel = ui.element("section").classes(f"panel {classes}").props(f'aria-label="{title}"')
        with panel:
            ui.html(f"{title} <small>{note}</small>", tag="h2", sanitize=False)
        return panel

    def _html(self, title: str, note: str = "", classes: str = "") -> ui.html:
        with self._panel(title, note, classes):
            return ui.html("", sanitize=False)

    def _chart(self, title: str, note: str, measure: charts.Measure) -> ui.echart:
        with self._panel(title, note, "half"):
            chart = ui.echart({}, renderer="svg").classes("chart")
            return chart.props(f'role=img aria-label="{title} of each chain over time: {note}"')

    def _chains(self) -> None:
        columns = [
            {
                "name": key,
                "label": title,
                "field": key,
                "align": "left" if key in _TEXT else "right",
                "sortable": key not in ("verbs", "nfs", "tags"),
                "classes": "c-wide" if wide else "",
                "headerClasses": "c-wide" if wide else "",
            }
            for key, title, wide in _COLUMNS
        ]
        with self._panel("Chains"):
            search = ui.input("Search", on_change=lambda event: self._find(event.value or ""))
            search.classes("search").props(
                'dense outlined clearable aria-label="Search chains by name, segment, state or NF"'
            )
            self._table = ui.table(rows=[], columns=columns, row_key="name", pagination=self._order)
        table = self._table.props('flat dense binary-state-sort :rows-per-page-options="[25, 50, 100]"')
        table.props('no-data-label="no chain"')
        table.add_slot("body-cell", _CELL)
        table.add_slot("body-cell-state", _STATE)
        table.add_slot("body-cell-verbs", _VERBS)
        table.on("request", lambda event: self._turn(event.args["pagination"]))
        table.on("verb", lambda event: self._actions.act(*event.args))

    def _find(self, text: str) -> None:
        self._search = text.strip().lower()
        self._order["page"] = 1
        self._draw()

    def _turn(self, wanted: dict[str, Any]) -> None:
        """Another page or order of the table."""
        kept = ("page", "rowsPerPage", "sortBy", "descending")
        self._order.update({key: wanted[key] for key in kept if key in wanted})
        self._draw()

    async def _still(self) -> None:
        """End a page whose token was revoked, and open one anew that may do other things now."""
        assert self._login.token is not None
        try:
            now = await asyncio.to_thread(self._sign_in, self._login.token)
        except Unauthorized:
            now = None
        except CatenaryError:  # nobody can be asked, and the page says so
            return
        if now != self._login.caller:
            self._timer.deactivate()
            self._check.deactivate()
            self._board.clear()
            ui.navigate.to("/")

    def refresh(self) -> None:
        """Draw what is new, if anything is."""
        if self._hub.view().number != self._shown:
            self._draw()

    def _draw(self) -> None:
        view = self._hub.view()
        self._shown = view.number
        self._health.content = _health(view)
        sample = view.scene.now
        if sample is None or view.config is None:
            return
        self._offer(list(view.config.segments))
        rows = [row for row in sample.chains if self._segment in (None, row.segment)]
        names = charts.shown(view.scene.past, self._segment)
        self._totals.content = panels.totals(rows)
        painted = charts.colours(names)
        segment = self._segment or (
            next(iter(view.config.segments)) if len(view.config.segments) == 1 else None
        )
        self._topology.content = panels.topology(view.config, segment, sample, view.chains, painted)
        for chart, measure in ((self._throughput, "throughput"), (self._share, "share")):
            chart.options.clear()
            chart.options.update(
                charts.options(view.scene.past, measure, names, self._segment)  # type: ignore[arg-type]
            )
            chart.update()
        self._fill(rows, view)
        segments = [one for one in sample.segments if self._segment in (None, one.name)]
        self._states.content = panels.states(segments)
        cooling = [item for item in sample.cooling if self._segment in (None, item.segment)]
        self._cooling.content = panels.cooldowns(cooling, sample.at)
        self._events.content = panels.events(view.scene.events)
        self._board.props(f"data-at={sample.at!r}")

    def _offer(self, segments: list[str]) -> None:
        self._choice.set_visibility(len(segments) > 1)
        wanted = [_ALL, *segments]
        if self._select.options != wanted:
            self._select.set_options(wanted, value=self._segment if self._segment in segments else _ALL)

    def _fill(self, rows: list[ChainTraffic], view: View) -> None:
        found = [row for row in rows if self._matches(row, view)]
        key = self._order["sortBy"]
        if key:
            found.sort(key=lambda row: _place(row, key, view), reverse=bool(self._order["descending"]))
        size = self._order["rowsPerPage"] or ROWS
        last = max(1, -(-len(found) // size))
        self._order["page"] = page = min(self._order["page"], last)
        self._order["rowsNumber"] = len(found)
        self._table.pagination = dict(self._order)
        self._table.rows = panels.chain_rows(found[(page - 1) * size : page * size], view.chains, self._verbs)

    def _matches(self, row: ChainTraffic, view: View) -> bool:
        chain = view.chains.get(row.name)
        words = [row.name, row.segment, row.state, *(chain.nfs if chain else [])]
        return not self._search or any(self._search in word.lower() for word in words)


_ALL = "all segments"


def _place(row: ChainTraffic, key: str, view: View) -> tuple[bool, Any]:
    """Where a chain stands in the order of a column; what is unknown comes first."""
    if key == "weight":
        chain = view.chains.get(row.name)
        value: Any = chain.weight if chain else None
    elif key == "health":
        value = (row.health.verdict, row.health.latency_ms or 0.0) if row.health else None
    else:
        value = getattr(row, key)
    return value is not None, value if value is not None else 0


def _health(view: View) -> str:
    scene = view.scene
    if view.number == 0:
        return "connecting ..."
    bad = [scene.fault] if scene.fault else []
    bad += [f"{one.name}: {one.reason}" for one in scene.services if not one.ok]
    at = _moment(scene.now)
    if bad:
        return f'<span class="bad">{escape("; ".join(bad))}</span> {at}'
    return f"all parts are well {at}"


def _moment(sample: TrafficSample | None) -> str:
    if sample is None:
        return ""
    return f"&middot; {datetime.fromtimestamp(sample.at, UTC):%H:%M:%S} UTC"
