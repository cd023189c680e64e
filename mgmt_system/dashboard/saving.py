"""A backup of the management system's store, as a download."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from nicegui import ui

from catenary.client import ManagementClient
from mgmt_system.dashboard.dialogs import Asker, Dialog
from mgmt_system.dashboard.downloads import streamed
from mgmt_system.dashboard.hub import Hub

PATH = "/backup"
NAME = "catenary.db"


class Saving:
    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def open(self) -> None:
        """What would be refused is told in the dialog; then the browser downloads the file."""
        with Dialog("Backup") as dialog:
            dialog.text(
                "All that the management system has stored, as of one moment. Changes go on meanwhile."
            )
            dialog.text("To put it in the place of a database: catenary restore.")

            async def downloaded() -> None:
                await self._ask(lambda client: next(client.backup(), b""))
                ui.download.from_url(PATH, NAME)

            dialog.confirm("Download", downloaded)


def add_backup(app: FastAPI, hub: Hub) -> None:
    @app.get(PATH)
    def backup(request: Request) -> Response:
        return streamed(hub, request, ManagementClient.backup, NAME, "application/vnd.sqlite3")
