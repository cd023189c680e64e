"""A recording through all three data planes."""

from __future__ import annotations

from pathlib import Path

from scapy.utils import wrpcap

from catenary.tags import TagPair
from lb_adapter.replay import replay
from tests.vectors.reading import read_all


def test_golden_vectors_as_a_recording(tmp_path: Path) -> None:
    frames = [vector.frame for vector in read_all() if len(vector.frame) >= 14]
    wrpcap(str(tmp_path / "vectors.pcap"), frames, linktype=1)
    pairs = (TagPair(3001, 3002), TagPair(3003, 3004), TagPair(3005, 3006))
    result = replay(tmp_path / "vectors.pcap", ["oracle", "c", "ebpf"], pairs)
    assert result.frames == len(frames)
    assert len(result.sessions) > 40
    assert result.differences == []
    assert set(result.not_run) == {"ebpf"}
    assert sum(result.not_run.values()) < 10
