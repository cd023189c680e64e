"""Who calls a service, and what a caller may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from catenary.chain import check_name
from catenary.errors import InvalidValue


class Role(StrEnum):
    """What a caller may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Caller:
    """Who a token stands for."""

    name: str
    role: Role

    def __post_init__(self) -> None:
        check_name(self.name, "name of a token")


ANYONE = Caller("anyone", Role.ADMIN)
"""Who calls a service that asks for no token: it listens on the loopback only."""


def role_of(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise InvalidValue(f"unknown role {text!r}: use {', '.join(Role)}") from None
