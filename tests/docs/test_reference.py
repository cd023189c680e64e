"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import reference

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text() == reference.PAGES[name](), "write it anew: make docs"


def test_every_command_has_an_example() -> None:
    commands = reference.commands()
    for part in re.split(r"^## |^### ", commands, flags=re.M)[1:]:
        head = part.splitlines()[0]
        if "**Options**" in part or "**Arguments**" in part:
            assert "Example" in part, f"{head} has options and no example"
