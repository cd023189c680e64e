"""What all open pages show: one poller for all of them, idle while no page is open."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Protocol

from catenary import wire
from catenary.client import ManagementClient
from catenary.config import ServiceConfig
from catenary.errors import CatenaryError
from mgmt_system.watching import Scene, Watch

REFRESH = 1.0
"""Seconds between polls."""
OPEN = 5.0
"""A page that has not asked for so many seconds is closed."""


@dataclass(frozen=True)
class View:
    """A moment: its scene, the chains by name, and the configuration in force. `number` grows."""

    number: int = 0
    scene: Scene = field(default_factory=Scene)
    chains: dict[str, wire.ChainView] = field(default_factory=dict)
    config: ServiceConfig | None = None


class Connect(Protocol):
    """A client that says who changes something and why, with a token or with the dashboard's own."""

    def __call__(self, who: str | None, why: str | None, token: str | None = None, /) -> ManagementClient: ...


class Hub:
    """What its poller asks for has no author, and needs no more than the role of a viewer."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self._watch = Watch(connect(None, None))
        self._view = View()
        self._seen: int | None = None
        self._opened = float("-inf")
        self._wake = asyncio.Event()

    def view(self) -> View:
        """The newest; who asks keeps the poller going."""
        if time.monotonic() - self._opened > OPEN:
            self._wake.set()
        self._opened = time.monotonic()
        return self._view

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            began = time.monotonic()
            if began - self._opened > OPEN:
                await self._wake.wait()
            self._wake.clear()
            self._view = await asyncio.to_thread(self._poll)
            await asyncio.sleep(max(0.05, REFRESH - (time.monotonic() - began)))

    def _poll(self) -> View:
        before, scene = self._view, self._watch.poll()
        chains, config = before.chains, before.config
        last = scene.events[-1].seq if scene.events else 0
        if scene.fault is None:
            try:
                chains = {chain.name: chain for chain in self._watch.client.chains()}
                if config is None or last != self._seen:  # whatever changes it is told in the journal
                    config, self._seen = self._watch.client.config(), last
            except CatenaryError as error:
                scene = replace(scene, fault=error.detail)
        return View(before.number + 1, scene, chains, config)

    def close(self) -> None:
        self._watch.client.close()
