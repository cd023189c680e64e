"""`catenary capture`: from the right load balancer into a file that is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from catenary import pcap
from tests.unit.mgmt_fakes import Site
from tests.unit.test_mgmt_cli import Run, run, site  # noqa: F401

KEY = "tcp 10.0.0.1:4000 10.0.0.2:80"


@pytest.fixture
def one(run: Run) -> Run:  # noqa: F811
    run("chain add --nf n1 --tags 2,3")
    return run


def said(file: Path) -> list[bytes]:
    read = pcap.Pcap(file)
    return [read.data[at : at + kept] for _, at, kept, _ in read.frames()]


def test_a_capture_comes_from_the_load_balancer_that_was_named(one: Run, tmp_path: Path) -> None:
    file = tmp_path / "one.pcap"
    code, out, err = one(f"capture --chain chain-1 -o {file}")
    assert (code, out) == (0, ""), err
    assert "1 packet, " in err
    assert said(file) == [b"l1 (2, 3) None 10 10000"]
    words = f"capture --chain chain-1 --at slave --seconds 3 --packets 5 -o {file} --session"
    code, _, err = one(f"{words} '10.0.0.2:80 -> 10.0.0.1:4000/tcp'")
    assert code == 0, err
    assert said(file) == [f"l2 (2, 3) {KEY} 3 5".encode()]


def test_what_is_refused_leaves_no_file(one: Run, site: Site, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "none.pcap"
    for words, code, text in (
        ("--chain nobody", 2, "unknown chain 'nobody'"),
        ("--chain chain-1 --seconds 0", 2, "seconds: Input should be greater than 0"),
        ("--chain chain-1 --packets 2000000", 2, "packets: Input should be less than or equal to 1000000"),
        ("--chain chain-1 --session tcp", 2, "'tcp' is not a session: write"),
    ):
        result, _, err = one(f"capture {words} -o {file}")
        assert (result, text in err) == (code, True), err
    site.master.down = True
    code, _, err = one(f"capture --chain chain-1 -o {file}")
    assert (code, "refused" in err) == (3, True), err
    assert not file.exists()
    site.master.down = False
    code, _, err = one(f"capture --chain chain-1 -o {tmp_path}")
    assert (code, f"can't write {tmp_path}: Is a directory" in err) == (2, True), err
