"""The tutorial of a network of one's own works as it is written, up to the last word at Mininet's prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import missing
from tests.docs.terminals import INSIDE, Page, Terminal, at_prompt, follow

SEEN = {
    "mn ": [r"^management system +http"],
    "net": [r"^w1 w1-eth0:s3-eth"],
    "sh catenary chain add": [r"^one +main +active +w1 ", r"^two +main +active +w2 "],
    "h1 curl": [r"^0$", r"^0$"],
    'py net.testbed.nfs["w1"]': [r"message='whole', client='10.0.0.1', .*server='10.0.0.2', server_port=80"],
    "py {name": [r"'w1': [1-9]\d*, 'w2': [1-9]\d*}", r"'w1': [1-9]\d*, 'w2': [1-9]\d*}"],
    "py set": [r"^True$"],
    "py {alert": [r"^{'whole'}$"],
    "sh catenary chain list": [
        r"^one +main +cooling(.|\n)*^two +main +active",
    ],
    "sh catenary apply": [r"add +autoscale +main(.|\n)* succeeded "],
    "sh catenary autoscale show": [r"^main +act +2 +0 +2 "],
    "sh catenary history": [r"out 1 -> 2 chains(.|\n)*in 2 -> 1 chains"],
}


@pytest.mark.skipif(missing("e2e") is not None, reason=f"the testbed: {missing('e2e')}")
def test_every_command_does_what_the_tutorial_says(environment: dict[str, str], tmp_path: Path) -> None:
    terminal = Terminal(environment | {"HOME": str(tmp_path)})

    def type_in(where: str, command: str) -> tuple[int, str]:
        if where == "terminal":
            return terminal.type(command)
        return at_prompt(terminal, f"{INSIDE} {command}" if command.startswith("mn ") else command)

    try:
        follow(Page("own-network.md", SEEN), type_in)
    finally:
        terminal.end()
