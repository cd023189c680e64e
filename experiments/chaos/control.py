"""The simulator's control link: calls of the master to its slave get lost, come late, or come twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from catenary.errors import CatenaryError, Unavailable
from lb_adapter.peering import PATIENCE
from lb_adapter.slave import Slave

TICK = 50
"""ms between two ticks of a daemon."""
_TELLING = ("handshake", "put_chain_set", "nonce", "sweep")


class Around(Protocol):
    """What the link knows of its world."""

    rng: random.Random
    slave: Slave
    slow_slave: bool

    def later(self, delay: int, call: Callable[[], None], *, control: bool = False) -> None: ...
    def go_on(self, span: int) -> None: ...
    def broke(self, promise: str) -> None: ...


class LossyPeer:
    """The control link: a call may be lost on its way, or its answer may; `loss` is the share."""

    url = "simulated"

    def __init__(self, world: Around, loss: float) -> None:
        self._world = world
        self._loss = loss
        self._obeyed: set[str] = set()
        """Nonces of orders that were carried out."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            world, share = self._world, self._loss
            if name == "put_chain_set" and world.slow_slave:
                world.later(2 * TICK, lambda: self._again(name, *arguments), control=True)
                return None
            if name in _TELLING and world.rng.random() < share:
                # A copy of it comes again, late and after others: it must do no harm.
                delay = world.rng.randint(1, 60 * TICK if name == "sweep" else 20 * TICK)
                late = delay > 1000 * PATIENCE
                world.later(delay, lambda: self._again(name, *arguments, late=late), control=True)
            if world.rng.random() < share / 2:
                raise Unavailable("the call is lost")
            answer = getattr(world.slave, name)(*arguments)
            if name == "sweep":
                self._obeyed.add(arguments[0].nonce)
            if name == "pins":
                return self._cut(answer)
            if name in ("put_chain_set", "sweep"):
                world.go_on(world.rng.choice((0, 0, 5, 40)))  # the slave knows, and the master not yet
            if world.rng.random() < share / 2:
                raise Unavailable("the answer is lost")
            return answer

        return call

    def _cut(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        """A copy of the session table, which traffic goes on beside, and which may end in the middle."""
        world = self._world
        whole = b"".join(stream)
        if world.rng.random() < self._loss:
            whole = whole[: world.rng.randint(0, len(whole) - 1)]
        world.go_on(world.rng.choice((0, 5, 40)))
        yield whole

    def _again(self, name: str, *arguments: Any, late: bool = False) -> None:
        """An order must not be carried out twice, nor after the master has given it up."""
        try:
            getattr(self._world.slave, name)(*arguments)
        except CatenaryError:
            return
        if name == "sweep" and (late or arguments[0].nonce in self._obeyed):
            self._world.broke(f"an order that was late or came twice was carried out: {arguments[0]}")
        elif name == "sweep":
            self._obeyed.add(arguments[0].nonce)
