"""A provisioner's program: real scripts that do well, fail, hang, talk without end, or are not to be run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from catenary.autoscale import ProvisionerConfig
from catenary.errors import CatenaryError, InvalidValue, Unavailable
from mgmt_system.command_hook import SHOWN, CommandHook
from topologies.services import wait_until

pytestmark = pytest.mark.unit


def hook(tmp_path: Path, script: str, *, timeout: float = 10.0, **said: object) -> CommandHook:
    folder = tmp_path / "hooks"
    folder.mkdir(exist_ok=True)
    file = folder / "nf"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    plain = {"copies": [["n1"]], "command": ["nf", "fw:2"], "timeout": timeout}
    return CommandHook("main", ProvisionerConfig.model_validate(plain | said), folder)


def start(it: CommandHook) -> None:
    it.start(("n1", "n2"), lambda: False)


def alive(pid: int) -> bool:
    """A killed process that nobody waited for is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_gets_its_arguments_and_only_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATENARY_TOKEN", "secret")
    out = tmp_path / "out"
    it = hook(tmp_path, f'echo "$@" > {out}; /usr/bin/env >> {out}', environment={"REGION": "north $(id)"})
    start(it)
    arguments, *environment = out.read_text().splitlines()
    assert arguments == "fw:2 start main n1 n2"
    assert "REGION=north $(id)" in environment, "as it is: there is no shell"
    assert not {line.split("=")[0] for line in environment} - {"REGION", "PWD", "SHLVL", "_", "OLDPWD"}
    it.stop(("n1",), lambda: False)
    assert out.read_text().splitlines()[0] == "fw:2 stop main n1"


def test_what_it_says_tells_why_it_failed(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as error:
        start(hook(tmp_path, "echo no such image >&2; exit 3"))
    assert error.value.detail == "nf start main n1 n2 ended with status 3: no such image"


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        f"trap '' TERM; sleep 1000 & echo $! > {pids}; echo $$ >> {pids}; echo starting; wait; sleep 1000"
    )
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"^nf start main n1 n2 was not done after 0.5 s: starting$"):
        start(hook(tmp_path, script, timeout=0.5))
    assert time.monotonic() - began < 5
    wait_until(lambda: not any(map(alive, map(int, pids.read_text().split()))), "all of it is ended")


def test_nobody_waits_any_more(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="was stopped: nobody waits for it"):
        hook(tmp_path, "exec sleep 1000").start(("n1",), lambda: time.monotonic() - began > 0.2)
    assert time.monotonic() - began < 5


def test_garbage_without_end_is_bounded_and_fit_for_logs(tmp_path: Path) -> None:
    script = "head -c 3000000 /dev/urandom; printf '\\033[31mthe end\\n'; exit 1"
    with pytest.raises(Unavailable) as error:
        start(hook(tmp_path, script))
    _, _, said = error.value.detail.partition("status 1: ")
    assert said.endswith("?[31mthe end")
    assert len(said) <= SHOWN
    assert said.isprintable()


def test_one_that_talks_on_and_on_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"was not done after 0\.3 s"):
        start(hook(tmp_path, "exec yes", timeout=0.3))


def test_what_it_starts_may_stay_if_its_output_is_elsewhere(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start(hook(tmp_path, f"sleep 1000 >/dev/null 2>&1 & echo $! > {pid}"))
    stays = int(pid.read_text())
    assert alive(stays)
    os.kill(stays, 9)


def test_what_keeps_its_output_open_is_refused_and_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(Unavailable, match="left something that keeps its output open: redirect that"):
        start(hook(tmp_path, f"sleep 1000 & echo $! > {pid}"))
    wait_until(lambda: not alive(int(pid.read_text())), "it is ended, too")


def test_killed_by_a_signal(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ended by SIGKILL"):
        start(hook(tmp_path, "kill -9 $$"))


@pytest.mark.parametrize(
    ("mode", "text"),
    [(0o644, "make it an executable file"), (0o777, "others than its owner may change")],
)
def test_a_file_that_is_no_safe_program(tmp_path: Path, mode: int, text: str) -> None:
    it = hook(tmp_path, "true")
    (tmp_path / "hooks" / "nf").chmod(mode)
    with pytest.raises(InvalidValue, match=text):
        start(it)


def test_a_folder_that_others_may_change(tmp_path: Path) -> None:
    it = hook(tmp_path, "true")
    (tmp_path / "hooks").chmod(0o777)
    with pytest.raises(InvalidValue, match=r"others than its owner may change .*/hooks; have it"):
        start(it)


def test_no_program_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    config = ProvisionerConfig.model_validate({"copies": [["n1"]], "command": ["nf"]})
    with pytest.raises(InvalidValue, match=r"hooks/nf can't be run: No such file"):
        start(CommandHook("main", config, tmp_path / "hooks"))
    with pytest.raises(InvalidValue, match="start the management system with --hooks FOLDER"):
        start(CommandHook("main", config, None))


def test_a_file_that_the_kernel_can_not_run(tmp_path: Path) -> None:
    it = hook(tmp_path, "true")
    (tmp_path / "hooks" / "nf").write_bytes(b"\x00\x01\x02")
    with pytest.raises(CatenaryError, match=r"nf start main n1 n2 can't be run: .*Exec format error"):
        start(it)
