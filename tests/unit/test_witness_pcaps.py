"""Pcaps of a run: judged like what the taps saw of it, and every way in which they can't be."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from catenary.errors import InvalidValue
from catenary.session import Timeouts
from tests.unit.test_witness_checker import FAULTS
from tests.unit.witness_pcaps import HEADER, PcapRun, frame, record
from tests.unit.witness_runs import SECOND, SERVER, client
from witness.checker import judge
from witness.pcaps import BOTH, Reading, Tap, read_pcaps
from witness.places import place_named
from witness.recording import INTO, OUT_OF
from witness.verdict import Verdict

TWO = {"chain-1": ("n1",), "chain-2": ("n2",)}
LONG = {"chain-1": ("a1", "b1"), "chain-2": ("a2", "b2")}


def reading(folder: Path, *, partial: bool = False, timeouts: Timeouts | None = None) -> Reading:
    taps = [Tap.named(path.name.removesuffix(".pcap"), path) for path in sorted(folder.glob("*.pcap"))]
    places = [place_named(name, name) for name in dict.fromkeys(tap.place for tap in taps)]
    return read_pcaps(taps, places, timeouts or Timeouts(), skew_s=0.0, partial=partial)


def verdict(folder: Path, run: PcapRun, *, partial: bool = False) -> Verdict:
    return judge(reading(folder, partial=partial).recording, run.chains, in_flight_s=0.0)


def names(found: Verdict) -> tuple[set[str], set[str]]:
    return {f.name for f in found.violations}, {f.name for f in found.bypassed}


def lost(found: Verdict) -> list[tuple[object, ...]]:
    return sorted((n.direction, n.bytes, n.bare, n.of_bytes, n.of_bare, n.sessions) for n in found.losses)


@st.composite
def planted(draw: st.DrawFn) -> PcapRun:
    """A random run, of which some sessions are broken."""
    one_port = draw(st.lists(st.sampled_from(("a1", "b1", "a2", "b2")), unique=True))
    run = PcapRun(LONG, one_port=one_port, tagged=draw(st.sampled_from((0, 2))))
    for port in range(draw(st.integers(1, 5))):
        a = client(5000 - port * 400, draw(st.sampled_from((1, 3))))
        chain = draw(st.sampled_from(sorted(LONG)))
        opener = draw(st.sampled_from(("client", "server")))
        session = run.talk(
            chain, a, sizes=draw(st.lists(st.integers(0, 900), min_size=1, max_size=3)), opener=opener
        )
        forward, size = draw(st.booleans()), draw(st.integers(0, 900))
        sender = a if forward else SERVER
        fault = draw(st.sampled_from(FAULTS))
        if fault == "crossing":
            run.cross(session, sender, "chain-1" if chain == "chain-2" else "chain-2", forward, size)
        elif fault == "bypass":
            run.walk(session, sender, run.path((), forward), size)
        elif fault == "past":
            run.walk(session, sender, run.path(LONG[chain][:1], forward), size)
        elif fault == "loss":
            run.cross(session, sender, chain, forward, size, stops=2 * draw(st.integers(0, 2)) + 1)
    return run


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(run=planted())
def test_pcaps_are_judged_as_the_taps_are(run: PcapRun, tmp_path_factory: pytest.TempPathFactory) -> None:
    seen = verdict(run.write(tmp_path_factory.mktemp("pcaps")), run)
    noted = judge(run.recording(after=0.0), in_flight_s=0.0)
    assert names(seen) == names(noted)
    assert (seen.sessions, seen.server_opened) == (noted.sessions, noted.server_opened)
    assert lost(seen) == lost(noted)


def test_the_counter_example_of_pcaps_has_every_packet(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    session = run.talk("chain-1", client(4000), sizes=(0, 100, 100))
    run.cross(session, SERVER, "chain-2", forward=False, flags=0x14)
    found = verdict(run.write(tmp_path), run)
    assert found.example is not None
    assert [line.text for line in found.example.lines if line.matters] == [
        "server to client, out of n1.ingress, ACK, 100 bytes  [chain-1]",
        "server to client, into n2.egress, RST ACK, 0 bytes  [chain-2]",
    ]
    assert found.example.plain(found.wall_ns)["lines"][0]["time"] == pytest.approx(1000, abs=0.1), "Unix time"


def test_keys_that_a_nat_made_come_out_of_it(tmp_path: Path) -> None:
    """What an NF was seen to send before does not go into the load balancer there."""
    run = PcapRun(TWO)
    a, mapped = client(4000), client(40000, 9)
    near, far = run.begin(a), run.begin(mapped)
    run.walk(near, a, [("l1.outer", INTO), ("n1.ingress", INTO)], 10)
    run.walk(far, mapped, [("n1.egress", OUT_OF), ("l2.outer", OUT_OF)], 10)
    run.walk(far, SERVER, [("l2.outer", INTO), ("n1.egress", INTO)], 20)
    run.walk(near, SERVER, [("n1.ingress", OUT_OF), ("l1.outer", OUT_OF)], 20)
    found = reading(run.write(tmp_path)).recording
    ways = [(found.places[row["key"]["place"]].name, int(row["key"]["way"])) for row in found.records]
    assert sorted(ways) == sorted(
        (place, way)
        for place in ("master.outer", "n1.ingress", "n1.egress", "slave.outer")
        for way in (INTO, OUT_OF)
    )
    verdict = judge(found, TWO, in_flight_s=0.0, rewrites=("n1", "n2"))
    assert verdict.ok
    assert (verdict.sessions, verdict.server_opened) == (2, 0)


def test_a_syn_tells_the_client_whatever_came_before(tmp_path: Path) -> None:
    """The last packet of an earlier session on the key comes out of the master; its way was not seen."""
    run = PcapRun(TWO)
    session = run.begin(client(4000))
    run.walk(session, SERVER, [("l1.outer", OUT_OF)])
    run.cross(session, client(4000), "chain-1", forward=True, flags=0x02)
    found = reading(run.write(tmp_path)).recording
    opened = found.records[found.records["counts"]["first_flags"] == 0x02]
    ways = {found.places[row["key"]["place"]].name: int(row["key"]["way"]) for row in opened}
    assert ways == {"master.outer": INTO, "n1.ingress": INTO, "n1.egress": OUT_OF, "slave.outer": OUT_OF}


def test_ways_may_be_apart(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    run.talk("chain-1", client(4000), opener="server")
    places = [place.name for place in run.places]
    found = verdict(run.write(tmp_path, apart=places[2:]), run)
    assert len(list(tmp_path.glob("*.into.pcap"))) == 4
    assert found.ok
    assert found.server_opened == 1


def test_a_reopened_key_is_another_session(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    places = ["master.outer", "n1.ingress", "n1.egress", "slave.outer"]
    other = ["master.outer", "n2.ingress", "n2.egress", "slave.outer"]
    parts: dict[str, bytes] = dict.fromkeys((*places, *other), HEADER)
    for at, (seq, path) in enumerate(((1, places), (1, places), (2, other))):
        for step, name in enumerate(path):
            raw = frame(client(4000), SERVER, 0, 0x02, 0, seq)
            parts[name] += record((1000 + at) * SECOND + step * 1000, raw)
    for name, content in parts.items():
        (tmp_path / f"{name}.pcap").write_bytes(content)
    found = verdict(tmp_path, run)
    assert (found.sessions, found.violations) == (2, ())


@pytest.mark.parametrize(("silence", "sessions"), [(119, 1), (121, 2)])
def test_a_silence_beyond_the_timeout_ends_a_session(tmp_path: Path, silence: int, sessions: int) -> None:
    run = PcapRun(TWO)
    session = run.begin(client(4000))
    for _ in range(2):
        run.cross(session, client(4000), "chain-1", forward=True)
        run.now += silence * SECOND
    folder = run.write(tmp_path)
    assert len(reading(folder, timeouts=Timeouts(tcp_opening=120)).recording.origins) - 1 == sessions


@pytest.mark.parametrize(
    ("flags", "sessions"),
    [((0x02, 0x12, 0x10), 1), ((0x11, 0x11, 0x10), 2), ((0x10, 0x04, 0x10), 2), ((0x11, 0x10, 0x10), 1)],
    ids=["established", "FIN both ways", "RST", "FIN one way"],
)
def test_the_timeout_is_that_of_the_state(tmp_path: Path, flags: tuple[int, ...], sessions: int) -> None:
    run = PcapRun(TWO)
    session = run.begin(client(4000))
    run.cross(session, client(4000), "chain-1", forward=True, flags=flags[0])
    run.cross(session, SERVER, "chain-1", forward=False, flags=flags[1])
    run.cross(
        session, client(4000), "chain-1", forward=True, flags=flags[2] if flags[0] == 0x02 else flags[0]
    )
    run.now += 11 * SECOND
    run.cross(session, client(4000), "chain-1", forward=True)
    assert len(reading(run.write(tmp_path)).recording.origins) - 1 == sessions


@pytest.mark.parametrize(("flags", "sessions"), [(0x11, 3), (0x14, 3), (0x10, 2)], ids=["FIN", "RST", "ACK"])
def test_the_end_of_a_session_that_is_sent_again_begins_none_that_lives(
    tmp_path: Path, flags: int, sessions: int
) -> None:
    run = PcapRun(TWO)
    session = run.begin(client(4000))
    for sender, forward in ((client(4000), True), (SERVER, False)):
        run.cross(session, sender, "chain-1", forward=forward, flags=0x11)
    for _ in range(2):
        run.now += 11 * SECOND
        run.cross(session, client(4000), "chain-1", forward=True, flags=flags)
    assert len(reading(run.write(tmp_path)).recording.origins) - 1 == sessions


@pytest.mark.parametrize(("protocol", "sessions"), [(17, 1), (47, 2), (1, 2)], ids=["udp", "gre", "echo"])
def test_protocols_have_timeouts_of_their_own(tmp_path: Path, protocol: int, sessions: int) -> None:
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    raw = bytes(ether / IP(src="10.0.0.1", dst="10.0.0.2", proto=protocol) / (b"\x08\0\0\0" + bytes(8)))
    content = HEADER + record(SECOND, raw) + record(71 * SECOND, raw)
    for name in ("master.outer", "slave.outer"):
        (tmp_path / f"{name}.pcap").write_bytes(content)
    found = reading(tmp_path, timeouts=Timeouts(udp=100, other=50)).recording
    assert len(found.origins) - 1 == sessions


def test_sessions_under_way_are_judged_for_crossing_only(tmp_path: Path) -> None:
    """What the first file missed as it began is no bypass."""
    run = PcapRun(TWO)
    for port in (4000, 4001):
        session = run.begin(client(port))
        run.walk(session, client(port), run.path(("n1",), forward=True)[1:], 10)
        if port == 4001:
            run.cross(session, SERVER, "chain-2", forward=False)
    run.now += 10 * SECOND
    run.talk("chain-2", client(4002))
    run.now += 10 * SECOND
    run.talk("chain-2", client(4003))
    folder = run.write(tmp_path)
    assert len(verdict(folder, run).bypassed) == 1
    found = judge(reading(folder).recording, run.chains)
    assert (len(found.violations), found.bypassed, found.partial) == (1, (), 3)


def test_a_file_that_is_cut_off_is_refused_or_judged_until_there(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    run.talk("chain-1", client(4000))
    run.now += SECOND
    run.talk("chain-2", client(4001))
    folder = run.write(tmp_path)
    master = folder / "master.outer.pcap"
    master.write_bytes(master.read_bytes()[:-5])
    with pytest.raises(InvalidValue, match=r"master.outer.pcap ends within frame 8: .*; 7 frames were read"):
        reading(folder)
    found = reading(folder, partial=True)
    assert "7 frames were read" in found.broken[0]
    assert len(found.recording.records) == len(run.noted) - 1
    assert judge(found.recording, run.chains, in_flight_s=0.001).ok
    master.write_bytes(master.read_bytes()[:400])
    cut = judge(reading(folder, partial=True).recording, run.chains, in_flight_s=0.0)
    assert cut.sessions == 1, "what others saw after the end of that file does not count"
    assert not cut.bypassed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n7", r"'n7' is no place: use master.outer, slave.outer, or NF.ingress"),
        ("n1.inside", "'n1.inside' is no place"),
        (".ingress", "'.ingress' is no place"),
    ],
)
def test_names_of_no_place(tmp_path: Path, name: str, message: str) -> None:
    run = PcapRun(TWO)
    run.talk("chain-1", client(4000))
    folder = run.write(tmp_path)
    (folder / f"{name}.pcap").write_bytes(HEADER)
    with pytest.raises(InvalidValue, match=message):
        reading(folder)


def test_places_that_can_not_be_judged(tmp_path: Path) -> None:
    run = PcapRun(TWO, one_port=("n1",))
    run.talk("chain-1", client(4000))
    folder = run.write(tmp_path)
    with pytest.raises(InvalidValue, match=r"'n2.ingress', which is none of master.outer"):
        read_pcaps([Tap.named("n2.ingress", folder / "x")], [place_named("master.outer", "x")], Timeouts())
    (folder / "n1.both.into.pcap").rename(folder / "n1.both.pcap")
    with pytest.raises(InvalidValue, match=r"n1.both needs one pcap of both ways, or two"):
        reading(folder)
    (folder / "n1.both.out-of.pcap").unlink()
    with pytest.raises(InvalidValue, match=r"n1.both is the only port of its NF: .*tcpdump -Q out"):
        reading(folder)
    (folder / "slave.outer.pcap").unlink()
    with pytest.raises(InvalidValue, match="name one place of kind outer_slave"):
        reading(folder)


def test_a_link_type_that_is_not_ethernet(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    folder = run.write(tmp_path)
    cooked = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 113)
    (folder / "n1.ingress.pcap").write_bytes(cooked)
    with pytest.raises(InvalidValue, match=r"n1.ingress.pcap has frames of link type 113: only Ethernet"):
        reading(folder)


def test_packets_that_can_not_be_read_spoil_the_verdict(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    run.talk("chain-1", client(4000))
    folder = run.write(tmp_path)
    path = folder / "n1.ingress.pcap"
    path.write_bytes(path.read_bytes() + record(run.now, frame(client(4000), SERVER, 100, 0x10), kept=40))
    assert verdict(folder, run).failures == ("the witness missed 1 packets (1 unparsed)",)


def test_no_packets_at_all(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    found = verdict(run.write(tmp_path), run)
    assert found.failures == ("nothing to judge: no session was seen at an outer port of the load balancers",)


def test_names_of_taps() -> None:
    path = Path("x")
    assert Tap.named("n1.ingress", path) == Tap(path, "n1.ingress", BOTH)
    assert Tap.named("n1.ingress.into", path) == Tap(path, "n1.ingress", INTO)
    assert Tap.named("n1.both.out-of", path) == Tap(path, "n1.both", OUT_OF)


def test_each_packet_is_a_record(tmp_path: Path) -> None:
    run = PcapRun(TWO)
    raw = frame(client(4000), SERVER, 10, 0x10)
    one = b"".join(record(1000 * SECOND + n * 1000, raw) for n in range(1000))
    for place in run.write(tmp_path).glob("*.pcap"):
        if place.name.startswith(("master", "slave", "n1")):
            place.write_bytes(HEADER + one)
    found = reading(tmp_path)
    assert len(found.recording.records) == 4000
    assert np.unique(found.recording.records["key"]["session"]).tolist() == [1]
