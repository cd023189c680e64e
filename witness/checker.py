"""The judge: a recording and the chains in, a verdict out. Pure: no clock, no I/O.

The promise: every delivered packet was seen at all NFs of exactly one chain, in order, and both directions of
a session cross the same chain. A path of taps is `outer (in), NF (in), NF (out), ..., outer (out)`; between
"out" and the next "in" lies a wire, where payload bytes and bare packets are conserved. What happens between
an NF's "in" and its "out" is the NF's business: it may drop, rewrite and answer by itself. A load balancer
that ended a session by order answers what comes with a RST, which no NF has seen.

Times are compared only with times: all taps read one clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catenary.errors import InvalidValue
from witness.events import CHANGE, FAULT
from witness.example import Example
from witness.places import PlaceKind, Side
from witness.recording import INTO, OUT_OF, Array, Recording
from witness.sides import per_side, rewriting_nfs
from witness.sightings import DIRECTIONS, FORWARD, REVERSE, read
from witness.stories import Stories, stop_name
from witness.verdict import NO_CHAIN, Finding, History, Loss, Thresholds, Verdict

IN_FLIGHT_S = 2.0
"""Sessions with a packet this short before the snapshot are not balanced: it may still be on its way. Nor are
those judged for their way, but only for crossing, that were under way as the recording began."""


@dataclass(frozen=True)
class Stop:
    """A point of a path: a place and the way through it."""

    place: int
    way: int


def judge(
    recording: Recording,
    chains: Mapping[str, Sequence[str]] | None = None,
    thresholds: Thresholds | None = None,
    in_flight_s: float = IN_FLIGHT_S,
    rewrites: Collection[str] | None = None,
) -> Verdict:
    """Judge a run. `chains` (name -> NFs in forward order) and `rewrites` (chains or NFs) default to those of
    the recording. A chain without NFs is for what may pass by.

    Raises `InvalidValue` when there is no chain, or a chain's NF has no taps.
    """
    table = {name: tuple(nfs) for name, nfs in (recording.chains if chains is None else chains).items()}
    if not table:
        raise InvalidValue(
            "the recording names no chains: say which NFs each has, by --chain NAME=NF[,NF...]"
        )
    rewriting = rewriting_nfs(recording.rewrites if rewrites is None else rewrites, table)
    court = _Court(per_side(recording, table, rewriting), table, in_flight_s)
    return court.verdict(thresholds or Thresholds())


def example(recording: Recording, finding: Finding) -> Example:
    """The counter-example of any finding on a recording that names its chains."""
    rewriting = rewriting_nfs(recording.rewrites, recording.chains)
    sides = per_side(recording, recording.chains, rewriting)
    return Stories(sides, recording.chains, read(sides, 0)).example(finding)


class _Court:
    """One judgement; everything in it is computed once and never changed."""

    def __init__(
        self, recording: Recording, chains: Mapping[str, tuple[str, ...]], in_flight_s: float
    ) -> None:
        self.recording = recording
        self.chains = chains
        self.names = tuple(chains)
        self.gap_ns = int(in_flight_s * 1e9)
        self.settled_before = recording.taken_ns - self.gap_ns
        self.kinds = np.array([place.kind for place in recording.places])
        self.rows = read(recording, self.gap_ns)
        self.stories = Stories(recording, chains, self.rows)
        self.size = len(recording.origins)
        self.nfs = tuple(dict.fromkeys(place.nf for place in recording.places if place.nf))
        self.paths = {
            name: tuple(self._path(name, nfs, direction) for direction in (FORWARD, REVERSE))
            for name, nfs in chains.items()
        }
        self.seen = self._seen()
        self.chain, self.crossing = self._assign()
        self.told = self._told()

    def verdict(self, thresholds: Thresholds) -> Verdict:
        faults: dict[int, str] = {}
        balance = _Balance()
        judged = self.rows.outside & ~self.crossing & ~self.rows.partial
        for number, name in enumerate((*self.names, None)):
            members = judged & (self.chain == (NO_CHAIN if name is None else number))
            for direction in (FORWARD, REVERSE):
                self._walk(np.flatnonzero(members), name, direction, faults, balance)
        self._misplaced(faults)
        violations, killed = self._crossed()
        bypassed = tuple(sorted(self.stories.finding(*fault) for fault in faults.items()))
        worst = (*violations, *bypassed)[:1]
        first, last = self.rows.begin_ns, self.rows.end_ns
        outside = np.flatnonzero(self.rows.outside)
        kinds = [event.kind for event in self.recording.events]
        return Verdict(
            chains=self.names,
            history=History(
                first[outside], last[outside], self.chain[outside], self.rows.server_opened[outside]
            ),
            violations=violations,
            killed=killed,
            bypassed=bypassed,
            example=self.stories.example(worst[0]) if worst else None,
            losses=balance.losses(),
            unsettled=int((last[outside] > self.settled_before).sum()),
            partial=int(self.rows.partial[outside].sum()),
            strays=int((self.seen.any(axis=1) & ~self.rows.outside).sum()),
            changes=kinds.count(CHANGE),
            faults=kinds.count(FAULT),
            dropped=self.recording.dropped,
            thresholds=thresholds,
            wall_ns=self.recording.wall_ns,
            missing=self.recording.missing,
        )

    def _crossed(self) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
        """Sessions that no one chain explains, and apart those whose chain a fault had killed."""
        found: tuple[list[Finding], list[Finding]] = [], []
        for session in map(int, np.flatnonzero(self.crossing)):
            found[self.stories.outlived(session, self.gap_ns)].append(self.stories.crossed(session))
        return tuple(sorted(found[0])), tuple(sorted(found[1]))

    # -- which chain ---------------------------------------------------------------------------------------

    def _path(self, name: str, nfs: tuple[str, ...], direction: int) -> tuple[Stop, ...]:
        ends = [self._outer(PlaceKind.OUTER_MASTER), self._outer(PlaceKind.OUTER_SLAVE)]
        sides = [Side.INGRESS, Side.EGRESS]
        if direction == REVERSE:
            ends.reverse()
            sides.reverse()
            nfs = nfs[::-1]
        stops = [Stop(ends[0], INTO)]
        for nf in nfs:
            stops += [
                Stop(self._port(name, nf, sides[0]), INTO),
                Stop(self._port(name, nf, sides[1]), OUT_OF),
            ]
        return (*stops, Stop(ends[1], OUT_OF))

    def _outer(self, kind: PlaceKind) -> int:
        return next(i for i, place in enumerate(self.recording.places) if place.kind is kind)

    def _port(self, chain: str, nf: str, side: Side) -> int:
        for number, place in enumerate(self.recording.places):
            if place.nf == nf and place.side in (side, Side.BOTH):
                return number
        raise InvalidValue(f"NF {nf!r} of chain {chain!r} has no tap at its {side} port: it can't be judged")

    def _seen(self) -> Array:
        """(sessions x NFs) of bool: was any packet seen at a port of that NF."""
        seen = np.zeros((self.size, len(self.nfs)), dtype=bool)
        column = np.array([self.nfs.index(p.nf) if p.nf else -1 for p in self.recording.places])
        at_nf = column[self.rows.place] >= 0
        seen[self.rows.session[at_nf], column[self.rows.place[at_nf]]] = True
        return seen

    def _assign(self) -> tuple[Array, Array]:
        """Of each session: the chain's index (`NO_CHAIN` if none), and whether no one chain explains it."""
        chain = np.full(self.size, NO_CHAIN)
        covered = np.full(self.size, -1.0)
        for number, name in enumerate(self.names):
            if not self.chains[name]:
                chain[~self.seen.any(axis=1)] = number
                continue
            inside = np.array([nf in self.chains[name] for nf in self.nfs])
            share = (self.seen & inside).sum(axis=1) / inside.sum()
            better = ~(self.seen & ~inside).any(axis=1) & (share > np.maximum(covered, 0))
            chain[better], covered[better] = number, share[better]
        return chain, self.seen.any(axis=1) & (chain == NO_CHAIN)

    def _told(self) -> Array:
        """Of each session: has a load balancer told an end of it by a RST, which then came out of no NF?"""
        rows = self.rows
        nf = self.kinds[rows.place] == PlaceKind.NF
        found = np.zeros((2, self.size, 2), dtype=bool)
        for at, where in enumerate((~nf, nf)):
            here = where & rows.known & rows.last_reset & (rows.way == OUT_OF)
            found[at, rows.session[here], rows.direction[here]] = True
        told: Array = (found[0] & ~found[1]).any(axis=1)
        return told

    # -- along the path ------------------------------------------------------------------------------------

    def _walk(
        self, members: Array, name: str | None, direction: int, faults: dict[int, str], balance: _Balance
    ) -> None:
        """Judge one direction of the sessions `members` of one chain (None: of those seen at no NF)."""
        whole = self.paths[self.names[0]][direction]
        path = (whole[0], whole[-1]) if name is None else self.paths[name][direction]
        wanted = self.rows.first_ns, self.rows.last_ns, self.rows.bare, self.rows.bytes
        columns = [self._column(stop, direction, members, *wanted) for stop in path]
        first, last, bare, size = (np.stack([c[i] for c in columns], axis=1) for i in range(4))
        own = np.stack([self._answers(stop, direction, members) for stop in path], axis=1)
        own[:, 2:-1] = 0  # between NFs there is no load balancer
        present = (bare + size) > 0
        present[:, -1] &= ~self._only_told(path[-1], direction, members)
        if name is None:
            for session in members[present[:, -1]]:
                faults[int(session)] = f"{DIRECTIONS[direction]}, delivered without crossing any chain"
        else:
            self._pattern(members, present, path, direction, faults)
        settled = ~(last > self.settled_before).any(axis=1) & ~self.rows.hurried[members]
        balanced = settled & ~self.told[members]  # what comes after an order goes no further
        for at in range(0, len(path) - 1, 2):  # the wires: out of one device, into the next
            here, there = path[at], path[at + 1]
            # A switch in user space gets a frame before its port's tap does: one may seem early, not all.
            late = present[:, at] & present[:, at + 1]
            late &= (first[:, at + 1] < first[:, at]) & (last[:, at + 1] < last[:, at])
            over = settled & (
                (size[:, at + 1] > size[:, at]) | (bare[:, at + 1] > bare[:, at] + own[:, at + 1])
            )
            for what, found in (("more", over), ("sooner", late)):
                for session in members[found & (name is not None)]:
                    text = f"{DIRECTIONS[direction]}, {what} at {self._at(there)} than {self._at(here)}"
                    faults.setdefault(int(session), text)
            balance.add(
                (self._at(here), self._at(there) if name is not None else "any NF", DIRECTIONS[direction]),
                *(values[balanced, at + step] for values in (size, bare) for step in (0, 1)),
            )

    def _pattern(
        self, members: Array, present: Array, path: tuple[Stop, ...], direction: int, faults: dict[int, str]
    ) -> None:
        """What is delivered was seen at each stop since it began, at the near LB or as an NF's own answer."""
        began = present.argmax(axis=1)
        holes = ~present & (np.arange(present.shape[1]) > began[:, None])
        # First seen on its way INTO something: it came from nowhere.
        own = (began % 2 == 1) & ~self.rows.hurried[members]
        for row in np.flatnonzero(present[:, -1] & (holes.any(axis=1) | own)):
            if holes[row].any():
                missing = self._at(path[int(holes[row].argmax())])
                text = f"{DIRECTIONS[direction]}, delivered but not seen {missing}"
            else:
                text = f"{DIRECTIONS[direction]}, delivered but first seen {self._at(path[int(began[row])])}"
            faults.setdefault(int(members[row]), text)

    def _answers(self, stop: Stop, direction: int, members: Array) -> Array:
        """How many RSTs of each of `members` a load balancer may have sent past `stop`: one for each packet
        that came the other way, if it told an end of the session and the last packet is a RST."""
        [closed] = self._column(stop, direction, members, self.rows.last_reset)
        back = Stop(stop.place, OUT_OF if stop.way == INTO else INTO)
        came = self._column(back, 1 - direction, members, self.rows.bare, self.rows.loaded)
        answers: Array = sum(came) * closed * self.told[members]
        return answers

    def _only_told(self, stop: Stop, direction: int, members: Array) -> Array:
        """Which of `members` have nothing but RSTs of a load balancer at `stop`."""
        first, last, loaded = self._column(
            stop, direction, members, self.rows.first_reset, self.rows.last_reset, self.rows.loaded
        )
        only: Array = self.told[members] & (first > 0) & (last > 0) & (loaded == 0)
        return only

    def _column(self, stop: Stop, direction: int, members: Array, *columns: Array) -> list[Array]:
        """These columns of the sightings, for each of `members` at one stop; zero where not seen."""
        rows = self.rows
        here = (
            rows.known & (rows.place == stop.place) & (rows.way == stop.way) & (rows.direction == direction)
        )
        where = rows.session[here]
        found = []
        for values in columns:
            column = np.zeros(self.size, dtype=np.int64)
            column[where] = values[here]
            found.append(column[members])
        return found

    def _misplaced(self, faults: dict[int, str]) -> None:
        """Sightings that lie on no path of the session's chain: the wrong way through a place."""
        allowed = np.zeros((len(self.names) + 1, 2, len(self.kinds), 2), dtype=bool)
        for number, name in enumerate(self.names):
            for direction in (FORWARD, REVERSE):
                for stop in self.paths[name][direction]:
                    allowed[number, direction, stop.place, stop.way] = True
                    if self.kinds[stop.place] != PlaceKind.NF:
                        allowed[NO_CHAIN, direction, stop.place, stop.way] = True
        rows = self.rows
        fine = allowed[self.chain[rows.session], rows.direction, rows.place, rows.way]
        judged = rows.known & ~self.crossing[rows.session] & ~rows.partial[rows.session]
        for row in np.flatnonzero(judged & ~fine):
            stop = Stop(int(rows.place[row]), int(rows.way[row]))
            faults.setdefault(
                int(rows.session[row]),
                f"{DIRECTIONS[rows.direction[row]]}, seen {self._at(stop)}, which is not on its way",
            )

    def _at(self, stop: Stop) -> str:
        return stop_name(self.recording.places[stop.place].name, stop.way)


class _Balance:
    """Sums over the wires."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], list[int]] = {}

    def add(
        self, wire: tuple[str, str, str], sent: Array, got: Array, sent_bare: Array, got_bare: Array
    ) -> None:
        """Arrays over sessions: payload bytes and bare packets, sent and got."""
        lost, lost_bare = np.maximum(sent - got, 0), np.maximum(sent_bare - got_bare, 0)
        row = self._rows.setdefault(wire, [0] * 5)
        for at, values in enumerate((lost, lost_bare, sent, sent_bare, (lost + lost_bare) > 0)):
            row[at] += int(values.sum())

    def losses(self) -> tuple[Loss, ...]:
        """Wires that lost something, the worst first."""
        found = [Loss(*wire, *row) for wire, row in self._rows.items() if row[0] or row[1]]
        return tuple(sorted(found, key=lambda loss: -loss.share))
