"""In which configuration a capture is replayed: what may be given, as text, on the command line. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self, get_type_hints

from catenary.errors import InvalidValue
from topologies.nfs.catalog import NFS

DATA_PLANES = ("ebpf", "af_packet", "pf_ring")
POLICIES = ("maglev", "p2c")
AFFINITIES = ("session", "addresses", "client")
MOST_CHAINS = 32


@dataclass(frozen=True)
class Setting:
    """`chains` copies of one chain, of one NF each, and what the pair is started with.

    By `maglev` a session has its chain by its key alone, so that two runs can be compared.
    """

    chains: int = 3
    dataplane: str = "ebpf"
    policy: str = "maglev"
    affinity: str = "session"
    nf: str = "suricata"

    def __post_init__(self) -> None:
        if not 1 <= self.chains <= MOST_CHAINS:
            raise InvalidValue(f"chains {self.chains}: use 1..{MOST_CHAINS}")
        choices = {"dataplane": DATA_PLANES, "policy": POLICIES, "affinity": AFFINITIES, "nf": NFS}
        for what, known in choices.items():
            if getattr(self, what) not in known:
                raise InvalidValue(f"{what} {getattr(self, what)!r}: use one of {', '.join(known)}")

    @property
    def name(self) -> str:
        """As `with_changes` reads it: the number of chains, and what is not as by default."""
        told = ("chains", *(field.name for field in fields(self) if vars(self)[field.name] != field.default))
        return ",".join(f"{name}={getattr(self, name)}" for name in dict.fromkeys(told))

    def with_changes(self, text: str) -> Self:
        """This one, but for what `text` names, such as `chains=1,policy=p2c`. Raises `InvalidValue`."""
        kinds = get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for word in text.split(","):
            name, sign, value = word.partition("=")
            if not sign or name not in kinds:
                raise InvalidValue(f"{word!r} in {text!r}: use NAME=VALUE, with a NAME of {', '.join(kinds)}")
            if kinds[name] is int and not (value.isascii() and value.isdecimal()):
                raise InvalidValue(f"{word!r} in {text!r}: {value!r} is no number")
            changes[name] = int(value) if kinds[name] is int else value
        return replace(self, **changes)
