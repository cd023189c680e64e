"""What commands print, for the page: the same words, from the same functions. Pure."""

from __future__ import annotations

from html import escape
from io import StringIO

from rich.console import Console, RenderableType

WIDTH = 130
"""Characters of a line: what a wide dialog has room for."""


def printed(told: RenderableType) -> str:
    """As HTML. It can be scrolled with the keyboard, so that a long line needs no room."""
    console = Console(file=StringIO(), width=WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(told)
    lines = "\n".join(line.rstrip() for line in capture.get().splitlines())
    return f'<pre class="told" tabindex="0" aria-label="answer">{escape(lines)}</pre>'
