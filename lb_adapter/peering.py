"""What master and slave agree on, as pure rules: who accepts which message, and when to shake hands again."""

from __future__ import annotations

from dataclasses import dataclass

from catenary.errors import Conflict


@dataclass(frozen=True)
class Peer:
    """What the master knows of its slave: the process it shook hands with, or why it could not."""

    instance: str | None = None
    epoch: int = 0
    reason: str | None = "no handshake yet"

    @property
    def connected(self) -> bool:
        return self.reason is None


def needs_handshake(peer: Peer, instance: str, epoch: int, own_epoch: int) -> bool:
    """Shake hands with a process that is new, and with one that fell behind."""
    return not peer.connected or peer.instance != instance or epoch != own_epoch


def epoch_after(own_epoch: int, peer_epoch: int) -> int:
    """The epoch to go on with: epochs only grow, also over the restart of a master that lost its own."""
    return max(own_epoch, peer_epoch + 1) if peer_epoch > own_epoch else own_epoch


def check_protocol(theirs: int, ours: int) -> None:
    if theirs != ours:
        raise Conflict(
            f"the master speaks protocol {theirs}, this slave speaks {ours}: run the same release on both"
        )


def check_segment(theirs: str, ours: str) -> None:
    if theirs != ours:
        raise Conflict(f"message is for segment {theirs!r}, this load balancer serves {ours!r}")


def check_epoch(theirs: int, ours: int) -> None:
    """The same epoch again is fine (a repeated message); an older one is a late one, and refused."""
    if theirs < ours:
        raise Conflict(f"epoch {theirs} is older than the present one, {ours}: refused")
