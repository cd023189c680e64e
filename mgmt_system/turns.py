"""Whose turn it is: of several management systems on one store the leader works, the others read along."""

from __future__ import annotations

import structlog

from catenary.config import ServiceConfig
from catenary.errors import CatenaryError
from mgmt_system.current import Current
from mgmt_system.store.ledger import Ledger

log = structlog.get_logger("mgmt_system")


class Turns:
    """`first` is in force until a configuration is in the store."""

    def __init__(self, ledger: Ledger, network: Current, first: ServiceConfig) -> None:
        self._ledger = ledger
        self._network = network
        self._first = first
        self._fault = ""

    def mine(self) -> bool:
        """Does this one lead? Who does not, or has just begun to, reads what the others wrote first."""
        if self._ledger.leads:
            return True
        term = self._ledger.standing.term
        try:
            changed = self._ledger.catch_up()
            if changed or term:
                self._network.put(self._ledger.configured(self._first))
            if term:
                self._ledger.lead(term)
        except CatenaryError as error:
            if error.detail != self._fault:
                log.warning("can't read what the leader wrote", reason=error.detail)
            self._fault = error.detail
        else:
            self._fault = ""
        return self._ledger.leads
