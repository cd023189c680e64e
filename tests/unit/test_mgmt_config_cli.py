"""plan, apply, diff, export and service, against a management system on loopback with fakes behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from catenary.config import ServiceConfig, schema
from catenary.plans import CoolDown, PlanView, SegmentPlan
from catenary.tags import TagPair
from mgmt_system import plan_tables
from mgmt_system.rest import create
from tests.serving import calling
from tests.unit.mgmt_commands import Run, commands, run_command
from tests.unit.mgmt_fakes import Site, network_text

ONE = network_text() + "chains:\n  one: {nfs: [n1]}\n"
TWO = network_text() + "chains:\n  two: {nfs: [n2]}\n  three: {nfs: [n3], weight: 50}\n"


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def run(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Run]:
    """In a folder with two files."""
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text(ONE)
    Path("two.yaml").write_text(TWO)
    with commands(site, monkeypatch, capsys) as run:
        yield run


def test_plan_apply_diff_and_export(run: Run) -> None:
    code, out, _ = run("diff -f one.yaml")
    assert (code, "add" in out) == (1, True)
    code, out, _ = run("apply -f one.yaml --yes --json")
    assert (code, json.loads(out)["state"], json.loads(out)["chains"]) == (0, "succeeded", ["one"])
    assert run("diff -f one.yaml") == (0, "nothing to do: all is as the file says\n", "")
    assert run("apply -f one.yaml --yes --json") == (0, "null\n", "")
    code, out, _ = run("plan -f two.yaml --json")
    plan = json.loads(out)
    assert [change["name"] for change in plan["changes"]] == ["one", "two", "three"]
    assert plan["segments"][0]["cooling"][0]["chain"] == "one"
    code, out, _ = run("plan -f two.yaml")
    assert code == 0
    for text in ("remove", "66.7%", "cools down", f"plan {plan['token']}"):
        assert text in out
    code, out, _ = run(f"apply -f two.yaml --plan {plan['token']}")
    assert (code, "succeeded" in out, "3 of 3" in out) == (0, True, True)
    code, out, _ = run("export")
    Path("exported.yaml").write_text(out)
    assert ServiceConfig.load(out).chains["three"].weight == 50
    assert run("diff -f exported.yaml")[0] == 0
    assert yaml.safe_load(run("export --json")[1]) == yaml.safe_load(out)


def test_a_file_is_applied_only_to_what_was_exported(run: Run) -> None:
    run("apply -f one.yaml --yes")
    read = run("export --revision")[1].strip()
    run("chain add --nf n2 --name two")
    code, _, err = run(f"apply -f two.yaml --yes --if-match {read}")
    assert (code, "the configuration has changed since it was read" in err) == (2, True)
    read = run("export --revision")[1].strip()
    assert run(f"apply -f two.yaml --yes --if-match {read}")[0] == 0


def test_a_stale_plan_and_one_without_anybody_to_confirm_are_refused(run: Run, site: Site) -> None:
    code, out, _ = run("plan -f one.yaml --json")
    token = json.loads(out)["token"]
    assert run("chain add --nf n2")[0] == 0
    code, _, err = run(f"apply -f one.yaml --plan {token}")
    assert (code, "this plan is stale" in err) == (2, True)
    code, out, err = run("apply -f one.yaml")
    assert (code, "use --yes, or --plan TOKEN" in err, "add" in out) == (2, True, True)
    assert site.master.states.keys() == {TagPair(2, 3)}


def test_what_is_live_is_refused_with_its_line(run: Run) -> None:
    run("apply -f one.yaml --yes")
    Path("other.yaml").write_text(ONE.replace("transit: 0.05", "transit: 50ms, udp: 30s"))
    assert "'50ms' is not a duration" in run("plan -f other.yaml")[2]
    Path("other.yaml").write_text(ONE.replace("transit: 0.05", "transit: 0.05s, udp: 30s"))
    line = 1 + ONE.split("\n").index(next(text for text in ONE.split("\n") if "timeouts" in text))
    for command in ("plan -f other.yaml", "apply -f other.yaml --yes"):
        code, out, err = run(command)
        assert code == 2
        assert err.startswith(f"catenary: other.yaml:{line}: segments.main.timeouts: can't be changed while")
        assert "change" in out
    assert "no.yaml can't be read" in run("plan -f no.yaml")[2]


def test_a_deadline_is_handed_on(run: Run, site: Site) -> None:
    run("apply -f one.yaml --yes")
    site.master.sessions[TagPair(2, 3)] = 4
    code, out, _ = run("apply -f two.yaml --yes --deadline 0 --then reset --json")
    assert (code, json.loads(out)["reset"]) == (0, 4)
    assert run("plan -f one.yaml --deadline 5s")[0] == 2
    assert run("plan -f one.yaml --deadline 5s --then what")[0] == 2


@pytest.mark.parametrize(("cut", "text"), [(None, "until they end"), (2.0, "until they end or are cut")])
def test_a_plan_says_for_how_long_sessions_stay(cut: float | None, text: str) -> None:
    cooling = [CoolDown(chain="two", sessions=4, cut=cut)]
    segment = SegmentPlan(segment="main", stay=5, leave=4, shares=[], cooling=cooling)
    view = PlanView(revision="1", token="1", changes=[], refused=[], segments=[segment])
    console = Console(width=200, file=StringIO(), record=True)
    console.print(plan_tables.plan(view))
    assert f"all pinned {text}\n" in console.export_text()


def test_a_plan_shows_what_becomes_nothing(run: Run) -> None:
    run("apply -f two.yaml --yes")
    Path("none.yaml").write_text(
        TWO.replace("weight: 50", "weight: 0").replace("[n2]}", "[n2], cordoned: true}")
    )
    _, out, _ = run("plan -f none.yaml --force")
    assert "weight: 0" in out
    assert re.search(r"two +cordoned: False +cordoned: True", out)


def test_a_plan_shows_a_classifier_without_what_is_not_given(run: Run) -> None:
    web = "services: {web: {segments: [main], classifier: [{protocol: tcp, ports: [80, 443]}, {vlan: 5}]}}\n"
    Path("web.yaml").write_text(ONE + web)
    _, out, _ = run("plan -f web.yaml")
    assert "classifier: {protocol: tcp, ports: 80 443} {vlan: 5}" in out


def test_services(run: Run, site: Site) -> None:
    Path("web.yaml").write_text(ONE + "services:\n  web: {segments: [main]}\n")
    run("apply -f web.yaml --yes")
    site.master.sessions[TagPair(2, 3)] = 3
    code, out, _ = run("service list")
    assert (code, out.split()[-4:]) == (0, ["web", "main", "1", "3"])
    code, out, _ = run("service show web --json")
    assert (code, json.loads(out)["chains"][0]["name"]) == (0, "one")
    assert "one" in run("service show web")[1]
    assert "unknown service 'x': there is web" in run("service show x")[2]


def test_the_schema_is_printed(run: Run) -> None:
    assert json.loads(run("schema")[1]) == schema()


@pytest.mark.parametrize(
    "words", ["plan", "apply", "diff", "export", "schema", "service list", "service show"]
)
def test_help_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert run_command(monkeypatch, *words.split(), "--help") == 0
    assert f"catenary {words}" in capsys.readouterr().out.split("Example")[1]


def test_rest_tells_the_etag_and_minds_it(site: Site) -> None:
    with calling(create(site.running(), None)) as client:
        read = client.get("/v1/config")
        body = json.loads(ServiceConfig.load(ONE).model_dump_json())
        for tag, status in (('"1-abc"', 412), ("abc", 422), (read.headers["etag"], 202)):
            answer = client.put("/v1/config", json=body, headers={"If-Match": tag})
            assert answer.status_code == status, answer.text
        assert answer.headers["location"] == f"/v1/operations/{answer.json()['id']}"
        again = client.put("/v1/config", json=body)
        assert (again.status_code, again.content) == (204, b"")
        assert client.put("/v1/config", json=body | {"chians": {}}).status_code == 422
        assert client.get("/v1/services/main").json()["name"] == "main"
