"""A master that lost its session table, and what its slave keeps for it: affinity rules 5 and 8."""

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from lb_adapter.core.oracle_pin import State
from lb_adapter.dataplane.base import TakeOver
from tests.vectors.acting import CHAIN1, TIMES, L, Make, answer, said, setup, tcp, to_server


def a_take_over_places_nothing_until_the_copy_is_there(make: Make) -> None:
    """Rule 8: the clients' packets and all asks wait; what comes out of a chain teaches and goes on."""
    splice, dropped = make(setup()), ("", 0, "drop_take_over")
    splice.take_over = TakeOver.HOLD
    assert said(splice.outer(tcp("S"), 0)) == dropped
    assert said(splice.inner(answer("A", 4094), 0)) == dropped
    assert said(splice.inner(answer("A", 4), 0)) == dropped
    assert said(splice.inner(answer("A", 5), 0)) == ("outer", 0, "to_outer")
    assert said(splice.outer(tcp("A"), 1)) == dropped, "also what is known already: the copy may know better"
    assert (
        said(splice.outer(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", type=0x88CC)) + bytes(50), 1))[2]
        == "designated"
    )
    splice.take_over = TakeOver.NONE
    assert said(splice.outer(tcp("A"), 2)) == CHAIN1


def what_a_take_over_lost_is_counted(make: Make) -> None:
    """Rule 8: a connection under way without a pin was known to the lost table alone."""
    splice = make(setup())
    splice.take_over = TakeOver.WATCH
    splice.outer(tcp("S", port=1), 0)
    splice.outer(tcp("R", port=2), 0)
    splice.outer(to_server(UDP(sport=5, dport=53)), 0)
    assert splice.counts["orphaned"] == 0, "a new session is none, nor is what nobody can tell"
    splice.outer(tcp("A", port=3), 0)
    splice.inner(answer("SA", 4094, 4), 0)
    splice.outer(tcp("A", port=3), 1)
    assert splice.counts["orphaned"] == 2
    splice.take_over = TakeOver.NONE
    splice.outer(tcp("A", port=5), 2)
    assert splice.counts["orphaned"] == 2


def a_syn_takes_nothing_from_a_hint(make: Make) -> None:
    """Rule 5, at the slave: a late copy of its SYN, or a forged one, does not shorten a hint."""
    splice = make(setup("slave"))
    splice.inner(tcp("A", 4), 0)
    splice.inner(tcp("S", 4), 1)
    late = TIMES.tau[State.ESTABLISHED] + L
    assert said(splice.outer(answer("A"), late)) == ("inner", 4, "hint_sent")
    splice.inner(tcp("A", 4), late)
    splice.inner(answer("S", 5), late + 1)
    assert said(splice.outer(answer("A"), 2 * late)) == ("inner", 4, "hint_sent")
