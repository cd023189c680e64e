"""Why a session goes where it goes, in words for who is on call. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catenary import durations, moments, sizes
from catenary.chain import ChainState
from catenary.explanations import Candidate, SegmentExplanation, SessionForecast
from catenary.session import SessionKey
from catenary.wire import SessionEntry, SessionOrigin, Tags
from mgmt_system.journal import JournalEntry
from mgmt_system.scene import SKEW, Heard, Scene, carrier, known, named

ABOUT = 10.0
"""s before and after a session was placed in which what became of chains may be why."""


def summary(key: SessionKey, segments: Sequence[SegmentExplanation]) -> str:
    """In one sentence."""
    told = "; ".join(f"{_brief(item)} in segment {item.segment}" for item in segments)
    return f"session {key.text} {told}"


def _brief(item: SegmentExplanation) -> str:
    chain = item.chain or (f"the chain with tags {_pair(item.tags)}" if item.tags else "no chain")
    match item.status:
        case "live":
            return f"is live on {chain}"
        case "closing":
            return f"has just closed on {chain}"
        case "reset":
            return "was reset by order"
        case "ended":
            return f"is over, and was on {chain}"
        case "new":
            return f"is not known, and would go to {chain}"
        case "refused":
            return "is not known, and would go nowhere"
        case "beside":
            return f"goes past the load balancers, through {chain}"
    return "can't be told of"


@dataclass(frozen=True)
class Reasons:
    """The reasons, as sentences, most important first."""

    key: SessionKey
    scene: Scene
    heard: Heard

    @property
    def entry(self) -> SessionEntry | None:
        return known(self.scene, self.heard)

    def all(self) -> Iterable[str]:
        if self.scene.inserted is False:
            yield "the pair of this segment is not in the way of its traffic yet: one chain carries all of it"
            return
        if self.entry is not None:
            yield from self._known(self.entry)
        elif self.scene.inserted is None:
            yield "whether the pair of this segment is in the way can't be asked; the rest holds if it is"
        if self.heard.forecast is not None:
            yield from self._forecast(self.heard.forecast)
        yield from self._hint()
        if self.scene.config.rewrites:
            yield from self._rewritten()

    # -- a session that is there, or was --------------------------------------------------------------------

    def _known(self, entry: SessionEntry) -> Iterable[str]:
        where = self.scene.config.master if entry is self.heard.master else self.scene.config.slave
        yield self._origin(entry, where)
        yield from self._epoch(entry.origin)
        yield from self._health(entry.origin)
        yield from self._order(entry)
        if entry.ended is not None:
            yield f"it ended {_span(entry.ended.ago)} ago: {_ENDINGS[entry.ended.why]}"
            yield f"it lived for {_span(entry.age)}: {_carried(entry)}"
        else:
            yield f"{_STATES[entry.state]}; its last packet was {_span(entry.idle)} ago; {_carried(entry)}"
        chain = carrier(self.scene, self.heard)
        if chain is not None and chain.state is not ChainState.ACTIVE:
            keeps = ", and keeps this one" if chain.state is ChainState.COOLING and not entry.ended else ""
            yield f"{chain.name} is {chain.state}: it takes no new session{keeps}"
        if entry is self.heard.master and entry.ended is None and entry.state != "reset":
            yield self._slave()

    def _origin(self, entry: SessionEntry, where: str) -> str:
        origin, peer = entry.origin, self._peer(where)
        since = f"{_span(entry.age)} {'before' if entry.ended else 'ago'}"
        begun = f"{since} ({moments.iso(origin.placed)}), in epoch {origin.epoch}"
        match origin.cause:
            case "placed":
                how = f"{where} placed it at its first packet, a client's"
            case "asked":
                how = f"{where} placed it when {peer} asked about the server's first packet"
            case "overflow":
                how = f"{where} placed it by the plain hash, for the session table was full"
            case "learned":
                how = f"{where} learned it from the tag of what came out of the chain"
            case "hinted":
                how = f"{where} took the hint of {peer}, which still knew its chain"
            case "answered":
                how = f"{where} asked {peer}, and took its answer"
            case "copied":
                how = f"{where} copied it from the table of {peer}"
            case "taken_in":
                how = f"{where} has it from {peer}, which sees its packets"
            case "moved":
                how = f"{where} moved it here by order"
        return f"{how}, {begun}{self._policy(origin, entry.tags)}"

    def _policy(self, origin: SessionOrigin, tags: Tags | None) -> str:
        if origin.policy is None or origin.cause == "overflow":
            return ""
        if origin.policy == "maglev":
            return ", by maglev: the hash of its key names this chain"
        mine = self._name(tags, origin.placed)
        if origin.other is None:
            return f", by p2c: both hashes of its key name {mine}, with {_count(origin.load)}"
        other = self._name(origin.other, origin.placed)
        return (
            f", by p2c: {mine} had {_count(origin.load)}, and {other}, the other candidate, "
            f"{origin.other_load}: no more for its weight"
        )

    def _epoch(self, origin: SessionOrigin) -> Iterable[str]:
        """What made the chain set by which it was placed."""
        for entry in self.heard.journal:
            change = entry.event.changes.get("epoch")
            mine = entry.event.kind == "epoch" and entry.event.segment == self.scene.segment
            if mine and change and (change[0] or 0) < origin.epoch <= change[1]:
                pairs = [pair for pair in entry.event.changes if pair != "epoch"]
                what = f", with {', '.join(pairs)} changed" if pairs else ""
                yield f"epoch {origin.epoch} began at {moments.iso(entry.at)}{what}, {_by(entry)}"
                return

    def _health(self, origin: SessionOrigin) -> Iterable[str]:
        """What probes said of chains about when it was placed: new sessions keep off what is down."""
        for entry in self.heard.journal:
            event = entry.event
            mine = event.kind == "health" and event.segment == self.scene.segment
            if mine and abs(entry.at - origin.placed) < ABOUT:
                was, became = event.changes["verdict"]
                yield f"{event.chain} went from {was} to {became} at {moments.iso(entry.at)}: {event.text}"

    def _order(self, entry: SessionEntry) -> Iterable[str]:
        for found in self.heard.journal:
            mine = found.event.kind == "session" and self.key.text in found.event.changes
            if mine and found.at >= entry.origin.placed - SKEW:  # else it was about an earlier one
                was, became = found.event.changes[self.key.text]
                went = f" from {was} to {became}" if found.event.text == "move" else ""
                yield f"an order to {found.event.text} it{went} came at {moments.iso(found.at)}, {_by(found)}"

    def _slave(self) -> str:
        slave, entry = self.scene.config.slave, self.heard.slave
        master, lease = self.scene.config.master, self.scene.config.timeouts.lease
        if entry is None or entry.ended is not None:
            if any(fault.startswith(f"{slave}:") for fault in self.heard.faults):
                return f"what {slave} knows of it could not be asked"
            return f"{slave} does not know it: a packet of the server asks {master} over the bypass path"
        left = lease - entry.idle
        if left > 0:
            return f"{slave} knows it too, and needs not ask {master} for another {_span(left)} (its lease)"
        return f"the lease of {slave} has lapsed: the server's next packet goes to {master} first, as a hint"

    # -- one that is not ------------------------------------------------------------------------------------

    def _forecast(self, told: SessionForecast) -> Iterable[str]:
        master = self.scene.config.master
        if self.entry is None:
            yield f"{master} has no session with this key"
        again = "if it began anew, it" if self.entry is not None else "it"
        if told.tags is None:
            yield f"{again} would go nowhere: {told.reason}"
            return
        name = self._name(told.tags, None)
        if not told.candidates:
            yield f"{again} would go past the chains, by {name}: no rule of the classifier agrees with it"
        elif told.overflow:
            yield f"{again} would go to {name}: the session table is full, so the plain hash decides"
        elif told.policy == "maglev":
            yield f"{again} would go to {name}: the hash of its key names it (maglev)"
        elif len(told.candidates) < 2:
            yield f"{again} would go to {name}: both hashes of its key name it (p2c)"
        else:
            weighed = [self._weighed(item) for item in told.candidates]
            yield (
                f"{again} would go to {name}: of the two chains that its key names, {' and '.join(weighed)}, "
                "it has no more for its weight (p2c)"
            )
        if told.client is not None:
            yield f"that holds if {told.client} is the client's end: else the classifier judges otherwise"
        yield f"that holds now, in epoch {told.epoch}: every session that begins or ends may change it"

    def _weighed(self, item: Candidate) -> str:
        return f"{self._name(item, None)} with {_count(item.live)} at weight {item.weight}"

    def _hint(self) -> Iterable[str]:
        """What a slave's lapsed lease would do, where the master has no session."""
        slave = self.heard.slave
        if slave is None or slave.ended is not None or self.entry is slave or self.heard.forecast is None:
            return
        if slave.tags is not None:
            name = self._name(slave.tags, slave.origin.placed)
            yield (
                f"{self.scene.config.slave} still has a hint of {name}: if the server speaks first, "
                "it goes there, as long as that chain carries sessions"
            )

    def _rewritten(self) -> Iterable[str]:
        pools = {
            nf: pool
            for chain in self.scene.chains
            for nf in chain.chain.nfs
            if nf in self.scene.nfs and chain.live
            for pool in self.scene.nfs[nf].pool
            for end in (self.key.low, self.key.high)
            if end.address in pool
        }
        for nf, pool in pools.items():
            yield f"one of its addresses is of the pool {pool} of {nf}: this is its key on the servers' side"
        if self.entry is None:
            return
        if not pools and self.entry.foreign is (self.entry is self.heard.master):
            yield "this is its key on the servers' side of the chain, which rewrites"
        elif not pools:
            yield "this is its key on the clients' side of the chain, which rewrites"
        yield "on the other side it has another key, which no load balancer can tell to be the same session"

    # -- names ----------------------------------------------------------------------------------------------

    def _peer(self, balancer: str) -> str:
        pair = self.scene.config.master, self.scene.config.slave
        return pair[balancer == pair[0]]

    def _name(self, tags: Tags | None, at: float | None) -> str:
        if tags is None:
            return "its chain"
        chain = named(self.scene.chains, tags, at)
        return chain.name if chain else f"a chain with tags {_pair(tags)}"


_STATES = {
    "other": "it is no TCP or UDP",
    "udp": "it is UDP",
    "opening": "it is being opened",
    "established": "it is established",
    "closing": "it was closed, and its pin rests for late packets",
    "reopening": "a new SYN came on it",
    "neighbour": "it is an address resolution",
    "reset": "it was reset by order: whatever still comes is answered by a RST, but for a new SYN",
}
_ENDINGS = {
    "expired": "no packet came for longer than its timeout",
    "closed": "it was closed, and no late packet came any more",
    "replaced": "its key began a new session",
    "reset": "by an order to reset",
    "let_go": "by an order to let it go, so that its next packet was placed anew",
    "moved": "by an order to move it to another chain",
    "evicted": "the session table was full, and it was half-open",
}


def _by(entry: JournalEntry) -> str:
    author = entry.event.author
    return f"by {author.who}" + (f": {author.why}" if author.why else "")


def _pair(tags: Tags | None) -> str:
    return "none" if tags is None else f"{tags.forward},{tags.reverse}"


def _count(sessions: int | None) -> str:
    return f"{sessions} live session{'' if sessions == 1 else 's'}"


def _carried(entry: SessionEntry) -> str:
    return f"{entry.packets} packets, {sizes.text(entry.bytes)} both ways"


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    return f"{seconds:.1f} s" if seconds < 100 else durations.text(round(seconds))
