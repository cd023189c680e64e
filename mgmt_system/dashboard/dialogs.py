"""What all dialogs have in common: a card, its fields, its buttons, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from html import escape
from typing import TypeVar

from nicegui import ui
from pydantic import ValidationError
from rich.console import RenderableType

from catenary import wire
from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from mgmt_system.dashboard.gate import Login
from mgmt_system.dashboard.hub import Hub
from mgmt_system.dashboard.texts import printed
from mgmt_system.roles import ROLES

T = TypeVar("T")
_ALL = "all"


class Asker:
    """One call in a thread, with a client of its own; raises `CatenaryError`.

    `who` asks, as the journal shall have it, with the token of the `login`.
    """

    def __init__(self, hub: Hub, who: str, login: Login) -> None:
        self._hub = hub
        self._who = who
        self._login = login

    def may(self, call: str) -> bool:
        """Does the role of who is signed in cover this call? What it does not is not offered."""
        return self._login.caller.role.covers(ROLES[call])

    async def __call__(self, call: Callable[[ManagementClient], T], why: str | None = None) -> T:
        def ask() -> T:
            with self._hub.connect(self._who, why, self._login.token) as client:
                return call(client)

        return await asyncio.to_thread(ask)


class Dialog:
    """A modal card: what is put in it comes between its title and its buttons. It opens at the end."""

    def __init__(self, title: str, *, wide: bool = False) -> None:
        self._title = title
        self._wide = wide

    def __enter__(self) -> Dialog:
        self._dialog = ui.dialog().props(f'aria-label="{escape(self._title)}"')
        self._dialog.__enter__()
        self._card = ui.card().classes("dialog wide" if self._wide else "dialog")
        self._card.__enter__()
        self.html(f"<h2>{escape(self._title)}</h2>")
        return self

    def __exit__(self, *error: object) -> None:
        self._card.__exit__(*error)
        self._dialog.__exit__(*error)
        self._dialog.on("hide", self._dialog.delete)
        self._dialog.open()

    @property
    def closed(self) -> bool:
        return self._dialog.is_deleted or not self._dialog.value

    def text(self, text: str) -> None:
        self.html(f"<p>{escape(text)}</p>")

    def html(self, text: str) -> None:
        ui.html(text, sanitize=False)

    def fields(self) -> ui.element:
        """A place for fields side by side."""
        return ui.element("div").classes("filters")

    def why(self) -> ui.input:
        return ui.input("Why (for the journal)").props("maxlength=500")

    def shown(self) -> Shown:
        return Shown()

    def buttons(self) -> ui.element:
        """The row of buttons, to be filled by `button`, and above it the place of what is refused."""
        self._alert = ui.label().classes("alert").props("role=alert")
        self._alert.set_visibility(False)
        row = ui.element("div").classes("buttons")
        with row:
            ui.button("Close", on_click=self._dialog.close, color=None).props("no-caps flat")
        return row

    def button(self, text: str, call: Callable[[], Awaitable[object]], kind: str = "primary") -> ui.button:
        """`kind` is primary, danger, or quiet."""

        async def pressed() -> None:
            button.disable()
            await self.attempt(call)
            if not self._dialog.is_deleted:
                button.enable()

        button = ui.button(text, on_click=pressed, color=None)
        button.props("no-caps flat" if kind == "quiet" else "no-caps unelevated").classes(kind)
        return button

    async def attempt(self, call: Callable[[], Awaitable[object]]) -> None:
        """What is refused is told, and the dialog stays."""
        fault = None
        try:
            await call()
        except CatenaryError as error:
            fault = error.detail
        except ValidationError as error:
            fault = wire.explain(error.errors())
        except ValueError as error:
            fault = str(error)
        if not self._dialog.is_deleted:
            self._alert.text = fault or ""
            self._alert.set_visibility(fault is not None)

    def confirm(self, button: str, call: Callable[[], Awaitable[object]], *, danger: bool = False) -> None:
        """The buttons: it closes when the call is done."""

        async def confirmed() -> None:
            await call()
            self._dialog.close()

        with self.buttons():
            self.button(button, confirmed, "danger" if danger else "primary")


class Shown:
    """Where a dialog shows what a command prints."""

    def __init__(self) -> None:
        self._html = ui.html("", sanitize=False)

    def show(self, told: RenderableType) -> None:
        if not self._html.is_deleted:
            self._html.content = printed(told)


class Choice:
    """One of some names, or all (None)."""

    def __init__(self, label: str, names: Sequence[str], value: str | None = None) -> None:
        self._select = ui.select([_ALL, *names], value=value or _ALL, label=label)

    @property
    def value(self) -> str | None:
        return None if self._select.value == _ALL else str(self._select.value)
