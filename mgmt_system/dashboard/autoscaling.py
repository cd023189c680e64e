"""Segments that scale by themselves: what was decided, and whether they shall go on."""

from __future__ import annotations

from functools import partial

from nicegui import ui
from rich.console import Group
from rich.text import Text

from catenary.autoscale import Mode
from mgmt_system import scale_tables
from mgmt_system.dashboard.dialogs import Asker, Choice, Dialog


class Autoscaling:
    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    async def open(self) -> None:
        """Each decision with its figures; for operators, a switch between acting, dry run and rest."""
        with Dialog("Autoscale", wide=True) as dialog:
            views = await self._ask(lambda client: client.autoscalers())
            names = [view.segment for view in views]
            segment = Choice("Segment", names, names[0] if names else None)
            why = ui.input("Why (for the journal)")
            shown = dialog.shown()

            async def listed() -> None:
                found = await self._ask(lambda client: client.autoscalers())
                rows = [scale_tables.autoscaler(view) for view in found if view.segment == segment.value]
                shown.show(Group(*rows or [scale_tables.autoscalers(found)], Text()))

            async def put(mode: Mode) -> None:
                name = segment.value
                if name is not None:
                    await self._ask(lambda client: client.set_autoscale_mode(name, mode), why.value or None)
                await listed()

            with dialog.buttons():
                if self._ask.may("set_autoscale_mode"):
                    dialog.button("Pause", partial(put, "paused"), "quiet")
                    dialog.button("Dry run", partial(put, "dry-run"), "quiet")
                    dialog.button("Act", partial(put, "act"), "quiet")
                dialog.button("Show", listed)
        await dialog.attempt(listed)
