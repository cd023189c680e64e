"""The command `catenary` as a program of its own, with one package's commands only."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def argv(package: str, words: Sequence[str]) -> list[str]:
    """To run `catenary WORDS` where it is not installed: it starts from the checkout, and sooner."""
    program = (
        "import sys; from catenary.errors import CatenaryError\n"
        f"from {package}.cli import app\n"
        "try: app()\n"
        "except CatenaryError as error: sys.exit(f'catenary: {error.detail}')"
    )
    return [sys.executable, "-c", program, *words]
