"""What a load balancer's machine took in and let out."""

from __future__ import annotations

from experiments.evaluation.carried import Frames, counted

DEV = """\
Inter-| Receive | Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls
    lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
l1-outer: 1000 10 0 3 0 0 0 0 400 4 0 1 0 0 0 0
l1-inner: 500 5 0 0 0 0 0 0 700 6 0 0 0 0 0 0
"""


def test_what_the_kernel_had_no_room_for_did_not_come_and_what_the_wire_refused_has_left() -> None:
    assert counted(DEV, ("l1-outer", "l1-inner")) == Frames(10 - 3 + 5, 4 + 1 + 6)
    assert counted(DEV, ("l1-inner",)) == Frames(5, 6)
