"""What can be looked up from the page: sessions, where one goes and why, the journal, operations."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from html import escape
from itertools import islice
from typing import Any, Literal, get_args

from nicegui import ui
from rich.console import Group
from rich.text import Text

from catenary import durations, moments, wire
from catenary.client import ManagementClient
from catenary.session import Directed, SessionKey
from catenary.wire import SegmentSession, SessionSort, SessionState
from mgmt_system import explain_cli, plan_tables, session_tables, tables
from mgmt_system.capture import At
from mgmt_system.dashboard.dialogs import Asker, Choice, Dialog
from mgmt_system.dashboard.hub import Hub

LISTED, LISTED_MAX = 20, 500
"""Sessions that are asked for at first, and at most."""
LAST = 50
"""Entries of the journal that are shown at first."""
_WIDE = ("segment", "idle", "bytes", "packets", "ended")
"""Columns that are left out on a phone."""
_VERBS_NEED = {
    "explain": "explain_session",
    "reset": "end_session",
    "move": "end_session",
    "capture": "capture",
}
_VERBS = """
<q-td :props="props"><div class="verbs">
  <q-btn v-for="verb in props.row.verbs" :key="verb" flat dense no-caps
  size="13px" :label="verb" :aria-label="verb + ' ' + props.row.session"
  :disable="verb != 'explain' && !!props.row.ended"
  @click="() => $parent.$emit('verb', [verb, props.row])" /></div></q-td>"""
_CELL = """
<q-td :props="props" :data-session="props.row.session" :data-field="props.col.name"
  >{{ props.value }}</q-td>"""


class Looking:
    """`capture` opens the dialog of a capture of a chain and a session."""

    def __init__(self, hub: Hub, ask: Asker, capture: Callable[[str | None, str], None]) -> None:
        self._hub = hub
        self._ask = ask
        self._capture = capture

    def _segments(self) -> list[str]:
        config = self._hub.view().config
        return list(config.segments) if config else []

    async def explain(self, key: str = "", segment: str | None = None) -> None:
        """Where a session goes and why, as `catenary explain` says it."""
        with Dialog("Explain a session", wide=True) as dialog:
            dialog.text(
                "Live, over, or not begun: where it goes, in both directions and hop by hop, and why."
            )
            with dialog.fields():
                session = ui.input("Session", value=key, placeholder="10.0.0.1:4242 -> 10.0.0.2:80/tcp")
                session.classes("long")
                where = Choice("Segment", self._segments(), segment)
            shown = dialog.shown()

            async def explained() -> None:
                wanted, place = Directed.parse(session.value).text, where.value
                told = await self._ask(lambda client: client.explain(wanted, place))
                shown.show(explain_cli.explanation(told))

            async def told() -> None:
                wanted, place = SessionKey.parse(session.value).text, where.value
                found = await self._ask(lambda client: client.session(wanted, place))
                shown.show(session_tables.session(found))

            async def end(mode: Literal["reset", "move"]) -> None:
                self.end(SessionKey.parse(session.value).text, mode, where.value)

            with dialog.buttons():
                if self._ask.may("end_session"):
                    dialog.button("Reset", partial(end, "reset"), "quiet")
                    dialog.button("Move", partial(end, "move"), "quiet")
                dialog.button("Show", told, "quiet")
                dialog.button("Explain", explained)
            session.on("keydown.enter", lambda: dialog.attempt(explained))
        if key:
            await dialog.attempt(explained)

    def end(self, key: str, mode: Literal["reset", "move"], segment: str | None) -> None:
        """Reset or move a session, once that is confirmed."""
        word, text = {
            "reset": ("Reset", "Both ends of the connection get a RST, each at its next packet."),
            "move": ("Move", "It goes to the least loaded other chain. NFs that keep state may refuse it."),
        }[mode]
        with Dialog(f"{word} this session?") as dialog:
            dialog.html(f"<p><code>{escape(key)}</code></p>")
            dialog.text(text)
            why = dialog.why()
            order = wire.SessionRequest(key=key, mode=mode, segment=segment)
            dialog.confirm(
                f"{word} session",
                lambda: self._ask(lambda client: client.end_session(order), why.value or None),
                danger=True,
            )

    async def sessions(self) -> None:
        """Sessions by chain, state, age and idle time; sorted by rate they are the top talkers."""
        with Dialog("Sessions", wide=True) as dialog:
            with dialog.fields():
                segment = Choice("Segment", self._segments())
                chain = ui.input("Chain")
                state = Choice("State", get_args(SessionState))
                at = ui.select(list(get_args(At)), value="master", label="Held by")
                sort = ui.select(list(get_args(SessionSort)), value="rate", label="Largest first by")
                older = ui.input("Older than", placeholder="5m")
                idle = ui.input("Idle for", placeholder="60s")
                limit = ui.number("At most", value=LISTED, min=1, max=LISTED_MAX, precision=0)
                ended = ui.checkbox("Those that ended lately")
            table = _session_table()
            verbs = [verb for verb, call in _VERBS_NEED.items() if self._ask.may(call)]
            table.on("verb", lambda event: self._act(*event.args))

            async def listed() -> None:
                wanted = {
                    "chain": chain.value.strip() or None,
                    "segment": segment.value,
                    "state": state.value,
                    "older": durations.parse(older.value) if older.value else None,
                    "idle": durations.parse(idle.value) if idle.value else None,
                    "at": at.value,
                    "sort": sort.value,
                    "ended": ended.value or None,
                    "limit": int(limit.value or LISTED),
                }
                found = await self._ask(partial(_listed, wanted=wanted))
                table.rows = [{**session_tables.cells(item), "verbs": verbs} for item in found]

            with dialog.buttons():
                dialog.button("List sessions", listed)
        await dialog.attempt(listed)

    async def _act(self, verb: str, row: dict[str, str]) -> None:
        key, segment = row["session"], row["segment"]
        match verb:
            case "explain":
                await self.explain(key, segment)
            case "reset" | "move":
                self.end(key, verb, segment)
            case "capture":
                self._capture(row["chain"], key)

    async def history(self) -> None:
        """The journal, and the chains of a past moment."""
        with Dialog("History", wide=True) as dialog:
            with dialog.fields():
                since = ui.input("Since", placeholder="10m, or 2026-03-01T14:30")
                until = ui.input("Until")
                segment = Choice("Segment", self._segments())
                chain, who = ui.input("Chain"), ui.input("By", placeholder="user@host")
                kind = Choice("Kind", get_args(wire.HistoryKind))
                last = ui.number("The last", value=LAST, min=1, max=10000, precision=0)
                at = ui.input("Chains as they were at", placeholder="10m")
            shown = dialog.shown()

            async def asked() -> list[wire.HistoryEntry]:
                now = time.time()
                wanted: dict[str, Any] = {
                    "since": moments.parse(since.value, now) if since.value else None,
                    "until": moments.parse(until.value, now) if until.value else None,
                    "chain": chain.value.strip() or None,
                    "segment": segment.value,
                    "kind": kind.value,
                    "who": who.value.strip() or None,
                    "last": int(last.value or LAST),
                }
                return await self._ask(lambda client: list(client.history(**wanted)))

            async def entries() -> None:
                found = [Text(tables.entry(entry)) for entry in await asked()]
                shown.show(Group(*found or [Text("no such entry")]))

            async def download() -> None:
                lines = "".join(f"{entry.model_dump_json()}\n" for entry in await asked())
                ui.download.content(lines, "history.jsonl", "application/x-ndjson")

            async def chains() -> None:
                moment = moments.parse(at.value, time.time())
                shown.show(tables.chains(await self._ask(lambda client: client.chains(moment))))

            with dialog.buttons():
                dialog.button("Chains then", chains, "quiet")
                dialog.button("Download", download, "quiet")
                dialog.button("Show entries", entries)
        await dialog.attempt(entries)

    async def operations(self) -> None:
        """Calls that take time."""
        with Dialog("Operations", wide=True) as dialog:
            one = ui.input("ID (empty: all)")
            shown = dialog.shown()

            async def listed() -> None:
                wanted = one.value.strip()

                def ask(client: ManagementClient) -> list[wire.OperationView]:
                    return [client.operation(wanted)] if wanted else client.operations()

                shown.show(tables.operations(await self._ask(ask)))

            with dialog.buttons():
                dialog.button("Show", listed)
        await dialog.attempt(listed)

    async def services(self) -> None:
        """Services, their segments in a row, and what enters them."""
        with Dialog("Services", wide=True) as dialog:
            one = ui.input("Name (empty: all)")
            shown = dialog.shown()

            async def listed() -> None:
                wanted = one.value.strip()
                if wanted:
                    shown.show(plan_tables.service(await self._ask(lambda client: client.service(wanted))))
                else:
                    shown.show(plan_tables.services(await self._ask(lambda client: client.services())))

            with dialog.buttons():
                dialog.button("Show", listed)
        await dialog.attempt(listed)


def _listed(client: ManagementClient, wanted: dict[str, Any]) -> list[SegmentSession]:
    return list(islice(client.sessions(**wanted), wanted["limit"]))


def _session_table() -> ui.table:
    columns: list[dict[str, Any]] = []
    for name in (*session_tables.COLUMNS, "verbs"):
        wide = "c-wide" if name in _WIDE else ""
        label = "" if name == "verbs" else name
        columns.append({"name": name, "label": label, "field": name, "align": "left"})
        columns[-1] |= {"classes": wide, "headerClasses": wide}
    table = ui.table(rows=[], columns=columns, row_key="session").classes("sessions")
    table.props('flat dense hide-pagination :rows-per-page-options="[0]" no-data-label="no such session"')
    table.add_slot("body-cell", _CELL)
    table.add_slot("body-cell-verbs", _VERBS)
    return table
