"""`catenary autoscale` and `catenary canary`, over REST."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.unit.mgmt_commands import Run, commands
from tests.unit.mgmt_fakes import Site, network_text

pytestmark = pytest.mark.unit

SCALED = """
autoscale:
  main:
    mode: dry-run
    maximum: 2
    targets: {sessions: 100}
    interval: 1
    provisioner: {copies: [[n1], [n2]]}
"""


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site(network=network_text() + SCALED)
    yield found
    found.close()


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    with commands(site, monkeypatch, capsys) as found:
        yield found


def test_shown_paused_and_resumed(run: Run) -> None:
    code, out, _ = run("autoscale show")
    assert code == 0
    assert "dry-run" in out
    code, out, _ = run("autoscale pause main --why tonight --json")
    assert (code, json.loads(out)["mode"]) == (0, "paused")
    assert "mode: paused" in run("export")[1]
    code, out, _ = run("history --kind apply --json")
    (begun, *_) = [json.loads(line) for line in out.splitlines()]
    assert begun["why"] == "tonight"
    assert run("autoscale dry-run main")[0] == 0
    assert run("autoscale dry-run main")[0] == 0, "it is so already"
    code, out, _ = run("autoscale show main --json")
    assert json.loads(out)["mode"] == "dry-run"
    code, _, err = run("autoscale show west")
    assert (code, err) == (2, "catenary: segment 'west' has no autoscaler: there is main\n")
    code, _, err = run("autoscale pause west")
    assert (code, err) == (2, "catenary: segment 'west' has no autoscaler: there is main\n")


def test_a_canary_is_started_promoted_and_withdrawn(run: Run) -> None:
    assert run("chain add --nf n1 --name old")[0] == 0
    code, out, _ = run("canary start --nf n2 --share 20 --name trial")
    assert code == 0
    assert "active, canary 20 %" in out
    code, out, _ = run("canary promote trial --json")
    assert (code, json.loads(out)["canary"], json.loads(out)["weight"]) == (0, None, 100)
    code, _, err = run("canary withdraw trial")
    assert (code, err) == (
        2,
        "catenary: chain 'trial' is no canary: remove it with catenary chain remove\n",
    )
    assert run("canary start --nf n3 --name second")[0] == 0
    code, out, _ = run("canary withdraw second --deadline 0 --then reset")
    assert code == 0
    assert "second" not in run("chain list")[1]
    code, _, err = run("canary start --nf n3 --share 80")
    assert code == 2
    assert "80" in err
