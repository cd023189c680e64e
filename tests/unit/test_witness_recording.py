"""Recordings on disk, places, and `catenary verify`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from catenary.config import ServiceConfig
from catenary.errors import InvalidValue
from tests.unit.witness_runs import SERVER, Run, client
from witness.cli import app, parse_chain
from witness.places import Place, PlaceKind, Side, check_places, places_of
from witness.recording import Recording

TWO = {"chain-1": ("n1",), "chain-2": ("n2",)}
NETWORK = """
switches: {s1: 1, s2: 2, s3: 3}
nfs:
  n1: {switch: s3, ingress: s3-eth1, egress: s3-eth2}
  n2: {switch: s3, ingress: s3-eth3, egress: s3-eth3, tags: kept}
balancers:
  l1: {switch: s1, outer: s1-eth3, inner: s1-eth4, url: "https://10.255.0.11:8082"}
  l2: {switch: s2, outer: s2-eth2, inner: s2-eth3, url: "https://10.255.0.12:8082"}
segments:
  main: {master: l1, slave: l2}
"""


def clean() -> Run:
    run = Run(TWO)
    for port in range(10):
        run.talk(f"chain-{port % 2 + 1}", client(4000 + port))
    return run


def crossing() -> Run:
    run = clean()
    session = run.begin(client(5000))
    run.cross(session, client(5000), "chain-1", forward=True)
    run.cross(session, SERVER, "chain-2", forward=False)
    return run


def test_a_recording_survives_the_disk(tmp_path: Path) -> None:
    run = crossing()
    run.tell("fault", "n1 killed", "chain-1")
    before = replace(run.recording(dropped={"unparsed": 3}), rewrites=("n1",), begun_ns=5, wall_ns=7)
    before.save(tmp_path / "run.npz")
    after = Recording.load(tmp_path / "run.npz")
    assert (after.places, after.chains, after.taken_ns) == (before.places, before.chains, before.taken_ns)
    assert (after.events, after.rewrites) == (tuple(run.events), ("n1",))
    assert (after.begun_ns, after.wall_ns) == (5, 7)
    assert after.witness_dropped == 3
    assert np.array_equal(after.records, before.records)
    assert np.array_equal(after.origins, before.origins)
    assert str(after.key(1)) == "10.0.0.1:4000 <-> 10.0.0.2:80/tcp"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "can't read recording .*gone.npz: No such file"), (b"hello", "not a recording of the witness")],
)
def test_files_that_are_no_recording(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "gone.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidValue, match=message):
        Recording.load(path)


def test_another_archive_is_no_recording(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", numbers=np.arange(3))
    with pytest.raises(InvalidValue, match="not a recording of the witness"):
        Recording.load(tmp_path / "other.npz")


def test_a_record_of_an_unknown_session_is_refused(tmp_path: Path) -> None:
    run = clean().recording()
    replace(run, origins=run.origins[:5]).save(tmp_path / "short.npz")
    with pytest.raises(InvalidValue, match="a record of session 10, but there are 5"):
        Recording.load(tmp_path / "short.npz")


def test_verify_passes_a_clean_run(tmp_path: Path) -> None:
    clean().recording().save(tmp_path / "run.npz")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "run.npz")])
    assert result.exit_code == 0
    assert "OK: every session crossed exactly one chain" in result.output
    assert result.output.splitlines()[-1] == "10 sessions, 0 changes, 0 faults, 0 violations"


def test_verify_fails_a_broken_run_and_shows_why(tmp_path: Path) -> None:
    crossing().recording().save(tmp_path / "run.npz")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "run.npz")])
    assert result.exit_code == 1
    assert "violation: 10.0.0.1:5000 <-> 10.0.0.2:80/tcp: client to server at n1 (chain-1)" in result.output
    assert "FAILED: 1 sessions crossed more than one chain" in result.output
    assert "The shortest counter-example (* marks what tells it):" in result.output
    assert result.output.splitlines()[-1] == "11 sessions, 0 changes, 0 faults, 1 violations"


def test_verify_prints_json(tmp_path: Path) -> None:
    crossing().recording().save(tmp_path / "run.npz")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "run.npz"), "--json"])
    found = json.loads(result.output)
    assert result.exit_code == 1
    assert (found["violations"], found["bypassed"], found["sessions"]) == (1, 0, 11)


def test_verify_takes_chains_and_shares(tmp_path: Path) -> None:
    clean().recording().save(tmp_path / "run.npz")
    chains = ["--chain", "chain-1=n1", "--chain", "chain-2=n2"]
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "run.npz"), *chains, "--min-share", "0.6"])
    assert result.exit_code == 1
    assert "chain chain-1 carried 50.0% of the new sessions" in result.output


@pytest.mark.parametrize("text", ["", "chain-1", "=n1", "chain-1=,", "chain-1=n1,,n2"])
def test_text_that_is_no_chain(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a chain: write NAME=NF"):
        parse_chain(text)


def test_places_of_a_network() -> None:
    places = places_of(ServiceConfig.load(NETWORK))
    assert [(place.name, place.kind, place.interface, place.side) for place in places] == [
        ("l1.outer", PlaceKind.OUTER_MASTER, "s1-eth3", Side.BOTH),
        ("l2.outer", PlaceKind.OUTER_SLAVE, "s2-eth2", Side.BOTH),
        ("n1.ingress", PlaceKind.NF, "s3-eth1", Side.INGRESS),
        ("n1.egress", PlaceKind.NF, "s3-eth2", Side.EGRESS),
        ("n2.both", PlaceKind.NF, "s3-eth3", Side.BOTH),
    ]
    with pytest.raises(InvalidValue, match="no segment 'other': the network has main"):
        places_of(ServiceConfig.load(NETWORK), "other")


def test_places_of_a_segment_are_not_those_of_fixed_nfs_and_of_other_segments() -> None:
    text = NETWORK.replace("main: {", "main: {before: [n2], ").replace(
        "n2: {switch: s3, ingress: s3-eth3, egress: s3-eth3", "n2: {switch: s1, ingress: a, egress: b"
    )
    assert {place.nf for place in places_of(ServiceConfig.load(text))} == {"", "n1"}
    assert {place.nf for place in places_of(ServiceConfig.load(text), named=["n2"])} == {"", "n1", "n2"}
    text = NETWORK.replace(
        "  l1: {", '  l3: {switch: s1, outer: c, inner: d, url: "http://x"}\n  l1: {'
    ).replace("  l2: {", '  l4: {switch: s2, outer: c, inner: d, url: "http://y"}\n  l2: {')
    text += "  other: {master: l3, slave: l4, ask_id: 4093}\n"
    assert {place.nf for place in places_of(ServiceConfig.load(text), "main", ["n2"])} == {"", "n2"}


def test_places_that_clash() -> None:
    master = Place("l1.outer", PlaceKind.OUTER_MASTER, "x")
    with pytest.raises(InvalidValue, match="name one place of kind outer_slave"):
        check_places([master])
    with pytest.raises(InvalidValue, match="two places have the interface 'x'"):
        check_places([master, Place("l2.outer", PlaceKind.OUTER_SLAVE, "x")])
    with pytest.raises(InvalidValue, match="of kind nf but names NF ''"):
        Place("n1", PlaceKind.NF, "y")
