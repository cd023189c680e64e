"""`catenary top`: all chains and what they carry, live in a terminal."""

from __future__ import annotations

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from catenary.client import ManagementClient
from catenary.errors import Unavailable
from mgmt_system.options import Json
from mgmt_system.top import picture
from mgmt_system.watching import Watch

REFRESH = 1.0


def top(
    refresh: Annotated[float, typer.Option(help="Seconds between pictures.", min=0.1, max=3600)] = REFRESH,
    once: Annotated[bool, typer.Option("--once", help="One picture, then end.")] = False,
    json: Json = False,
) -> None:
    """Show live what the chains carry: sessions, share, new sessions, throughput each way, cool-downs.

    q or Ctrl-C ends it. Not into a terminal it prints one picture, with --json a line for each sample.

    Examples:

        catenary top

        catenary top --refresh 5

        catenary top --once --json
    """
    console = Console()
    with ManagementClient.from_environment() as client, suppress(KeyboardInterrupt):
        if json:
            _print_samples(client, refresh, once)
        elif once or not console.is_terminal:
            _print_once(client, console)
        else:
            _live(Watch(client, history=1), console, refresh)


def _print_samples(client: ManagementClient, refresh: float, once: bool) -> None:
    since: float | None = None
    while True:
        for sample in client.traffic(since):
            since = sample.at
            print(sample.model_dump_json(), flush=True)
        if once and since is not None:
            return
        time.sleep(refresh)


def _print_once(client: ManagementClient, console: Console) -> None:
    scene = Watch(client, history=1).poll()
    if scene.fault is not None:
        raise Unavailable(scene.fault)
    width = console.width if console.is_terminal else 200
    lines = 30 + (len(scene.now.chains) if scene.now else 0)
    Console(width=width).print(picture(scene, width, console.height if console.is_terminal else lines))


def _live(watch: Watch, console: Console, refresh: float) -> None:
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(watch.poll(), console.width, console.height), refresh=True)
            if pressed(refresh) in ("q", "Q"):
                return


@contextmanager
def _keys() -> Iterator[_Pressed]:
    """Single keys from the terminal, if there is one to type at."""
    if not sys.stdin.isatty():
        yield _Pressed(None)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _Pressed(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class _Pressed:
    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __call__(self, seconds: float) -> str:
        """The key that is pressed within so many seconds, or an empty text."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        return sys.stdin.read(1) if ready else ""
