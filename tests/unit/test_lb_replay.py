"""`catenary replay`: reading recordings, placements, differences, and its errors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from typer.testing import CliRunner

from catenary import maglev
from catenary.errors import InvalidValue
from catenary.session import SessionKey
from catenary.tags import TagPair
from lb_adapter import replay
from lb_adapter.cli import app
from lb_adapter.core.oracle import parse
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Verdict

PAIRS = (TagPair(2, 3), TagPair(4, 5))
A, B = "10.0.0.1", "10.0.0.2"
FRAMES = [
    bytes(Ether() / IP(src=A, dst=B) / TCP(sport=1000, dport=80, flags="S")),
    bytes(Ether() / IP(src=B, dst=A) / TCP(sport=80, dport=1000, flags="SA")),
    bytes(Ether() / IP(src=A, dst=B) / UDP(sport=5, dport=53)),
    bytes(Ether(dst="01:80:c2:00:00:0e", type=0x88CC)) + bytes(46),
    bytes(Ether() / IP(src=A, dst=B, len=19) / UDP()),
]


def pcap(path: Path, frames: list[bytes], order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1) -> Path:
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    records = [struct.pack(f"{order}IIII", n, 0, len(f), len(f)) + f for n, f in enumerate(frames)]
    path.write_bytes(header + b"".join(records))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_reads_both_orders_and_resolutions(tmp_path: Path, order: str, magic: int) -> None:
    assert list(replay.read_pcap(pcap(tmp_path / "a.pcap", FRAMES, order, magic))) == FRAMES


def test_what_the_recording_cut_off_is_zeros(tmp_path: Path) -> None:
    path = pcap(tmp_path / "a.pcap", [])
    path.write_bytes(path.read_bytes() + struct.pack("<IIII", 0, 0, 20, 30) + bytes(range(20)))
    assert list(replay.read_pcap(path)) == [bytes(range(20)) + bytes(10)]


def test_placements_are_the_hashes(tmp_path: Path) -> None:
    result = replay.replay(pcap(tmp_path / "a.pcap", FRAMES), ["oracle", "c"], PAIRS)
    table = maglev.fill({slot: (pair.path, 100) for slot, pair in enumerate(PAIRS)})
    assert len(result.sessions) == 2
    for raw, session in result.sessions.items():
        slot = int(table[maglev.index(SessionKey.unpack(raw).hash64())])
        assert session.chains == {"oracle": PAIRS[slot].path, "c": PAIRS[slot].path}
    assert [session.frames for session in result.sessions.values()] == [2, 1]
    assert result.no_session == {"other": 1, "bad": 1}
    assert result.drops == {"oracle": {"drop_malformed": 1}, "c": {"drop_malformed": 1}}
    assert not result.differences


def test_command_prints_placements(tmp_path: Path) -> None:
    path = str(pcap(tmp_path / "a.pcap", FRAMES))
    run = CliRunner().invoke(app, ["replay", path, "--dataplane", "oracle,c", "--pairs", "2,3", "4,5"])
    assert run.exit_code == 0, run.output
    assert "10.0.0.1:1000 <-> 10.0.0.2:80/tcp" not in run.output.splitlines()[0]
    assert "5 frames, 2 sessions, 0 differences between oracle, c" in run.output
    run = CliRunner().invoke(app, ["replay", path, "--json"])
    assert json.loads(run.output)["frames"] == 5
    assert len(json.loads(run.output)["sessions"]) == 2


def test_difference_is_shown_and_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Splice):
        """A C core that drops UDP."""

        def outer(self, frame: bytes, now: int, beside: int | None = None) -> tuple[Verdict, bytes]:
            verdict, out = super().outer(frame, now, beside)
            key = parse(frame).key
            if key is not None and key.kind == 17:
                return Verdict("", 0, "drop_internal"), b""
            return verdict, out

    monkeypatch.setattr(replay.Core, "splice", lambda _, setup: Wrong(setup))
    run = CliRunner().invoke(app, ["replay", str(pcap(tmp_path / "a.pcap", FRAMES)), "--pairs", "2,3 4,5"])
    assert run.exit_code == 1
    assert "DIFFERENCE in frame 3: oracle: chain" in run.output
    assert "c: dropped (drop_internal)" in run.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "is pcapng: convert it with `editcap -F pcap"),
        (b"", "is no pcap file: it begins with nothing"),
        (b"GIF89a", "is no pcap file: it begins with 47494638"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113), "link type 113: only Ethernet"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + bytes(5), "ends within frame 1"),
        (
            struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1, 0, 0, 9, 9) + bytes(5),
            "ends within frame 1",
        ),
    ],
)
def test_what_can_not_be_read_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match=r"a\.pcap") as error:
        replay.replay(path, ["oracle"], PAIRS)
    assert message in str(error.value)


def test_bad_arguments_are_said(tmp_path: Path) -> None:
    path = pcap(tmp_path / "a.pcap", FRAMES)
    for planes, pairs, message in (
        (["xdp"], PAIRS, "data plane xdp: use oracle, c, ebpf"),
        ([], PAIRS, "data plane missing"),
        (["oracle"], [], "tag pairs are empty"),
        (["oracle"], [TagPair(2, 3), TagPair(3, 4)], "use an ID twice"),
    ):
        with pytest.raises(InvalidValue, match=message):
            replay.replay(path, planes, pairs)
    with pytest.raises(InvalidValue, match="can't read"):
        replay.replay(tmp_path / "none.pcap", ["oracle"], PAIRS)
