"""The slave's side of the pair's protocol, pure: what it accepts of whom. The master's side is `peering`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from catenary.errors import Conflict
from lb_adapter.balancer import ChainTable
from lb_adapter.peering import AHEAD, PATIENCE

FORMER = 64
"""Masters that are remembered."""


@dataclass(frozen=True)
class Hello:
    """A master's greeting of the process `slave`, without the settings that go along with it."""

    protocol: int
    segment: str
    master: str
    slave: str
    ask_id: int
    table: ChainTable
    term: int = 0
    slave_term: int = 0


@dataclass(frozen=True)
class Follower:
    """What a slave knows of its pair: the chain set in force, and the process that it obeys, if any.

    `instance` is its own process. `former` are masters whose place another one took, latest last; `term` is
    how often a standby did. `nonce` is that of the order that it waits for, given `at` s of its own clock.
    `slave_term` is how often a standby took the slave's place, as far as it knows; `dismissed` is the term of
    the one that took its own.
    """

    segment: str
    instance: str
    table: ChainTable
    master: str | None = None
    former: tuple[str, ...] = ()
    nonce: str | None = None
    at: float = 0.0
    term: int = 0
    slave_term: int = 0
    dismissed: int | None = None

    @property
    def reason(self) -> str | None:
        """Why it has no master, if it has none."""
        if self.dismissed is not None:
            return (
                f"a standby took the place of this slave (term {self.dismissed}, not {self.slave_term}); "
                "stop this one, or run it with --standby-of"
            )
        return "no handshake yet" if self.master is None else None


def greeted(follower: Follower, hello: Hello, protocol: int) -> Follower:
    """The slave after a greeting; `protocol` is its own. `Conflict` if it is refused."""
    if hello.protocol != protocol:
        raise Conflict(
            f"the master speaks protocol {hello.protocol}, this slave speaks {protocol}: "
            "run the same release on both"
        )
    _check_segment(follower, hello.segment)
    if hello.slave != follower.instance:
        # A slave that lost its tables has no epoch by which to know it from a late one.
        raise Conflict(
            f"the greeting is for slave process {hello.slave}, this is {follower.instance}: refused"
        )
    if hello.term < follower.term:
        raise Conflict(
            f"a standby has taken the place of this master (term {follower.term}, not {hello.term}): two run "
            f"as master of segment {follower.segment!r}; stop this one, or run it with --standby-of"
        )
    if hello.master in follower.former:
        # A process that is over never comes back: this one lives, and so does who took its place.
        raise Conflict(
            f"two masters of segment {follower.segment!r}: {follower.master} took the place here of "
            f"{hello.master}, which greets again; stop the one that should not be (see --role and --peer), "
            "and restart the other"
        )
    own, new = follower.table.epoch, hello.table.epoch
    if own and new == own and hello.master != follower.master:
        raise Conflict(f"epoch {new} is another master's: a new one begins above its slave's")
    _check_epoch(own, new)
    _check_tags(hello.table, hello.ask_id)
    over = () if follower.master in (None, hello.master) else (follower.master,)
    former = (*follower.former, *over)[-FORMER:]
    return replace(
        follower,
        table=hello.table,
        master=hello.master,
        former=former,
        term=hello.term,
        slave_term=max(follower.slave_term, hello.slave_term),
        dismissed=None,
        nonce=None,
    )


def dismissed(follower: Follower, slave: str, slave_term: int) -> Follower:
    """The slave whose place a standby has taken: it has no master any more. `Conflict` if it is refused."""
    if slave != follower.instance:
        raise Conflict(f"this is slave process {follower.instance}, not {slave}: refused")
    if slave_term <= follower.slave_term:
        raise Conflict(f"this slave is of term {follower.slave_term}, no older than {slave_term}: refused")
    return replace(follower, master=None, dismissed=slave_term, nonce=None)


def told(follower: Follower, segment: str, master: str, table: ChainTable, ask_id: int | None) -> Follower:
    """The slave after a chain set; `ask_id` is that of the greeting. `Conflict` if it is refused."""
    check_master(follower, master)
    _check_segment(follower, segment)
    _check_epoch(follower.table.epoch, table.epoch)
    _check_tags(table, ask_id)
    return replace(follower, table=table)


def awaiting(follower: Follower, master: str, nonce: str, now: float) -> Follower:
    """The slave that has given this nonce, and waits for the order. `Conflict` if it is refused."""
    check_master(follower, master)
    return replace(follower, nonce=nonce, at=now)


def ordered(follower: Follower, master: str, nonce: str, now: float) -> Follower:
    """The slave that carries out an order. `Conflict` if it is refused.

    A key may be the next session's by the time that an order comes again, or late: each counts once, and none
    that its master has given up.
    """
    check_master(follower, master)
    if nonce != follower.nonce:
        raise Conflict(f"order {nonce} came twice, or is older than the last one: refused")
    if now - follower.at > PATIENCE:
        raise Conflict(f"order {nonce} came after {now - follower.at:.1f} s, given up by its master: refused")
    return replace(follower, nonce=None)


def check_master(follower: Follower, master: str) -> None:
    """Raise `Conflict` unless this process is the one that greeted last."""
    if follower.master is None:
        raise Conflict("no handshake yet: shake hands first")
    if master != follower.master:
        raise Conflict(f"{follower.master} greeted last, not {master}: shake hands first")


def _check_segment(follower: Follower, theirs: str) -> None:
    if theirs != follower.segment:
        raise Conflict(
            f"message is for segment {theirs!r}, this load balancer serves {follower.segment!r}: "
            "check --peer of the master, and --segment of both"
        )


def _check_epoch(own: int, new: int) -> None:
    """The same epoch again is the same message again; an older one is late."""
    if new < own:
        raise Conflict(f"epoch {new} is older than the present one, {own}: refused")
    if own and new > own + AHEAD:
        raise Conflict(
            f"epoch {new} is from the future, the present one is {own}: refused; if its master was replaced, "
            "`catenary lb detach` here makes it forget"
        )


def _check_tags(table: ChainTable, ask_id: int | None) -> None:
    seen: dict[int, str] = {} if ask_id is None else {ask_id: "the ask ID"}
    for pair in table.pairs:
        for vid in pair.tags.ids:
            if vid in seen:
                raise Conflict(f"VLAN ID {vid} of tag pair {pair.tags} is in use already: it is {seen[vid]}")
            seen[vid] = f"of tag pair {pair.tags}"
