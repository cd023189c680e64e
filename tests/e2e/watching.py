"""What taps have seen of sessions: the verdict, and the NFs that they crossed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from socket import IPPROTO_TCP

from catenary.session import End, SessionKey
from catenary.wire import TimeoutsModel
from topologies.testbed import Testbed
from topologies.traffic import Talks, ping
from witness.checker import judge
from witness.recording import Recording
from witness.taps import Taps
from witness.verdict import Verdict

SHORT = TimeoutsModel(
    tcp_opening=2, tcp_established=10, tcp_closing=1, udp=2, other=2, neighbour=2, lease=1, transit=0.5
)


def judged(taps: Taps, chains: Mapping[str, Sequence[str]]) -> tuple[Recording, Verdict]:
    """All that was seen, and the verdict; nothing may be under way any more."""
    recording = taps.snapshot(chains)
    return recording, judge(recording, in_flight_s=0.0)


def answers(testbed: Testbed) -> bool:
    """Does a ping get from h1 to h2 and back, at once?"""
    return ping(testbed.hosts["h1"], testbed.hosts["h2"].address(), count=1, timeout=0.05) == 1


def nfs_of(recording: Recording) -> dict[SessionKey, set[str]]:
    """The NFs at which each key was seen."""
    found: dict[SessionKey, set[str]] = defaultdict(set)
    for session, place in {(int(key["session"]), int(key["place"])) for key in recording.records["key"]}:
        if recording.places[place].nf:
            found[recording.key(session)].add(recording.places[place].nf)
    return found


def keys_of(talks: Talks) -> set[SessionKey]:
    """The session keys of all its sessions."""
    state = talks.state()
    assert state is not None
    ends = zip(state.ends, talks.peers, strict=True)
    return {SessionKey.of(_end(*end), _end(*peer), IPPROTO_TCP) for end, peer in ends if end is not None}


def _end(address: str, port: int) -> End:
    return End(ip_address(address), port)
