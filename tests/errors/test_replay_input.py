"""What a replay can't be made of is said in one line, before anything starts, with exit status 2."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.replay import run
from experiments.replay.setting import Setting
from tests.captures import arp, dns, write
from topologies.nfs import catalog


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write(tmp_path / "good.pcap", [dns("192.0.2.1", 5353, "192.0.2.53")])


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def started() -> None:
        pytest.fail("it went on")

    monkeypatch.setattr(run, "isolate", started)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command says when it refuses."""
    monkeypatch.setattr("sys.argv", ["run", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        run.main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    return str(err)


def test_captures_that_are_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, capture: Path
) -> None:
    empty, text, cut, bare = (tmp_path / name for name in ("empty", "text", "cut", "bare"))
    empty.touch()
    text.write_text("not a capture\n")
    cut.write_bytes(capture.read_bytes()[:-1])
    write(bare, [arp()])
    for path, message in (
        (tmp_path / "none", "can't be read: No such file or directory"),
        (empty, "is empty: name a capture, as `tcpdump -w` writes it"),
        (
            text,
            "is neither pcap nor pcapng: it begins with 6e6f7420; name a capture, as `tcpdump -w` writes it",
        ),
        (
            cut,
            (
                "ends within a frame: it was cut off, or is damaged; keep the whole ones by "
                f"`tcpdump -r {cut} -w NEW.pcap`"
            ),
        ),
        (bare, "it has no IP session to replay: of its 1 frames, 1 not IP, such as ARP"),
    ):
        assert said(monkeypatch, capsys, "--pcap", path) == f"replay: --pcap {path}: {message}\n"


@pytest.mark.parametrize(
    "words,message",
    [
        (["--chains", "0"], "replay: chains 0: use 1..32\n"),
        (["--chains", "many"], "argument --chains: invalid int value: 'many'\n"),
        (["--dataplane", "ebpf", "dpdk"], "replay: dataplane 'dpdk': use one of ebpf, af_packet, pf_ring\n"),
        (["--policy", "best"], "replay: policy 'best': use one of maglev, p2c\n"),
        (["--nf", "ids"], f"replay: nf 'ids': use one of {', '.join(catalog.NFS)}\n"),
        (
            ["--against", "chains=4,colour=red"],
            (
                "replay: 'colour=red' in 'chains=4,colour=red': use NAME=VALUE, "
                "with a NAME of chains, dataplane, policy, affinity, nf\n"
            ),
        ),
        (["--speed", "0"], "argument --speed: '0': use a number above 0, such as 0.5 or 10, or max\n"),
        (["--speed", "nan"], "argument --speed: 'nan': use a number above 0, such as 0.5 or 10, or max\n"),
        (["--wait", "soon"], "argument --wait: 'soon': use seconds above 0, such as 0.5\n"),
        (["--fast"], "unrecognized arguments: --fast\n"),
    ],
)
def test_options_that_can_not_be(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    capture: Path,
    words: list[str],
    message: str,
) -> None:
    assert said(monkeypatch, capsys, "--pcap", capture, *words).endswith(message)


def test_without_a_capture(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(monkeypatch, capsys).endswith("the following arguments are required: --pcap\n")


def test_tools_that_are_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], capture: Path
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("topologies.nfs.detector._ELSEWHERE", "/nowhere")
    assert said(monkeypatch, capsys, "--pcap", capture).startswith(
        f"replay: --nf {Setting().nf}: suricata is not installed: "
    )
