"""What shells and `man` are given: shells complete by it, and mandoc has no complaint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services
from tests.serving import serving
from topologies.patience import PATIENCE_S

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPLETION = DEPLOY / "completion"
BASH = """
source {folder}/catenary.bash
COMP_WORDS=({words} "{begun}"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_catenary_completion catenary
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# What it gives zsh's own _arguments is what that would show.
ZSH = """
compdef() {{ : }}
_arguments() {{ print -r -- "$@" }}
source {folder}/_catenary
words=({words} "{begun}"); CURRENT=$#words
_catenary_completion
"""
FISH = "source {folder}/catenary.fish; complete --do-complete '{words} {begun}'"
SHELLS = {"bash": ["bash", "-c", BASH], "zsh": ["zsh", "-fc", ZSH], "fish": ["fish", "-Nc", FISH]}


def completed(shell: str, words: str, begun: str = "", **environment: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}: run `make test`, or tools/install.sh test")
    *argv, script = SHELLS[shell]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*argv, script.format(folder=COMPLETION, words=words, begun=begun)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PATH": path, **environment},
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    commands = completed(shell, "catenary chain")
    assert all(word in commands for word in ("add", "cordon", "remove"))
    options = completed(shell, "catenary chain add", "--n")
    assert "--nf" in options
    assert "--no-wait" in options
    assert "--weight" not in options


def test_names_of_chains_are_completed() -> None:
    with services.management() as app, serving(app, lifespan=False) as url:
        assert "chain-1" in completed("bash", "catenary chain remove", "ch", CATENARY_URL=url)


def test_without_a_management_system_there_are_no_names() -> None:
    assert completed("bash", "catenary chain remove", "ch", CATENARY_URL="http://127.0.0.1:1").strip() == ""


def test_mandoc_has_no_complaint() -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("needs mandoc: run `make test`, or tools/install.sh test")
    page = str(DEPLOY / "man" / "catenary.1")
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
    found = [line for line in lint.stdout.splitlines() if "missing date" not in line]  # it has that of no day
    assert found == []
    shown = subprocess.run(["mandoc", "-T", "utf8", page], capture_output=True, text=True).stdout
    assert "catenary chain add --nf firewall-2 --nf ids-2 --name second --tags 4,5" in shown
