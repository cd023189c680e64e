"""The commands, against a management system on loopback with fakes behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from catenary import client, wire
from catenary.chain import PairState
from catenary.tags import TagPair
from mgmt_system.journal import Retention
from mgmt_system.peers import Secrets
from mgmt_system.service import Running
from tests.unit.mgmt_commands import Run, commands, run_command
from tests.unit.mgmt_fakes import Site, network_text


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    with commands(site, monkeypatch, capsys) as run:
        yield run


def test_add_list_show_remove(run: Run) -> None:
    code, out, _ = run("chain add --nf n1")
    assert code == 0
    assert out.split()[-7:] == ["chain-1", "main", "active", "n1", "2,3", "100", "-"]
    assert run("chain add --nf n2 --name second --tags 6,7 --weight 50")[0] == 0
    code, out, _ = run("chain list --json")
    assert [chain["name"] for chain in json.loads(out)] == ["chain-1", "second"]
    code, out, _ = run("chain show second")
    assert "6,7" in out
    code, out, _ = run("chain remove chain-1 --json")
    assert (code, json.loads(out)["state"]) == (0, "removed")
    assert "chain-1" not in run("chain list")[1]
    assert run("chain remove second")[0] == 2
    assert run("chain remove second --force")[0] == 0
    assert run("chain list")[1] == "no chain: add one with catenary chain add --nf NF\n"


def test_chains_are_listed_with_what_probes_say_of_them(run: Run, site: Site) -> None:
    run("chain add --nf n1 --name one")
    run("chain add --nf n2 --name two")
    assert "health" not in run("chain list")[1].splitlines()[0], "nobody probes"
    well = wire.PairHealth(verdict="up", seconds=9.0, latency_ms=0.42, sent=9, lost=0, falls=0)
    fallen = wire.PairHealth(verdict="down", seconds=1.0, sent=9, lost=3, falls=1)
    site.master.healths = {site.master_pair("one"): well, site.master_pair("two"): fallen}
    head, *rows = run("chain list")[1].splitlines()
    assert head.split()[-2:] == ["health", "reason"]
    assert [row.split()[6:] for row in rows] == [["up", "0.42", "ms", "-"], ["down", "-"]]
    assert [chain["health"]["verdict"] for chain in json.loads(run("chain list --json")[1])] == ["up", "down"]
    assert "down" in run("chain show two")[1]
    assert json.loads(run("chain show one --json")[1])["health"]["latency_ms"] == 0.42
    site.master.down = True
    assert [row.split()[6:] for row in run("chain list")[1].splitlines()[1:]] == [["-"], ["-"]], "unknown"
    run("chain remove two --no-wait")
    assert run("chain show two")[0] == 0


def test_cancel_a_removal(run: Run, site: Site) -> None:
    for nf in ("n1", "n2"):
        run(f"chain add --nf {nf}")
    for balancer in (site.master, site.slave):
        balancer.sessions = dict.fromkeys(balancer.states, 1)
    code, out, _ = run("chain remove chain-1 --no-wait --json")
    operation = json.loads(out)["id"]
    code, out, _ = run("chain cancel chain-1 --json")
    assert (code, json.loads(out)["state"]) == (0, "active")
    removal = site.manager.operation(operation)
    assert (removal.state, removal.reason) == ("failed", "the removal of 'chain-1' was cancelled")
    assert run("chain cancel chain-1")[0] == 2


def test_cordon_and_uncordon(run: Run, site: Site) -> None:
    run("chain add --nf n1 --weight 70")
    assert run("chain cordon chain-1")[0] == 2, "it is the last one"
    run("chain add --nf n2")
    code, out, _ = run("chain cordon chain-1")
    assert (code, out.split()[-8:]) == (0, ["chain-1", "main", "active,", "cordoned", "n1", "2,3", "0", "-"])
    assert site.master.weights[TagPair(2, 3)] == 0
    assert run("chain cordon chain-1")[0] == 0, "once more is no change"
    code, out, _ = run("chain uncordon chain-1 --json")
    assert (code, json.loads(out)["weight"], json.loads(out)["cordoned"]) == (0, 70, False)
    assert site.master.weights[TagPair(2, 3)] == 70
    assert run("chain cordon chain-2 --force")[0] == 0


def test_a_chain_that_has_changed_is_left_alone(run: Run, site: Site) -> None:
    for nf in ("n1", "n2"):
        run(f"chain add --nf {nf}")
    site.master.sessions[TagPair(2, 3)] = 1  # its removal takes time
    words = ("cordon", "uncordon", "remove --no-wait")
    for word in words:
        read = json.loads(run("chain show chain-1 --json")[1])["revision"]
        code, _, err = run(f"chain {word} chain-1 --if-match {read}0")
        assert (code, "chain 'chain-1' has changed since it was read" in err) == (2, True)
        assert run(f"chain {word} chain-1 --if-match {read}")[0] == 0
    assert "has changed" in run("chain cancel chain-1 --if-match 1")[2]


def test_a_list_that_has_changed_is_left_alone(run: Run) -> None:
    run("chain add --nf n1")
    for words in ("rebalance", "chain add --nf n2 --no-wait"):
        read = run("chain list --revision")[1].strip()
        code, _, err = run(f"{words} --if-match {read}0")
        assert (code, "the list of chains has changed since it was read" in err) == (2, True)
        assert run(f"{words} --if-match {read}")[0] == 0
    assert run("chain list --revision --at 1m")[2] == (
        "catenary: the past has no revision: leave out --at, or --revision\n"
    )


def test_without_waiting_the_operation_is_printed(run: Run, site: Site) -> None:
    site.master.down = True
    code, out, _ = run("chain add --nf n1 --no-wait --json")
    assert (code, json.loads(out)["state"]) == (0, "running")
    code, out, _ = run("chain add --nf n2 --no-wait")
    assert code == 0
    assert "running" in out


def test_an_operation_that_takes_too_long_says_what_it_waits_for(run: Run, site: Site) -> None:
    site.master.down = True
    code, _, err = run("chain add --nf n1 --timeout 1.5")
    assert code == 3
    assert "is not done after 1.5 s: the chain is steered, l1 can't be reached" in err


def test_an_operation_that_fails_gives_its_reason(run: Run, site: Site) -> None:
    site.master.states[TagPair(3, 9)] = PairState.ACTIVE
    site.master.weights[TagPair(3, 9)] = 1
    code, _, err = run("chain add --nf n1 --tags 2,3")
    assert (code, "is in use by (3, 9)" in err) == (2, True)


def test_ctrl_c_leaves_the_operation_running(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    site.master.down = True
    monkeypatch.setattr(client.ManagementClient, "wait", interrupt)
    code, _, err = run("chain add --nf n1")
    assert code == 130
    text = " ".join(err.split())
    assert "add chain-1 goes on as operation op-" in text
    assert "catenary chain show chain-1" in text


def test_status(run: Run, site: Site) -> None:
    run("chain add --nf n1")
    site.master.sessions[TagPair(2, 3)] = 3
    site.slave.down = True
    code, out, _ = run("status")
    assert code == 0
    for text in ("controller", "NO", "l2 can't be reached", "chain-1", "100%", "1.0 kB", "passed"):
        assert text in out
    assert json.loads(run("status --json")[1])["chains"][0]["sessions"] == 3


def test_rebalance(run: Run) -> None:
    run("chain add --nf n1")
    assert run("rebalance")[0] == 0
    code, out, _ = run("rebalance --weight 2,3=50 --json")
    assert (code, json.loads(out)["pairs"][0]["weight"]) == (0, 50)
    assert run("rebalance --segment main")[0] == 0
    assert "unknown segment 'x': this network has main" in run("rebalance --segment x")[2]


def test_segments(run: Run) -> None:
    run("chain add --nf n1 --segment main")
    code, out, _ = run("segment list")
    assert (code, out.split()[-5:]) == (0, ["main", "l1", "l2", "inserted", "1"])
    assert json.loads(run("segment list --json")[1])[0]["epoch"] == 1
    assert run("segment insert main")[1].split()[-2:] == ["main", "inserted"]  # it stood there all along
    code, _, err = run("segment insert x")
    assert (code, "unknown segment 'x': this network has main" in err) == (2, True)


def test_an_unreachable_service_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CATENARY_URL", "http://127.0.0.1:1")
    assert run_command(monkeypatch, "chain", "list") == 3
    assert "management system at http://127.0.0.1:1 can't be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "chain add",
        "chain list",
        "chain show",
        "chain remove",
        "segment list",
        "segment insert",
        "status",
        "rebalance",
        "ms run",
    ],
)
def test_help_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert run_command(monkeypatch, *words.split(), "--help") == 0
    assert f"catenary {words}" in capsys.readouterr().out.split("Example")[1]


@pytest.mark.parametrize(
    "options, text",
    [
        ("--network missing.yaml --db ms.db", "network file missing.yaml can't be read: "),
        ("--network broken.yaml --db ms.db", "broken.yaml:1: this is not YAML: "),
        ("--network empty.yaml --db ms.db", "empty.yaml:1: switches: this key is missing"),
        ("--network good.yaml --db no/ms.db", "database no/ms.db can't be opened: "),
        ("--network good.yaml --db ms.db --host 0.0.0.0", "refusing to listen on 0.0.0.0: "),
        ("--network good.yaml --db ms.db --port 70000", "port 70000 is out of range: use 0..65535"),
        ("--network good.yaml --db ms.db --balancer-token-file t", "token file t can't be read: "),
        (
            "--network good.yaml --db etcd://a",
            "etcd://... is not valid: 'a' is no node of etcd; write etcd://HOST",
        ),
        ("--network good.yaml --db etcd://127.0.0.1:1 --advertise x", "'x' leads nobody to this management "),
        ("--network secure.yaml --db ms.db --balancer-ca ca.pem", "CA certificate ca.pem can't be read: "),
    ],
)
def test_a_service_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: str,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(network_text())
    Path("secure.yaml").write_text(network_text(l1="https://10.255.0.11:8082"))
    Path("broken.yaml").write_text("{")
    Path("empty.yaml").write_text("{}")
    assert run_command(monkeypatch, "ms", "run", *options.split()) == 2
    assert text in capsys.readouterr().err


def test_a_network_file_that_is_not_in_force_is_told(tmp_path: Path) -> None:
    def told(text: str) -> list[MutableMapping[str, Any]]:
        file.write_text(text)
        with capture_logs() as lines:
            running = Running.from_files(file, str(database), "", Secrets(), Retention())
            running.status.close()
            running.ledger.close()
        return [line for line in lines if "network file is not in force" in line["event"]]

    file, database = tmp_path / "network.yaml", tmp_path / "ms.db"
    assert told(network_text()) == []
    assert told(network_text()) == []
    chains = "chains:\n  one: {nfs: [n1]}\n"
    for text in (network_text(l1="http://127.0.0.1:9999"), network_text() + chains):
        (line,) = told(text)
        assert (line["network"], line["database"]) == (str(file), str(database))
        assert "catenary apply" in line["fix"]


@pytest.mark.parametrize("value", ["1", "-1", "soon", ""])
def test_a_wrong_crash_point_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CATENARY_CRASH_AT", value)
    Path("good.yaml").write_text(network_text())
    assert run_command(monkeypatch, "ms", "run", "--network", "good.yaml", "--db", "ms.db") == 2
    assert f"CATENARY_CRASH_AT={value!r} is not valid" in capsys.readouterr().err
