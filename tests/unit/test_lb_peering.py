"""What master and slave accept of each other."""

from __future__ import annotations

import pytest

from catenary.errors import Conflict
from lb_adapter import peering
from lb_adapter.peering import Peer


def test_handshake_with_whom() -> None:
    met = Peer("a", 3, None)
    assert peering.needs_handshake(Peer(), "a", 0, 0), "never met"
    assert not peering.needs_handshake(met, "a", 3, 3)
    assert peering.needs_handshake(met, "b", 3, 3), "another process"
    assert peering.needs_handshake(met, "a", 2, 3), "it fell behind"
    assert peering.needs_handshake(Peer("a", 3, "lost"), "a", 3, 3), "it was lost"


def test_epochs_only_grow() -> None:
    assert peering.epoch_after(5, 3) == 5
    assert peering.epoch_after(3, 3) == 3
    assert peering.epoch_after(0, 7) == 8


def test_refusals_name_both_values() -> None:
    peering.check_epoch(4, 4)
    with pytest.raises(Conflict, match="epoch 3 is older than the present one, 4"):
        peering.check_epoch(3, 4)
    with pytest.raises(Conflict, match="protocol 2, this slave speaks 1"):
        peering.check_protocol(2, 1)
    with pytest.raises(Conflict, match="segment 'b'"):
        peering.check_segment("b", "a")
