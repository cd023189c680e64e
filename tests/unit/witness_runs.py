"""Builds recordings by hand: packets walk along stops, as the taps would have noted them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import numpy as np

from catenary.session import End, SessionKey
from witness.events import Event
from witness.places import Place, PlaceKind, nf_places
from witness.recording import INTO, ORIGIN, OUT_OF, RECORD, Recording

SECOND = 10**9
Stop = tuple[str, int]


def client(port: int, last: int = 1) -> End:
    return End(ip_address(f"10.0.0.{last}"), port)


SERVER = End(ip_address("10.0.0.2"), 80)


@dataclass
class Run:
    """A run over `chains`, of which all NFs have two ports but those of `one_port`.

    It is noted as the taps do, or, `singly`, as from pcaps: a record for each packet.
    """

    chains: Mapping[str, Sequence[str]]
    one_port: Sequence[str] = ()
    singly: bool = False
    now: int = 1000 * SECOND
    events: list[Event] = field(default_factory=list)
    _origins: list[tuple[SessionKey, int]] = field(default_factory=list)
    _records: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nfs = dict.fromkeys(nf for nfs in self.chains.values() for nf in nfs)
        self.places = [
            Place("l1.outer", PlaceKind.OUTER_MASTER, "s1-eth3"),
            Place("l2.outer", PlaceKind.OUTER_SLAVE, "s2-eth2"),
        ]
        for nf in nfs:
            self.places += nf_places(nf, f"{nf}-a", f"{nf}-a" if nf in self.one_port else f"{nf}-b")
        self._numbers = {place.name: number for number, place in enumerate(self.places)}

    def key(self, session: int) -> SessionKey:
        return self._origins[session - 1][0]

    def begin(self, a: End, b: End = SERVER, kind: int = 6) -> int:
        """A new session; its number."""
        self._origins.append((SessionKey.of(a, b, kind), self.now))
        return len(self._origins)

    def path(self, nfs: Iterable[str], forward: bool) -> list[Stop]:
        stops: list[Stop] = [("l1.outer" if forward else "l2.outer", INTO)]
        for nf in nfs:
            ports = [f"{nf}.both"] * 2 if nf in self.one_port else [f"{nf}.ingress", f"{nf}.egress"]
            near, far = ports if forward else ports[::-1]
            stops += [(near, INTO), (far, OUT_OF)]
        return [*stops, ("l2.outer" if forward else "l1.outer", OUT_OF)]

    def cross(
        self,
        session: int,
        sender: End,
        chain: str,
        forward: bool,
        payload: int = 0,
        stops: int = 99,
        flags: int = 0x10,
    ) -> None:
        """One packet along a whole chain, or along its first `stops` stops."""
        nfs = self.chains[chain] if forward else tuple(reversed(self.chains[chain]))
        self.walk(session, sender, self.path(nfs, forward)[:stops], payload, flags)

    def walk(
        self, session: int, sender: End, stops: Iterable[Stop], payload: int = 0, flags: int = 0x10
    ) -> None:
        """One packet past `stops`, 1 us apart."""
        from_high = int(self.key(session).high == sender)
        for name, way in stops:
            self.now += 1000
            self.note(session, sender, name, way, payload, flags)
            key = (session, self._numbers[name], way, from_high, self.now * self.singly)
            row = self._records.setdefault(key, [self.now, 0, 0, 0, 0, flags, flags])
            row[1], row[6] = self.now, flags
            row[2] += payload > 0
            row[3] += payload == 0
            row[4] += payload

    def note(self, session: int, sender: End, place: str, way: int, payload: int, flags: int) -> None:
        """For those who note more than the taps."""

    def talk(
        self, chain: str, a: End, b: End = SERVER, sizes: Sequence[int] = (0, 300), opener: str = "client"
    ) -> int:
        """A whole session: for each of `sizes` a packet from the opener and one back."""
        session = self.begin(a, b)
        for size in sizes:
            for sender in (a, b) if opener == "client" else (b, a):
                self.cross(session, sender, chain, sender is a, size)
        return session

    def tell(self, kind: str, text: str = "", chain: str = "") -> None:
        """An event, 1 us later."""
        self.now += 1000
        self.events.append(Event(self.now, kind, text, chain))

    def recording(self, after: float = 10.0, dropped: Mapping[str, int] | None = None) -> Recording:
        """What was noted, taken `after` seconds."""
        origins = np.zeros(len(self._origins) + 1, dtype=ORIGIN)
        for number, (key, first) in enumerate(self._origins, 1):
            raw = key.pack()
            origins[number] = (
                (raw[:16], raw[16:32], key.low.port, key.high.port, key.kind, 0),
                first,
            )
        records = np.zeros(len(self._records), dtype=RECORD)
        for at, (record, counts) in enumerate(self._records.items()):
            records[at] = (record[:4], (*counts, b""))
        chains = {name: tuple(nfs) for name, nfs in self.chains.items()}
        taken = self.now + int(after * SECOND)
        events = tuple(self.events)
        return Recording(tuple(self.places), origins, records, taken, dropped or {}, chains, events=events)
