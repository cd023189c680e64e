"""The configuration in force, which an apply replaces while all parts go on reading it."""

from __future__ import annotations

from collections.abc import Mapping

from catenary.config import BalancerAttachment, SegmentConfig, ServiceConfig
from mgmt_system.admission import facts


class Current:
    """The configuration in force, without its chains. `put` replaces it as a whole, from any thread."""

    def __init__(self, config: ServiceConfig) -> None:
        self.put(config)

    exchanged: frozenset[str] = frozenset()
    """Load balancers whose standbys have taken their places, as the controller said last."""

    def put(self, config: ServiceConfig) -> None:
        self.config = config.model_copy(update={"chains": {}})
        self.facts = facts(config)
        network = self.config.network
        self.network = network, network.revision
        """What the controller reads, with its revision: two that go together, and one takes long to make."""

    @property
    def revision(self) -> str:
        """That of the network."""
        return self.network[1]

    @property
    def segments(self) -> Mapping[str, SegmentConfig]:
        return self.config.segments

    @property
    def balancers(self) -> Mapping[str, BalancerAttachment]:
        """Each where it is now."""
        known, exchanged = self.config.balancers, self.exchanged
        return {name: at.exchanged() if name in exchanged else at for name, at in known.items()}

    @property
    def controller_url(self) -> str:
        return self.config.controller_url
