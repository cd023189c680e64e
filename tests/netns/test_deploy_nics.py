"""deploy/nics.sh on virtual cards: what they have not is said, and left."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.isolation import isolated

SCRIPT = str(Path(__file__).parents[2] / "deploy" / "nics.sh")


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True)


@isolated
def test_cards_are_prepared_and_what_they_lack_is_said() -> None:
    for name, peer in (("outer", "clients"), ("inner", "chains")):
        run("ip", "link", "add", name, "type", "veth", "peer", "name", peer)
    run("ip", "link", "set", "outer", "mtu", "9000")
    run("ethtool", "-K", "inner", "rxvlan", "off", "txvlan", "off")
    for _ in range(2):
        done = run(SCRIPT, "outer", "inner")
        assert (done.returncode, done.stderr) == (0, "")
        assert all(line.startswith("not done: ethtool ") for line in done.stdout.splitlines())
    assert "mtu 9004" in run("ip", "link", "show", "inner").stdout
    assert "mtu 9000" in run("ip", "link", "show", "outer").stdout
    features = run("ethtool", "-k", "inner").stdout
    assert "rx-vlan-offload: on" in features
    assert "tx-vlan-offload: on" in features


def test_it_wants_two_cards() -> None:
    done = run(SCRIPT, "eth0")
    assert (done.returncode, done.stderr) == (2, "usage: nics.sh OUTER INNER\n")


@isolated
def test_a_card_that_is_not_there_is_refused() -> None:
    done = run(SCRIPT, "eth7", "eth8")
    assert done.returncode != 0
    assert "eth7" in done.stderr
