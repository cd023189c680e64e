"""Single sessions: which chain has one, and orders to reset or move it. Only the masters know."""

from __future__ import annotations

from catenary import wire
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from mgmt_system.current import Current
from mgmt_system.journal import Event
from mgmt_system.peers import Peers
from mgmt_system.records import SELF, Author
from mgmt_system.store.ledger import Ledger


class Sessions:
    """Asks the masters. The ledger has the chains' names, and its journal tells of orders."""

    def __init__(self, peers: Peers, network: Current, ledger: Ledger) -> None:
        self._peers = peers
        self._network = network
        self._ledger = ledger

    def show(self, key: str, segment: str | None) -> wire.SessionStatus:
        """A session with its chain; raises `NotFound`, or `Conflict` if several segments have it."""
        name, view = self._find(key, segment)
        return self._status(name, view)

    def end(self, request: wire.SessionRequest, *, author: Author = SELF) -> wire.SessionStatus:
        """Reset or move a session, and show what became of it."""
        self._ledger.ready()
        name, view = self._find(request.key, request.segment)
        before = self._status(name, view).chain
        order = wire.SessionOrder(key=request.key, mode=request.mode)
        master = self._peers.balancers[self._network.segments[name].master]
        after = self._status(name, master.end_session(order))
        changes = {request.key: (before, after.chain)}
        self._ledger.tell(Event("session", author, changes, name, before, text=request.mode))
        return after

    def _find(self, key: str, segment: str | None) -> tuple[str, wire.SessionView]:
        segments = self._network.segments
        if segment is not None and segment not in segments:
            raise InvalidValue(f"unknown segment {segment!r}: this network has {', '.join(segments)}")
        found: dict[str, wire.SessionView] = {}
        silent: Unavailable | None = None
        for name in [segment] if segment is not None else segments:
            try:
                found[name] = self._peers.balancers[segments[name].master].session(key)
            except NotFound:
                continue
            except Unavailable as error:
                silent = error
        if len(found) > 1:
            raise Conflict(f"session {key} goes through segments {', '.join(found)}: name one with --segment")
        if not found:
            raise silent or NotFound(f"session {key} is not known: it is over, or never came by")
        return found.popitem()

    def _status(self, segment: str, view: wire.SessionView) -> wire.SessionStatus:
        named = [
            record.name
            for record in self._ledger.snapshot().chains
            if record.live
            and view.tags
            and (record.segment, record.chain.tags) == (segment, view.tags.pair())
        ]
        chain = named[0] if named else None
        return wire.SessionStatus(
            key=view.key, state=view.state, tags=view.tags, segment=segment, chain=chain
        )
