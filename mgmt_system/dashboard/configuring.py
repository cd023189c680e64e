"""The configuration as one document: shown, downloaded, planned and applied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import events, ui

from catenary import durations
from catenary.client import ManagementClient
from catenary.config import ServiceConfig
from catenary.document import Document, check
from catenary.errors import InvalidValue
from mgmt_system import config_cli, plan_tables
from mgmt_system.dashboard.dialogs import Asker, Dialog

SIZE_MAX = 900_000
"""Bytes of a document: a message from a browser can have no more."""
POLL = 0.5
"""Seconds between questions how far an apply is."""
_WAIT = "wait until they end"
_DOCUMENT = "document"


class Configuring:
    """A dialog: what is applied is a plan that was seen, and refused if anything changed since."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    async def open(self) -> None:
        with Dialog("Configuration", wide=True) as dialog:
            dialog.text("What is in force. Change it here or open a file, see the plan, then apply it.")
            text = ui.textarea("Document (YAML)").classes("document")
            text.props('outlined debounce=200 spellcheck=false input-style="height: 34vh"')
            options = _Options(dialog)
            shown = dialog.shown()
            why = dialog.why()
            seen = _Seen()

            def stale() -> None:
                """Another document or another option: its plan was not seen."""
                seen.forget()
                apply.disable()

            async def planned() -> None:
                stale()
                said, how = text.value or "", options.values()
                document = Document(said, _DOCUMENT)
                config = check(ServiceConfig, document)
                view = await self._ask(lambda client: client.plan(config, **how))
                shown.show(plan_tables.plan(view))
                config_cli.refuse(document, view)
                if view.changes and (said, how) == (text.value, options.values()):
                    seen.remember(config, {"token": view.token, **how})
                    apply.enable()

            async def applied() -> None:
                config, how = seen.config, seen.how
                if config is None:
                    raise InvalidValue("nothing was planned: see the plan first")
                operation = await self._ask(lambda client: client.apply(config, **how), why.value or None)
                seen.forget()
                while operation is not None and not dialog.closed:
                    shown.show(plan_tables.operation(operation))
                    if operation.state != "running":
                        break
                    await asyncio.sleep(POLL)
                    again = partial(ManagementClient.operation, operation_id=operation.id)
                    operation = await self._ask(again)

            async def in_force() -> None:
                text.value = config_cli.written(await self._ask(lambda client: client.config()))

            async def uploaded(event: events.UploadEventArguments) -> None:
                text.value = await event.file.text()

            async def download() -> None:
                ui.download.content(text.value or "", "service.yaml", "application/yaml")

            upload = ui.upload(on_upload=uploaded, auto_upload=True, max_file_size=SIZE_MAX)
            upload.props('accept=".yaml,.yml"').classes("hidden")
            text.on_value_change(stale)
            options.on_change(stale)
            with dialog.buttons():
                open_file = ui.button("Open file", color=None).props("no-caps flat").classes("quiet")
                # In the browser itself: only what a person does may open the dialog of files.
                open_file.on("click", js_handler=f"() => getElement({upload.id}).$refs.qRef.pickFiles()")
                dialog.button("Download", download, "quiet")
                dialog.button("Plan", planned)
                apply = dialog.button("Apply this plan", applied, "danger")
                apply.disable()
                apply.set_visibility(self._ask.may("apply_config"))
        await dialog.attempt(in_force)


class _Seen:
    """The plan that was shown: its document, and how it would be applied."""

    def __init__(self) -> None:
        self.config: ServiceConfig | None = None
        self.how: dict[str, Any] = {}

    def remember(self, config: ServiceConfig, how: dict[str, Any]) -> None:
        self.config, self.how = config, how

    def forget(self) -> None:
        self.config = None


class _Options:
    """What becomes of the sessions of chains that go, and whether a segment may be left without one."""

    def __init__(self, dialog: Dialog) -> None:
        with dialog.fields():
            self._then = ui.select(
                [_WAIT, "reset", "rebalance"], value=_WAIT, label="Sessions of removed chains"
            )
            self._deadline = ui.input("After", value="60s")
            self._deadline.bind_visibility_from(self._then, "value", lambda it: it != _WAIT)
            self._force = ui.checkbox("Even if a segment is left without a chain")

    def values(self) -> dict[str, Any]:
        ends = self._then.value != _WAIT
        return {
            "force": self._force.value,
            "deadline": durations.parse(self._deadline.value) if ends else None,
            "then": self._then.value if ends else None,
        }

    def on_change(self, call: Callable[[], None]) -> None:
        for field in (self._then, self._deadline, self._force):
            field.on_value_change(call)
