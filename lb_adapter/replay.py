"""Replay a recording through the data planes, and compare where they put each session.

Every frame goes into the outer port of a master. Nothing ages meanwhile: what is asked is where sessions go,
not for how long.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catenary.chain import PairState
from catenary.errors import InvalidValue, Unsupported
from catenary.pcap import FRAME_MAX, Pcap
from catenary.session import SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter.core.check import Core, build
from lb_adapter.core.oracle import parse
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Setup, Verdict
from lb_adapter.core.splices import BpfSplice, Choice, runnable, without_slot

PLANES = ("oracle", "c", "ebpf")
SESSIONS = 65536
_NOW = 1_000_000
Send = Callable[[bytes], tuple[Verdict, bytes] | None]


def read_pcap(path: Path) -> Iterator[bytes]:
    """The frames of a classic pcap file. What the recording cut off is zeros; raises `InvalidValue`."""
    pcap = Pcap(path)
    for _, at, kept, length in pcap.frames():
        yield pcap.data[at : at + kept] + bytes(max(0, min(length, FRAME_MAX) - kept))


@dataclass
class Session:
    """A session of the recording: how many frames, and the chain that each data plane chose."""

    name: str
    frames: int = 0
    chains: dict[str, str] = field(default_factory=dict)


@dataclass
class Replay:
    """What came out. `drops` are frames that no chain got, by data plane and reason."""

    frames: int = 0
    sessions: dict[bytes, Session] = field(default_factory=dict)
    no_session: Counter[str] = field(default_factory=Counter)
    drops: dict[str, Counter[str]] = field(default_factory=dict)
    not_run: Counter[str] = field(default_factory=Counter)
    differences: list[dict[str, Any]] = field(default_factory=list)


def replay(path: Path, planes: Sequence[str], pairs: Sequence[TagPair]) -> Replay:
    """Send every frame of `path` through each of `planes`; raises `InvalidValue` or `Unsupported`."""
    if not planes or (wrong := [name for name in planes if name not in PLANES]):
        raise InvalidValue(f"data plane {', '.join(wrong) if planes else 'missing'}: use {', '.join(PLANES)}")
    ids = [vid for pair in pairs for vid in pair.ids]
    if not pairs or len(set(ids)) < len(ids):
        raise InvalidValue("the tag pairs are empty or use an ID twice: write --pairs 2,3 4,5 6,7")
    ask = next(vid for vid in range(4094, 0, -1) if vid not in ids)
    states = (PairState.ACTIVE,) * len(pairs)
    choice = Choice("master", tuple(pairs), states, Timeouts(), ask)
    result = Replay(drops={name: Counter() for name in planes})
    chains = {pair.forward: pair.path for pair in pairs}
    with ExitStack() as stack:
        setup = choice.setup(capacity=SESSIONS)
        sends = {name: _plane(name, choice, setup, stack) for name in planes}
        for frame in read_pcap(path):
            result.frames += 1
            outcomes = {name: send(frame) for name, send in sends.items()}
            _note(result, frame, outcomes, chains)
    return result


def _plane(name: str, choice: Choice, setup: Setup, stack: ExitStack) -> Send:
    if name == "oracle":
        oracle = Splice(setup)
        return lambda frame: oracle.outer(frame, _NOW)
    if name == "c":
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="catenary-"))
        c = Core(build(Path(folder))).splice(setup)
        return lambda frame: c.outer(frame, _NOW) if len(frame) <= 65536 else None
    if os.geteuid() != 0:
        raise Unsupported("--dataplane ebpf runs the programs in the kernel: be root, or use oracle,c")
    bpf = BpfSplice(choice, capacity=SESSIONS)
    stack.callback(bpf.close)
    return lambda frame: bpf.outer(frame) if runnable(frame) else None


def _note(
    result: Replay, frame: bytes, outcomes: dict[str, tuple[Verdict, bytes] | None], chains: dict[int, str]
) -> None:
    parsed = parse(frame)
    if parsed.key is None:
        result.no_session[parsed.kind] += 1
    else:
        key: SessionKey = parsed.key
        vlans = "".join(f" vlan {vid}" for vid in key.vlans if vid)
        session = result.sessions.setdefault(key.pack(), Session(f"{key}{vlans}"))
        session.frames += 1
    for name, outcome in outcomes.items():
        if outcome is None:
            result.not_run[name] += 1
            continue
        verdict = outcome[0]
        if not verdict.port:
            result.drops[name][verdict.reason] += 1
        elif parsed.key is not None:
            session.chains.setdefault(name, chains[verdict.vid])
    told = {name: (without_slot(outcome[0]), outcome[1]) for name, outcome in outcomes.items() if outcome}
    if len(set(told.values())) > 1:
        said = {name: _text(verdict, chains) for name, (verdict, _) in told.items()}
        if len(set(said.values())) == 1:
            said = {name: f"{said[name]}, frame {out.hex()}" for name, (_, out) in told.items()}
        result.differences.append({"frame": result.frames, "said": said})


def _text(verdict: Verdict, chains: dict[int, str]) -> str:
    where = f"chain {chains[verdict.vid]}" if verdict.vid in chains else verdict.port or "dropped"
    return f"{where} ({verdict.reason})"


def as_json(result: Replay) -> dict[str, Any]:
    return {
        "frames": result.frames,
        "sessions": [
            {"session": s.name, "frames": s.frames, "chains": s.chains} for s in result.sessions.values()
        ],
        "no_session": dict(result.no_session),
        "drops": {name: dict(counts) for name, counts in result.drops.items()},
        "not_run": dict(result.not_run),
        "differences": result.differences,
    }


def as_text(result: Replay) -> Iterator[str]:
    """Lines for people: sessions, what is none, drops, differences."""
    planes = list(result.drops)
    width = max([len(s.name) for s in result.sessions.values()], default=7)
    yield f"{'session':<{width}}  {'frames':>7}  " + "  ".join(f"{name:<9}" for name in planes)
    for s in result.sessions.values():
        row = "  ".join(f"{s.chains.get(name, '-'):<9}" for name in planes)
        yield f"{s.name:<{width}}  {s.frames:>7}  {row}".rstrip()
    for kind, count in sorted(result.no_session.items()):
        yield f"without a session key ({kind}): {count}"
    for name, counts in result.drops.items():
        for reason, count in sorted(counts.items()):
            yield f"{name} dropped for {reason}: {count}"
    for name, count in result.not_run.items():
        yield f"{name} could not run (too large or too small for the kernel's test run): {count}"
    for difference in result.differences:
        said = "; ".join(f"{name}: {text}" for name, text in difference["said"].items())
        yield f"DIFFERENCE in frame {difference['frame']}: {said}"
    summary = (
        f"{result.frames} frames, {len(result.sessions)} sessions, {len(result.differences)} differences"
    )
    yield f"{summary} between {', '.join(planes)}"
