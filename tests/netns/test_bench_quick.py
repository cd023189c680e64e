"""All parts of the benchmark with tiny parameters: the machinery works, whatever the numbers are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from catenary.errors import InvalidValue
from experiments.bench import report, switch
from experiments.bench.peers import TITLES
from experiments.bench.plan import QUICK
from experiments.bench.run import PARTS, bench
from experiments.bench.sessions import LARGEST, SMALLEST, mean_size, size_of
from experiments.summary import Claim, Figure
from tests.isolation import isolated

KEYS = {
    "paths": {f"{peer}_{metric}" for peer in TITLES for metric in ("tcp1", "tcp4", "mpps64")},
    "packet": {"ebpf_hit_ns", "ebpf_new_ns", "ebpf_hit_1m_ns", "map_1m_mb", "ageing_1m_ms"},
    "c_core": {"c_hit_100k_ns", "c_hit_1m_ns"},
    "capacity": {"insert_4m_ns", "hit_4m_ns", "map_4m_mb", "ageing_4m_ms", "reclaim_4m_ms"},
    "switch": {"switch_256_ms"},
    "asks": {"ask_per_s", "ask_extra_rtt"},
    "resync": {"resync_1m_s"},
    "slowdown": {"slowdown_ratio"},
}


@pytest.mark.netns
@pytest.mark.parametrize("parts", [("paths",), tuple(KEYS.keys() - {"paths"})], ids=["paths", "others"])
@isolated
def test_parts_give_their_figures_and_write_them(parts: tuple[str, ...], tmp_path: Path) -> None:
    bench(parts, QUICK, tmp_path, Console(quiet=True), None)
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["name"] == "bench"
    assert content["figures"].keys() == set().union(*(KEYS[part] for part in parts))
    for key, figure in content["figures"].items():
        assert figure["value"] is not None, key
        assert figure["value"] > 0, key
    claims = json.loads((tmp_path / "claims.json").read_text())["claims"]
    assert all(claim.keys() == {"key", "asked", "value", "ok"} for claim in claims)
    assert (tmp_path / "figures.md").read_text().count("\n|") > 2
    assert list(tmp_path.glob("*.png"))


def test_every_part_is_tested() -> None:
    assert KEYS.keys() == PARTS.keys()


def test_mixture_of_two_tables_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With loads that stand the other way round, the answers are not those of either table."""
    zero, one, two, three = switch._LOADS
    monkeypatch.setattr(switch, "_LOADS", (one, zero, three, two))
    placed, _, mixed = switch.mixtures(0.05)
    assert 0.3 * placed < mixed < 0.7 * placed


def test_sizes_are_heavy_tailed_within_their_bounds() -> None:
    sizes = [size_of((i + 0.5) / 200_000) for i in range(200_000)]
    assert min(sizes) >= SMALLEST
    assert max(sizes) <= LARGEST
    assert sum(sizes) / len(sizes) == pytest.approx(mean_size(), rel=0.01)
    assert sum(sorted(sizes)[-20_000:]) > 0.3 * sum(sizes), "a tenth of the sessions has a third of the bytes"


def test_table_goes_between_the_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    figures = {"switch_256_ms": Figure(150.0, "ms (min 120.0, max 210.0)")}
    table = report.markdown(figures, [Claim("switch_256_ms", at_most=200)], {}, "a machine")
    report.replace_table(page, table)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| `switch_256_ms` | 150 (120.0 .. 210.0) | ms | <= 200 | yes |" in text
    page.write_text("no marks")
    with pytest.raises(InvalidValue, match="no lines"):
        report.replace_table(page, table)
