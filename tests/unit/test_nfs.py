"""What NFs read from their tools, and what they write for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from catenary.errors import InvalidValue, Unsupported
from tests.injections import INJECTIONS
from topologies.hosts import Host
from topologies.nfs import catalog, detector, rules
from topologies.nfs.bridge import Bridge
from topologies.nfs.detector import lines
from topologies.nfs.function import Alert
from topologies.nfs.suricata import Suricata, parse_alert

EVENT: dict[str, Any] = {
    "timestamp": "2026-11-23T01:25:00.500000+0000",
    "event_type": "alert",
    "src_ip": "10.0.0.1",
    "src_port": 40000,
    "dest_ip": "10.0.0.2",
    "dest_port": 80,
    "proto": "TCP",
    "alert": {"action": "allowed", "signature_id": 1000002, "signature": "SQL injection: union"},
}
ENDS = {"src_ip": "10.0.0.1", "src_port": 40000, "dest_ip": "10.0.0.2", "dest_port": 80}
TURNED = {"src_ip": "10.0.0.2", "src_port": 80, "dest_ip": "10.0.0.1", "dest_port": 40000}
HOST = Host("n1", 1, Path("/nowhere"))


def test_an_alert_of_eve_json_has_the_ends_of_its_session() -> None:
    expected = Alert(1795397100.5, 1000002, "SQL injection: union", "10.0.0.1", 40000, "10.0.0.2", 80)
    assert parse_alert(json.dumps(EVENT)) == expected
    # The packet that raised it was the server's.
    assert parse_alert(json.dumps({**EVENT, **TURNED, "flow": ENDS})) == expected


def test_what_is_no_alert_is_none_and_what_is_no_event_is_refused_by_its_text() -> None:
    assert parse_alert('{"event_type": "stats"}') is None
    for line in ("oops", "{}", json.dumps({**EVENT, "alert": {}})):
        with pytest.raises(InvalidValue, match=re.escape(f"not a line of eve.json: {line[:20]!r}"[:-1])):
            parse_alert(line)


def test_a_line_that_is_being_written_is_read_later(tmp_path: Path) -> None:
    log = tmp_path / "eve.json"
    assert list(lines(log)) == []
    log.write_text("one\ntwo\nthr")
    assert list(lines(log)) == ["one\n", "two\n"]


def test_suricata_inline_copies_each_port_to_the_other_and_passive_copies_nothing() -> None:
    inline, passive = (
        yaml.safe_load(Suricata(HOST, "in", "out", passive=passive).files()["suricata.yaml"])
        for passive in (False, True)
    )
    assert [(port["interface"], port["copy-iface"], port["copy-mode"]) for port in inline["af-packet"]] == [
        ("in", "out", "ips"),
        ("out", "in", "ips"),
    ]
    assert [port["interface"] for port in passive["af-packet"]] == ["in"]
    assert "copy-mode" not in passive["af-packet"][0]
    for config in (inline, passive):
        assert config["default-rule-path"] == "/nowhere/n1-suricata"
        assert config["vlan"] == {"use-for-tracking": False}
        # A session of which it sees one direction only must raise nothing.
        assert (config["stream"]["midstream"], config["stream"]["async-oneside"]) == (False, False)


def test_only_an_inline_suricata_drops() -> None:
    text = Suricata(HOST, "in", "out", action="drop").files()["sql-injection.rules"]
    assert {line.split(" ")[0] for line in text.splitlines() if line} == {"#", "drop"}
    with pytest.raises(InvalidValue, match="a passive Suricata can't drop"):
        Suricata(HOST, "in", "out", action="drop", passive=True)


def test_the_rules_need_both_directions_and_have_numbers_of_their_own() -> None:
    found = [line for line in rules.written("alert").splitlines() if line.startswith("alert ")]
    assert all("flow:established,to_server" in rule for rule in found)
    numbers = re.findall(r"sid:(\d+);", "\n".join(found))
    assert len(numbers) == len(found) == len(set(numbers))
    assert set(map(int, numbers)) == set(INJECTIONS.values())
    assert "http.uri" not in rules.written("block", "http_uri").partition("\nblock")[2]


def test_an_unknown_nf_and_a_tool_that_is_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalog.named("bridge") is Bridge
    with pytest.raises(InvalidValue, match="no NF 'snart' here: use firewall, bridge, suricata"):
        catalog.named("snart")
    monkeypatch.setattr(detector.shutil, "which", lambda *args, **options: None)
    with pytest.raises(Unsupported, match=r"suricata is not installed: run tools/install\.sh ids"):
        catalog.named("suricata-passive")
