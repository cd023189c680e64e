"""A pcap of a chain, or of one session in it, as a download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Request, Response
from nicegui import ui

from catenary import pcap
from catenary.chain import ChainState
from catenary.client import ManagementClient
from catenary.errors import InvalidValue
from catenary.session import SessionKey
from mgmt_system.dashboard.dialogs import Asker, Dialog
from mgmt_system.dashboard.downloads import streamed
from mgmt_system.dashboard.hub import Hub

PATH = "/capture"
_CARRYING = (ChainState.ACTIVE, ChainState.COOLING)


class Capturing:
    def __init__(self, hub: Hub, ask: Asker) -> None:
        self._hub = hub
        self._ask = ask

    def open(self, chain: str | None = None, session: str = "") -> None:
        """What would be refused is told in the dialog; then the browser downloads the file as it grows."""
        known = [one.name for one in self._hub.view().chains.values() if one.state in _CARRYING]
        with Dialog("Capture") as dialog:
            dialog.text("A pcap of what a chain gets and gives, or one session in it. It ends by itself.")
            which = ui.select(known, label="Chain", value=chain if chain in known else None, with_input=True)
            key = ui.input("Session (empty: all)", value=session)
            key.props('placeholder="10.0.0.1:4242 -> 10.0.0.2:80/tcp"')
            with dialog.fields():
                at = ui.select(["master", "slave"], value="master", label="At")
                seconds = ui.number("Seconds", value=10, min=1, max=3600)
                packets = ui.number("Packets", value=10_000, min=1, max=1_000_000, precision=0)

            async def download() -> None:
                if not which.value:
                    raise InvalidValue("choose the chain")
                text = key.value.strip()
                session = SessionKey.parse(text).text if text else None
                bounds = (float(seconds.value or 0), int(packets.value or 0))
                await self._ask(
                    lambda client: next(_pieces(client, which.value, at.value, session, *bounds), b"")
                )
                query = {"chain": which.value, "at": at.value, "seconds": bounds[0], "packets": bounds[1]}
                said = urlencode(query | ({"session": session} if session else {}))
                ui.download.from_url(f"{PATH}?{said}", f"{which.value}.pcap")

            dialog.confirm("Download", download)


def _pieces(
    client: ManagementClient, chain: str, at: str, session: str | None, seconds: float, packets: int
) -> Iterator[bytes]:
    return client.capture(chain, at=at, session=session, seconds=seconds, packets=packets)


def add_download(app: FastAPI, hub: Hub) -> None:
    @app.get(PATH)
    def capture(
        request: Request,
        chain: str,
        at: str = "master",
        session: str | None = None,
        seconds: Annotated[float, Query(gt=0, le=3600)] = 10.0,
        packets: Annotated[int, Query(ge=1, le=1_000_000)] = 10_000,
    ) -> Response:
        return streamed(
            hub,
            request,
            lambda client: _pieces(client, chain, at, session, seconds, packets),
            f"{chain}.pcap",
            pcap.MEDIA_TYPE,
        )
