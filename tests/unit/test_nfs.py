"""What NFs read from their tools, and what they write for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from catenary.errors import InvalidValue, Unsupported
from tests.injections import INJECTIONS, ORDINARY
from topologies.hosts import Host
from topologies.nfs import catalog, detector, rules, snort, zeek
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
    # Besides these words, both languages have only what is the same.
    ours, theirs = rules.written("alert"), rules.written("block", "http_uri")
    assert theirs == ours.replace("alert http", "block http").replace("; http.uri;", "; http_uri;")
    assert not re.search(r"nocase|distance|classtype", "\n".join(found))


def test_rules_and_script_find_the_same_and_each_injection_once() -> None:
    """By Python's regular expressions, which read what is used in both as their tools do."""
    by_rule = re.findall(r'pcre:"/(.*)/(i?)"; sid:(\d+)', rules.written("alert"))
    script = zeek.SCRIPT.read_text()
    named = dict(re.findall(r"const (\w+) =\s*/(.*)/i?;", script))
    by_script = re.findall(r"if \( (\w+) in .*\n\s+found\(c, (\d+)", script)
    assert len(by_rule) == len(by_script) == len(named) == 4
    for path in (*INJECTIONS, *ORDINARY):
        uri, expected = unquote(path), [INJECTIONS[path]] if path in INJECTIONS else []
        assert [int(sid) for p, i, sid in by_rule if re.search(p, uri, re.I if i else 0)] == expected, path
        assert [int(n) for name, n in by_script if re.search(named[name], uri, re.I)] == expected, path


def test_alerts_of_snort_and_of_zeek_are_the_same_as_suricatas() -> None:
    expected = Alert(1795397100.0, 1000002, "SQL injection: union", "10.0.0.1", 40000, "10.0.0.2", 80)
    said = {"seconds": 1795397100, "sid": 1000002, "msg": "SQL injection: union"}
    ends = {"src_addr": "10.0.0.1", "src_port": 40000, "dst_addr": "10.0.0.2", "dst_port": 80}
    assert snort.parse_alert(json.dumps(said | ends)) == expected
    said = {"ts": 1795397100.0, "signature": 1000002, "message": "SQL injection: union"}
    ends = {"id.orig_h": "10.0.0.1", "id.orig_p": 40000, "id.resp_h": "10.0.0.2", "id.resp_p": 80}
    assert zeek.parse_alert(json.dumps(said | ends)) == expected
    for tool, log in ((snort, "alert_json.txt"), (zeek, "alerts.log")):
        with pytest.raises(InvalidValue, match=f"not a line of {log}: 'oops'"):
            tool.parse_alert("oops")


def test_snort_is_inline_between_both_ports_and_has_its_own_word_for_a_decoded_uri() -> None:
    argv = " ".join(snort.Snort(HOST, "in", "out").argv("snort"))
    assert argv.endswith("--daq afpacket -i in:out -Q")
    assert "-R /nowhere/n1-snort/sql-injection.rules" in argv


def test_a_snort_of_another_generation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "snort"
    old.write_text("#!/bin/sh\necho '  Version 2.9.20 GRE (Build 82)' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(Unsupported, match=r"snort is no Snort 3 \(version 2\): build and install Snort 3"):
        catalog.named("snort")


def test_ports_that_are_captured_are_counted_once() -> None:
    table = """\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   2     1 0      0      100
0000000000000000 3      3    0003   2     1 0      0      101
0000000000000000 3      3    0003   3     0 0      0      102
0000000000000000 3      3    0003   0     1 0      0      103
"""
    assert detector.packet_sockets(table) == 1


def test_an_unknown_nf_is_named() -> None:
    assert catalog.named("bridge") is Bridge
    with pytest.raises(InvalidValue, match="no NF 'snart' here: use firewall, bridge, suricata"):
        catalog.named("snart")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("suricata", "suricata is not installed: run tools/install.sh ids"),
        ("suricata-passive", "suricata is not installed: run tools/install.sh ids"),
        ("passive", "suricata is not installed: run tools/install.sh ids"),
        ("snort", "snort is not installed: build and install Snort 3 with libdaq (https://www.snort.org)"),
        ("snort-block", "snort is not installed: build and install Snort 3 with libdaq"),
        (
            "zeek",
            "zeek is not installed: install Zeek (https://zeek.org/get-zeek), or use --nf suricata-pass",
        ),
    ],
)
def test_a_tool_that_is_missing_is_named_with_the_way_to_it(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector.shutil, "which", lambda *args, **options: None)
    with pytest.raises(Unsupported, match=re.escape(said)):
        catalog.named(name)


def test_a_passive_nf_is_zeek_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["suricata"]
    monkeypatch.setattr(
        detector.shutil, "which", lambda tool, **_: f"/usr/bin/{tool}" if tool in there else None
    )
    assert catalog.resolved("passive") == "suricata-passive"
    passive = catalog.NFS["passive"].make(HOST, "in", "out", rate_mbit=60)
    assert isinstance(passive, Suricata)
    assert not passive.reads_frames
    there.append("zeek")
    assert catalog.resolved("passive") == "zeek"
    assert isinstance(catalog.named("passive")(HOST, "in", "out", rate_mbit=60), zeek.Zeek)
    assert catalog.resolved("snort") == "snort"
