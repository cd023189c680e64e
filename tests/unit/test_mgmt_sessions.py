"""Single sessions by REST and by command, on fakes."""

from __future__ import annotations

import json

import pytest

from catenary import durations
from catenary.errors import InvalidValue
from catenary.session import SessionKey
from catenary.tags import TagPair
from mgmt_system.sessions import Wanted
from tests.unit.mgmt_fakes import Site
from tests.unit.mgmt_master import entry_of
from tests.unit.test_mgmt_cli import Run, run, site  # noqa: F401

KEY = "tcp 10.0.0.1:4000 10.0.0.2:80"


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("tcp 10.0.0.2:80 10.0.0.1:4000", KEY),
        ("TCP [fd00::1]:4000 [fd00::2]:80", "tcp [fd00::1]:4000 [fd00::2]:80"),
        ("6 10.0.0.1:4000 [::ffff:10.0.0.2]:80", KEY),
        ("udp 10.0.0.1:53 10.0.0.2:4000 vlan=5,6", "udp 10.0.0.1:53 10.0.0.2:4000 vlan=5,6"),
        ("47 10.0.0.1 10.0.0.2 vlan=5", "47 10.0.0.1:0 10.0.0.2:0 vlan=5"),
        ("icmp6 fd00::1 fd00::2", "icmp6 [fd00::1]:0 [fd00::2]:0"),
    ],
)
def test_keys_are_read_and_written(text: str, again: str) -> None:
    assert SessionKey.parse(text).text == again
    assert SessionKey.parse(again) == SessionKey.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp 10.0.0.1:4000",
        "tcp 10.0.0.1:4000 10.0.0.2:80 more",
        "tcp 10.0.0.1:4000 10.0.0.2:70000",
        "tcp 10.0.0.1:-1 10.0.0.2:80",
        "tcp 10.0.0.256:1 10.0.0.2:80",
        "tcp 10.0.0.1:4000 10.0.0.2:80 vlan=0",
        "tcp 10.0.0.1:4000 10.0.0.2:80 vlan=1,2,3",
        "quic 10.0.0.1:4000 10.0.0.2:80",
        "70000 10.0.0.1:4000 10.0.0.2:80",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a session: "):
        SessionKey.parse(text)


def test_durations() -> None:
    texts = {"60s": 60, "5m": 300, "1h30m": 5400, "1d": 86400, "0": 0, "2.5": 2.5, " 1.5S ": 1.5}
    assert {text: durations.parse(text) for text in texts} == texts
    for text in ("", "soon", "-1s", "1s5m", "60 s", "5 minutes"):
        with pytest.raises(InvalidValue, match="is not a duration: write 60s, 5m"):
            durations.parse(text)


@pytest.fixture
def two(run: Run, site: Site) -> Run:  # noqa: F811
    for nf in ("n1", "n2"):
        run(f"chain add --nf {nf}")
    site.master.keys[KEY] = TagPair(2, 3)
    return run


def test_what_the_slave_holds_is_listed_by_chain_too(two: Run, site: Site) -> None:  # noqa: F811
    site.slave.list_sessions = lambda **_: [entry_of(KEY, TagPair(4, 5))]  # type: ignore[method-assign]
    for at, chain in (("master", "chain-1"), ("slave", "chain-2")):
        code, out, _ = two(f"sessions --at {at} --json")
        assert (code, [item["chain"] for item in json.loads(out)]) == (0, [chain])


def test_show_move_and_reset_a_session(two: Run) -> None:
    code, out, _ = two("session show tcp 10.0.0.2:80 10.0.0.1:4000 --json")
    assert code == 0
    tags = {"forward": 2, "reverse": 3}
    shown = json.loads(out)
    named = {"key": KEY, "state": "established", "tags": tags, "segment": "main", "chain": "chain-1"}
    assert {key: shown[key] for key in named} == named
    assert (shown["bytes"], shown["ended"]) == (6000, None)
    code, out, _ = two(f"session show {KEY}")
    assert "placed in epoch 3, by p2c, with 4 live sessions on its chain" in out
    code, out, _ = two(f"session move {KEY}")
    assert code == 0
    assert "chain-2" in out
    code, out, _ = two(f"session reset {KEY} --json")
    assert (code, json.loads(out)["state"], json.loads(out)["chain"]) == (0, "reset", None)


def test_sessions_are_listed_page_by_page(two: Run, site: Site) -> None:  # noqa: F811
    pairs = (TagPair(2, 3), TagPair(4, 5))
    site.master.keys = {f"tcp 10.0.0.1:{port} 10.0.0.2:80": pairs[port % 2] for port in range(100, 110)}
    code, out, _ = two("sessions --json --limit 10")
    assert code == 0
    every = [item["key"] for item in json.loads(out)]
    assert sorted(every) == sorted(site.master.keys)
    assert {item["chain"] for item in json.loads(out)} == {"chain-1", "chain-2"}
    first, after = site.sessions.list(Wanted(limit=4))
    second, end = site.sessions.list(Wanted(limit=6, after=after))
    assert ([item.key for item in (*first, *second)], end) == (every, None)
    mine = json.loads(two("sessions --chain chain-2 --json")[1])
    assert {item["chain"] for item in mine} == {"chain-2"}
    assert len(mine) == 5
    assert "6.0 kB" in two("sessions --sort rate --older 5s")[1]


def test_lists_of_sessions_that_cant_be(two: Run, site: Site) -> None:  # noqa: F811
    for command, refusal in {
        "sessions --chain other": "unknown chain 'other'",
        "sessions --segment other": "unknown segment 'other': this network has main",
        "sessions --state sleeping": "state: Input should be 'other'",
        "sessions --older soon": "'soon' is not a duration",
    }.items():
        code, _, err = two(command)
        assert (code, refusal in err) == (2, True), err
    with pytest.raises(InvalidValue, match="after: '7' is no place in this list"):
        site.sessions.list(Wanted(after="7"))
    site.master.down = True
    assert two("sessions")[0] == 3


def test_sessions_that_cant_be_ended(two: Run, site: Site) -> None:  # noqa: F811
    code, _, err = two("session reset tcp 10.0.0.9:4000 10.0.0.2:80")
    assert code == 2
    assert "session tcp 10.0.0.2:80 10.0.0.9:4000 is not known" in err
    code, _, err = two("session reset tcp 10.0.0.9:4000")
    assert code == 2
    assert "is not a session" in err
    code, _, err = two(f"session show {KEY} --segment other")
    assert code == 2
    assert "unknown segment 'other': this network has main" in err
    assert two("chain cordon chain-2")[0] == 0
    code, _, err = two(f"session move {KEY}")
    assert code == 2
    assert "no other chain takes sessions" in err
    site.master.down = True
    assert two(f"session show {KEY}")[0] == 3


def test_idle_sessions_are_moved_on_request(two: Run, site: Site) -> None:  # noqa: F811
    site.master.idle = 7
    code, out, _ = two("rebalance --move-idle 5m --json")
    assert (code, json.loads(out)["moved"]) == (0, 7)
    assert "7 idle sessions let go" in two("rebalance --move-idle 300")[1]
    code, _, err = two("rebalance --move-idle soon")
    assert code == 2
    assert "'soon' is not a duration" in err


def test_a_removal_by_command_with_a_deadline(two: Run, site: Site) -> None:  # noqa: F811
    for balancer in (site.master, site.slave):
        balancer.sessions[TagPair(2, 3)] = 3
    code, _, err = two("chain remove chain-1 --deadline 1s")
    assert code == 2
    assert "say both, such as --deadline 60s --then reset" in err
    code, _, err = two("chain remove chain-1 --deadline 1s --then kill")
    assert code == 2
    assert "'kill' is no end of a session" in err
    code, out, _ = two("chain remove chain-1 --deadline 0.2s --then reset")
    assert code == 0
    assert out.split()[-3:] == ["3", "0", "-"]
