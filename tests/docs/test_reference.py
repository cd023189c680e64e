"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lb_adapter import abi
from lb_adapter.counters import OWN, meanings
from tests import services
from tests.serving import calling
from tools import reference

ROOT = Path(__file__).parents[2]
HEADS = re.compile(r"^#+ (.*)$", re.MULTILINE)


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text() == reference.PAGES[name](), "write it anew: make docs"


def test_every_command_has_an_example() -> None:
    commands = reference.commands()
    for part in re.split(r"^## |^### ", commands, flags=re.M)[1:]:
        head = part.splitlines()[0]
        if "**Options**" in part or "**Arguments**" in part:
            assert "Example" in part, f"{head} has options and no example"


def test_every_counter_has_a_text() -> None:
    texts = meanings()
    assert [*texts] == [*abi.REASONS, *OWN], "say in core/abi.h, or in counters.py, what it counts"
    assert all(texts.values())
    with services.master() as app:
        told = calling(app).get("/v1/stats").json()
    assert told["counters"].keys() | told["peer"]["counters"].keys() <= texts.keys()
    assert told["counters"].keys() - abi.REASONS.keys() == OWN.keys()


def test_every_link_of_a_page_leads_somewhere() -> None:
    for name, page in reference.PAGES.items():
        text = page()
        heads = {re.sub(r"[^a-z0-9 _-]", "", head.lower()).replace(" ", "-") for head in HEADS.findall(text)}
        links = set(re.findall(r"\]\(#([^)]+)\)", text))
        assert links <= heads, f"{name}: {links - heads}"
