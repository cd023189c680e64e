"""Segments that scale by themselves: what a chain shall carry, how many there may be, and whence they come.

`AutoscaleConfig` is what operators write, `ScaleView` what the management system tells of it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, Strict, WithJsonSchema, model_validator

from catenary.config_shapes import Duration
from catenary.document import Fault, refuse
from catenary.wire import EXPLAINED, Model, Name

Mode = Literal["act", "dry-run", "paused"]
Verb = Literal["hold", "out", "in"]
CopyState = Literal["unknown", "free", "starting", "ready", "in use", "stopping", "put aside"]
INTERVAL_MIN = 1.0
"""s. A decision costs the master a look at its table."""
_PROGRAM = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]{0,63}"
_TEXT = r"[^\x00-\x1f\x7f]{0,500}"


def _text(value: str) -> str:
    if not re.fullmatch(_TEXT, value):
        raise ValueError(f"{value!r} can't be handed to a program: use up to 500 characters on one line")
    return value


def _variable(value: str) -> str:
    if not re.fullmatch(_VARIABLE, value):
        raise ValueError(f"{value!r} is no name of a variable: use A-Z, a-z, 0-9 and _, no digit first")
    return value


Positive = Annotated[float, Strict(), Field(gt=0, le=1e9)]
Text = Annotated[str, Strict(), AfterValidator(_text)]
Variable = Annotated[
    str, AfterValidator(_variable), WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE}$"})
]
Copies = Annotated[int, Strict(), Field(ge=1, le=1000)]


class TargetsConfig(Model):
    """What a chain shall carry, on average. That of them which wants most chains counts."""

    model_config = EXPLAINED

    sessions: Positive | None = None
    """live sessions"""
    new_sessions: Positive | None = None
    """new sessions a second"""
    throughput: Positive | None = None
    """Mbit/s, both ways together"""
    latency: Duration | None = None
    """of probes through the chain and back; needs a health check"""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.given:
            refuse([Fault((), "there is no target: give sessions, new_sessions, throughput or latency")])
        if self.latency == 0:
            refuse([Fault(("latency",), "no chain answers in no time: give it some milliseconds")])
        return self

    @property
    def given(self) -> dict[str, float]:
        """Those that there are, by name; latency in s."""
        return {name: value for name, value in self if value is not None}


class ProvisionerConfig(Model):
    """Whence chains come: copies of the NFs, and a program that starts and stops them, if there is one."""

    model_config = EXPLAINED

    copies: list[list[Name]] = Field(min_length=1)
    """the NFs of each chain that there may be, in forward order; the first ones are used first"""
    command: list[Text] = []
    """a program in the folder `--hooks` of the management system, and its arguments; `start` or `stop`, the
    segment and the NFs of a copy follow. Without it, all copies stand ready"""
    timeout: Duration = 60.0
    """in which the program must have ended"""
    environment: dict[Variable, Text] = {}
    """all that the program finds in its environment; no place for secrets: whoever may look reads it"""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.command and not re.fullmatch(_PROGRAM, self.command[0]):
            text = f"{self.command[0]!r} is no name of a file: programs lie in the folder --hooks; name one"
            refuse([Fault(("command", 0), text)])
        if not 0.1 <= self.timeout <= 3600:
            refuse([Fault(("timeout",), f"{self.timeout:g} s is out of bounds: use 0.1s to 1h")])
        if any(not copy for copy in self.copies):
            refuse([Fault(("copies",), "a copy without NFs is no chain: name its NFs")])
        return self


class AutoscaleConfig(Model):
    """How a segment scales by itself. Its chains are then no part of the document."""

    model_config = EXPLAINED

    mode: Mode = "act"
    """`dry-run` tells what it would do, and does nothing"""
    minimum: Copies = 1
    """chains that there are at least"""
    maximum: Copies
    """chains that there are at most, without those that cool down, and canaries"""
    targets: TargetsConfig
    """what a chain shall carry"""
    tolerance: Annotated[float, Strict(), Field(ge=0, lt=1)] = 0.1
    """so far from a target, as a share of it, nothing is done"""
    interval: Duration = 15.0
    """between decisions"""
    out_window: Duration = 0.0
    """for so long all decisions must have wanted more chains before any is added"""
    in_window: Duration = 300.0
    """for so long all decisions must have wanted fewer chains before any is removed"""
    provisioner: ProvisionerConfig
    """whence chains come"""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        faults = []
        if self.minimum > self.maximum:
            text = f"a minimum of {self.minimum} chains is above the maximum of {self.maximum}"
            faults.append(Fault(("minimum",), f"{text}: lower the one, or raise the other"))
        copies = len(self.provisioner.copies)
        if copies < self.maximum:
            text = f"there are copies for {copies} chains of {self.maximum}: add some, or lower the maximum"
            faults.append(Fault(("provisioner", "copies"), text))
        if not INTERVAL_MIN <= self.interval <= 3600:
            text = f"{self.interval:g} s is out of bounds: use {INTERVAL_MIN:g}s to 1h"
            faults.append(Fault(("interval",), text))
        refuse(faults)
        return self


class ModeRequest(Model):
    """What the autoscaler of a segment shall do from now on."""

    mode: Mode


class TargetView(Model):
    """A target, the mean of the chains, and how many chains it wants; null: not known."""

    name: str
    target: float
    value: float | None = None
    wants: int | None = None


class CopyView(Model):
    """A copy of the NFs, and what the provisioner has made of it."""

    nfs: list[Name]
    state: CopyState
    reason: str | None = None


class ScaleView(Model):
    """An autoscaler: its last decision, at the moment `at`, and the reason.

    `chains` take new sessions, `coming` are on their way, `desired` are wanted. `names`: those that were
    removed or taken back by it, or, on a dry run, would have been. `held`: nothing can be decided, though
    something may have to be. `failures` of the provisioner are counted since this management system leads.
    """

    segment: Name
    mode: Mode
    minimum: int
    maximum: int
    chains: int | None = None
    coming: int = 0
    desired: int | None = None
    verb: Verb = "hold"
    held: bool = False
    names: list[Name] = []
    reason: str
    at: float | None = None
    targets: list[TargetView] = []
    copies: list[CopyView] = []
    failures: int = 0
