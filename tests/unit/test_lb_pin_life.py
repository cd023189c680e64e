"""How long a pin lives, as a property of affinity rule 5: T after the last packet, whatever came before."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lb_adapter.core.oracle_pin import (
    ACK,
    FIN,
    FROM_CLIENT,
    FROM_SERVER,
    RST,
    SYN,
    Pin,
    State,
    Times,
    expired,
    refreshed,
)

TIMES = Times(
    lease=10,
    transit=10,
    tau={
        State.OTHER: 30,
        State.UDP: 30,
        State.OPENING: 80,
        State.ESTABLISHED: 200,
        State.CLOSING: 20,
        State.NEIGHBOUR: 20,
    },
)

Packet = tuple[int, int, int]
"""Quiet ms before it, TCP flags, side."""

PACKETS = st.tuples(
    st.integers(0, 60),
    st.sampled_from([SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK]),
    st.sampled_from([FROM_CLIENT, FROM_SERVER]),
)


@given(st.lists(PACKETS, max_size=12))
@example(
    [(0, ACK, FROM_CLIENT), (0, FIN | ACK, FROM_SERVER), (0, FIN | ACK, FROM_CLIENT), (20, FIN, FROM_CLIENT)]
)
def test_a_pin_is_held_for_t_after_the_last_packet(packets: list[Packet]) -> None:
    now = 1000
    pin = Pin(0, 1, State.OPENING, now)
    for quiet, flags, side in packets:
        now += quiet
        if expired(pin, now, TIMES):
            return
        pin = refreshed(pin, now, flags, side, TIMES.transit)
        assert not expired(pin, now + TIMES.promised(pin.state) + TIMES.lease + 2 * TIMES.transit - 1, TIMES)
