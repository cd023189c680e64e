"""What `mn --custom FILE --topo NAME` takes from a file of one's own, for a network with Catenary on it.

    topos, Mininet, findController = custom.for_mn(shop=partial(Testbed, blueprint=SHOP))

Mininet's own command makes every name of the file one of its own: `topos` is where it looks for `--topo`,
`Mininet` the class of its network. So `mn --custom shop.py --topo shop` brings the whole testbed up, in
namespaces of its own and with an Open vSwitch of its own, and goes on with its prompt or `--test`. Of its
options, `--topo`, `--test`, `--pre`, `--post` and `--verbosity` count: the rest is the blueprint's to say.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from catenary.errors import CatenaryError, InvalidValue
from topologies import hold
from topologies.nfs import catalog
from topologies.topo import BlueprintTopo

Topos = dict[str, Callable[..., BlueprintTopo]]


def for_mn(**networks: Callable[..., Any]) -> tuple[Topos, type[Network], Callable[[], object]]:
    """`topos`, `Mininet` and `findController` of a file; each network is `Testbed`, with its blueprint.

    The last one is a controller that is never started: `mn` falls back to other switches if it finds none.
    """
    return {name: partial(_topo, bring_up) for name, bring_up in networks.items()}, Network, object


class Network:
    """The network of `topo` in place of Mininet's own: up between `start` and `stop`, Catenary included.

    For all else it is the `Mininet` that the testbed's wiring has made.
    """

    def __init__(self, topo: BlueprintTopo, **_options: Any) -> None:
        self.testbed, self._listening = topo.brought
        self._up = ExitStack()

    def start(self) -> None:
        with _one_line():
            self._up.enter_context(hold.up(self.testbed, self._listening))

    def stop(self) -> None:
        self._up.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.testbed.wiring.net, name)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: str) -> bool:
        return name in self.keys()


def _topo(
    bring_up: Callable[..., Any], nf: str | None = None, nf_rate: object = 40.0, **unknown: object
) -> BlueprintTopo:
    """`--topo NAME[,nf=NF][,nf_rate=MBIT]`: what each NF is, and its capacity in Mbit/s, 0 for unlimited."""
    with _one_line():
        if unknown:
            raise InvalidValue(f"--topo: no parameter {next(iter(unknown))!r} here, there are nf and nf_rate")
        if not isinstance(nf_rate, int | float) or nf_rate < 0:
            raise InvalidValue(f"--topo: nf_rate={nf_rate}: say Mbit/s, as in nf_rate=40, or 0 for unlimited")
        made = {} if nf is None else {"nf": catalog.named(nf)}
        # For `sh catenary ...` at the prompt, however `mn` was started.
        os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        listening = hold.enter()
        testbed = bring_up(**made, nf_rate_mbit=nf_rate or None, timeouts=hold.TIMEOUTS)
    topo: BlueprintTopo = testbed.wiring.topo
    topo.brought = testbed, listening
    return topo


@contextmanager
def _one_line() -> Iterator[None]:
    """An error ends `mn` with one line: one that it catches would have it clean up the whole machine."""
    try:
        yield
    except CatenaryError as error:
        print(f"testbed: {error.detail}", file=sys.stderr)
        sys.exit(error.exit_code)
