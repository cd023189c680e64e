"""What can be asked for from the page; each is told beforehand and must be confirmed."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from nicegui import ui

from catenary import durations, wire
from catenary.chain import WEIGHT_DEFAULT, WEIGHT_MAX, ChainState
from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from catenary.plans import PlanView
from mgmt_system import figures
from mgmt_system.dashboard.dialogs import Asker, Dialog
from mgmt_system.dashboard.hub import Hub
from mgmt_system.options import tags_of

WEIGHTS = 50
"""Chains whose weights one dialog offers."""
VERBS = {
    "remove": "remove_chain",
    "cancel": "cancel_removal",
    "cordon": "cordon_chain",
    "uncordon": "uncordon_chain",
    "promote": "promote_canary",
}
"""What can be asked of a chain in the table, and the call that it takes."""
_WAIT = "wait until they end"
_THEN: dict[str, wire.Then] = {"reset them after": "reset", "rebalance them after": "rebalance"}


class Actions:
    """Changes of chains and segments."""

    def __init__(self, hub: Hub, ask: Asker) -> None:
        self._hub = hub
        self._ask = ask

    async def act(self, verb: str, chain: str) -> None:
        match verb:
            case "remove":
                await self.remove(chain)
            case "cancel":
                text = "The chain takes new sessions again. It fails if its tags are closed by then."
                self._simple(f"Take {chain} back?", text, "Take back", lambda it: it.cancel_removal(chain))
            case "cordon":
                self.cordon(chain)
            case "uncordon":
                text = "The chain gets its weight back, and new sessions with it."
                self._simple(f"Uncordon {chain}?", text, "Uncordon", lambda it: it.uncordon_chain(chain))
            case "promote":
                text = "The canary is a chain like the others from now on, with their weight."
                self._simple(f"Promote {chain}?", text, "Promote", lambda it: it.promote_canary(chain))

    def cordon(self, chain: str) -> None:
        with Dialog(f"Cordon {chain}?") as dialog:
            dialog.text("The chain gets no new session. Its live ones stay, and so does the chain.")
            force = ui.checkbox("Even if it is the last that takes sessions")
            why = dialog.why()
            dialog.confirm(
                "Cordon",
                lambda: self._ask(
                    lambda client: client.cordon_chain(chain, force=force.value), why.value or None
                ),
            )

    def insert(self) -> None:
        """Put the pair of a segment into the way of its traffic."""
        config = self._hub.view().config
        if config is None:
            return
        with Dialog("Insert a pair") as dialog:
            dialog.text("It is put around the chain that carries the traffic; live sessions stay there.")
            names = list(config.segments)
            segment = ui.select(names, value=names[0], label="Segment")
            why = dialog.why()
            dialog.confirm(
                "Insert pair",
                lambda: self._ask(lambda client: client.insert(segment.value), why.value or None),
            )

    def _simple(self, title: str, text: str, button: str, call: Callable[[ManagementClient], object]) -> None:
        with Dialog(title) as dialog:
            dialog.text(text)
            why = dialog.why()
            dialog.confirm(button, lambda: self._ask(call, why.value or None))

    def add(self) -> None:
        config = self._hub.view().config
        if config is None:
            return
        used = {nf for chain in self._hub.view().chains.values() if _live(chain) for nf in chain.nfs}
        free = [nf for nf in config.nfs if nf not in config.fixed and nf not in used]
        with Dialog("Add a chain") as dialog:
            dialog.text("A new copy of the network functions takes its share of new sessions.")
            names = list(config.segments)
            segment = ui.select(names, value=names[0], label="Segment")
            segment.set_visibility(len(names) > 1)
            nfs = ui.select(free, multiple=True, label="NFs, client side first").props("use-chips")
            name = ui.input("Name (made up if empty)")
            weight = ui.number("Weight", value=WEIGHT_DEFAULT, min=0, max=WEIGHT_MAX, precision=0)
            canary = ui.number("Or as a canary: % of new sessions", min=1, max=50, precision=0)
            tags = ui.input("Tag pair (chosen if empty)", placeholder="4,5")
            why = dialog.why()

            async def confirmed() -> object:
                if not nfs.value:
                    raise CatenaryError("choose the NFs of the chain, in order")
                request = wire.ChainRequest.model_validate(
                    {
                        "nfs": nfs.value,
                        "name": name.value.strip() or None,
                        "weight": WEIGHT_DEFAULT if canary.value else int(weight.value or 0),
                        "canary": int(canary.value) if canary.value else None,
                        "tags": tags_of(tags.value) if tags.value else None,
                        "segment": segment.value,
                    }
                )
                return await self._ask(lambda client: client.add_chain(request), why.value or None)

            dialog.confirm("Add chain", confirmed)

    async def remove(self, chain: str) -> None:
        known = self._hub.view().chains.get(chain)
        if known is None:
            return
        with Dialog(f"Remove {chain}?") as dialog:
            dialog.text("It takes no new session from now on, and goes when its last one has ended.")
            if known.state is ChainState.ACTIVE:
                dialog.html(await self._forecast(chain))
            then = ui.select([_WAIT, *_THEN], value=_WAIT, label="Its live sessions")
            after = ui.input("After", value="60s").bind_visibility_from(then, "value", lambda it: it != _WAIT)
            force = ui.checkbox("Even if no chain is left: traffic is then dropped")
            why = dialog.why()

            async def confirmed() -> object:
                choice = _THEN.get(then.value)
                deadline = durations.parse(after.value) if choice else None
                return await self._ask(
                    lambda client: client.remove_chain(
                        chain, force=force.value, deadline=deadline, then=choice
                    ),
                    why.value or None,
                )

            dialog.confirm("Remove chain", confirmed, danger=True)

    async def _forecast(self, chain: str) -> str:
        """What the plan of a removal says of it."""

        def plan(client: ManagementClient) -> PlanView:
            config = client.config()
            rest = {name: entry for name, entry in config.chains.items() if name != chain}
            return client.plan(config.model_copy(update={"chains": rest}), force=True)

        try:
            found = await self._ask(plan)
        except CatenaryError as error:
            return f"<p>{escape(error.detail)}</p>"
        return "".join(_told(segment) for segment in found.segments)

    def rebalance(self) -> None:
        view = self._hub.view()
        segments = list(view.config.segments) if view.config else []
        with Dialog("Rebalance") as dialog:
            dialog.text("New sessions are spread by these weights. Live ones stay where they are.")
            segment = ui.select(segments, value=segments[0] if segments else None, label="Segment")
            segment.set_visibility(len(segments) > 1)
            fields = ui.element("div")
            weights: dict[str, ui.number] = {}

            def offer() -> None:
                fields.clear()
                weights.clear()
                chains = [one for one in view.chains.values() if one.segment == segment.value]
                active = [
                    one for one in chains if one.state is ChainState.ACTIVE and one.nfs and not one.cordoned
                ]
                with fields:
                    for one in active[:WEIGHTS]:
                        number = ui.number(one.name, value=one.weight, min=0, max=WEIGHT_MAX, precision=0)
                        weights[one.name] = number.props("dense").classes("w-full")

            offer()
            segment.on_value_change(offer)
            idle = ui.input("Move sessions that are idle for (empty: none)", placeholder="300s")
            force = ui.checkbox("Also while the session table overflows: may break sessions")
            why = dialog.why()

            async def confirmed() -> object:
                changed = [
                    wire.PairWeight(**view.chains[name].tags.model_dump(), weight=int(number.value or 0))
                    for name, number in weights.items()
                    if int(number.value or 0) != view.chains[name].weight
                ]
                moved = durations.parse(idle.value) if idle.value else None
                request = wire.Rebalance(weights=changed, move_idle=moved, force=force.value)
                return await self._ask(
                    lambda client: client.rebalance(request, segment=segment.value), why.value or None
                )

            dialog.confirm("Rebalance", confirmed)


def _live(chain: wire.ChainView) -> bool:
    return chain.state not in (ChainState.REMOVED, ChainState.FAILED)


def _told(segment: Any) -> str:
    """A plan's word on a removal: sessions, cool-down, and whose share grows."""
    told = ""
    for item in segment.cooling:
        sessions = figures.count(item.sessions)
        told += f"<p>{sessions} live sessions stay on it until they end. "
        if item.p50 is None or item.p95 is None:
            told += "How long that takes is not known.</p>"
        else:
            told += f"Predicted cool-down: {figures.seconds(item.p50)} to {figures.seconds(item.p95)}.</p>"
    rows = "".join(
        f"<tr><td>{escape(shift.chain)}</td><td class='num'>{figures.share(shift.before)}</td>"
        f"<td class='num'>{figures.share(shift.after)}</td></tr>"
        for shift in segment.shares[:12]
    )
    head = "<tr><th>share of new sessions</th><th>now</th><th>then</th></tr>"
    return f"{told}<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
