"""The C core in user space, called frame by frame: compiles `check.c` and binds it.

For tests and for `catenary replay`; no packet of a real network goes this way.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cffi import FFI

from catenary.errors import Unsupported
from lb_adapter import abi
from lb_adapter.core.oracle_pin import State, Story
from lb_adapter.core.setup import Order, Setup, Verdict
from lb_adapter.dataplane import rules
from lb_adapter.dataplane.base import TakeOver

CORE = Path(__file__).parent
FLAGS = ("-O2", "-Wall", "-Werror", "-Wno-unused-function")
CLASSES = ("session", "error", "fragment", "other", "bad", "probe")
TAG_BESIDE = 0x1000
PORTS = ("", "outer", "inner")
RIVALS = ("nobody", "swaps", "inserts", "takes_away")
_REASONS = {number: name for name, number in abi.REASONS.items()}
_CDEF = """
struct check { struct config config; struct slot slots[1024]; struct vid vids[4096]; struct place_table table;
  struct outer_table outers; uint64_t loads[1024]; uint64_t reasons[64]; uint64_t traffic[66]; ...; };
struct frame { struct session_key key; struct session_key fragment; uint8_t tcp_flags, upper, error, from_low;
  uint16_t reason; };
struct verdict { uint16_t port, vid, reason, slot, reverse, outer; uint32_t ifindex; };
struct check *check_new(uint32_t limit); void check_free(struct check *); void check_clear(struct check *);
int check_parse(const uint8_t *, uint32_t length, uint16_t beside, uint32_t affinity, int forward,
  struct frame *);
uint32_t check_frame(struct check *, int inner, int endpoint, uint8_t *, uint32_t length, uint16_t beside,
  uint32_t now, struct verdict *);
uint64_t check_word(struct check *, const struct session_key *, int fragment);
const struct pin *check_pin(struct check *, const struct session_key *);
const struct ended *check_ended(struct check *, uint32_t number);
void check_mark_dead(struct check *, const struct session_key *);
void check_walk(struct check *, uint32_t now);
void check_sweep(struct check *, struct sweep *, uint32_t now);
void check_take_in(struct check *, const struct session_key *, uint64_t word, uint32_t now);
void check_rival(int does, uint32_t times, uint64_t word);
"""


def build(folder: Path, *, core: Path = CORE, compiler: str = "cc", flags: Sequence[str] = FLAGS) -> Path:
    """Compile `check.c` of `core` into `folder`; the path of the library."""
    library = folder / "check.so"
    command = [
        compiler,
        "-shared",
        "-fPIC",
        *flags,
        "-I",
        str(core),
        str(core / "check.c"),
        "-o",
        str(library),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    except FileNotFoundError:
        raise Unsupported(f"there is no C compiler {compiler!r} here: apt install gcc libc6-dev") from None
    except subprocess.CalledProcessError as error:
        raise Unsupported(f"{core / 'check.c'} does not compile: {error.stderr.strip()[-400:]}") from None
    return library


@dataclass(frozen=True)
class CParsed:
    """What the C made of a frame: as oracle.Parsed, with keys as their bytes."""

    kind: str
    key: bytes | None
    fragment: bytes | None
    tcp_flags: int
    reason: str


class Core:
    """The compiled core. Splices are made by `splice`; parsing needs none."""

    def __init__(self, library: Path) -> None:
        self.ffi = FFI()
        # cffi lays a struct out when it is first asked for: an array of one that is included needs it before.
        for name in (
            "config",
            "slot",
            "vid",
            "place_table",
            "outer_table",
            "session_key",
            "sweep",
            "pin",
            "ended",
        ):
            abi.ffi.sizeof(f"struct {name}")
        self.ffi.include(abi.ffi)
        self.ffi.cdef(_CDEF.replace("...;", "uint64_t stores[9];"))
        self.lib: Any = self.ffi.dlopen(str(library))

    def parse(
        self, frame: bytes, beside: int | None = None, affinity: str = "session", forward: bool = True
    ) -> CParsed:
        out = self.ffi.new("struct frame *")
        coarse = abi.enum("affinity")[f"AFFINITY_{affinity.upper()}"]
        raw = self.lib.check_parse(frame, len(frame), _beside(beside), coarse, forward, out)
        kind = CLASSES[raw]
        return CParsed(
            kind,
            bytes(self.ffi.buffer(self.ffi.addressof(out, "key"))) if kind in ("session", "error") else None,
            bytes(self.ffi.buffer(self.ffi.addressof(out, "fragment")))
            if out.fragment.kind and kind in ("session", "fragment")
            else None,
            int(out.tcp_flags) if kind == "session" else 0,
            _REASONS[out.reason] if kind == "bad" else "",
        )

    def splice(self, setup: Setup) -> CSplice:
        return CSplice(self, setup)


class CSplice:
    """The twin of `oracle_splice.Splice`: same set-up, same calls, the C inside."""

    def __init__(self, core: Core, setup: Setup) -> None:
        self._core, self._ffi, self._lib = core, core.ffi, core.lib
        self._check = self._ffi.gc(self._lib.check_new(setup.capacity), self._lib.check_free)
        self._buffer = self._ffi.new("uint8_t[]", 65536 + 64)
        self._verdict = self._ffi.new("struct verdict *")
        self.configure(setup)

    def configure(self, setup: Setup) -> None:
        """Set up anew; the sessions stay."""
        check, times = self._check, setup.times
        for part in ("config", "slots", "vids"):
            address = self._ffi.addressof(check, part)
            self._ffi.memmove(address, bytes(self._ffi.sizeof(address[0])), self._ffi.sizeof(address[0]))
        config = check.config
        config.miss = abi.enum("miss")["MISS_PLACE" if setup.role == "master" else "MISS_ASK"]
        config.outers = setup.outers
        config.affinity = abi.enum("affinity")[f"AFFINITY_{setup.affinity.upper()}"]
        config.policy = abi.enum("policy")[f"POLICY_{setup.policy.upper()}"]
        config.ask_vid = setup.ask_id or 0
        config.lease_ms, config.transit_ms = times.lease, times.transit
        config.refuse_full, config.rewrites = setup.refuse_full, setup.rewrites
        config.probe = abi.probe_words(setup.probes)
        for state in State:
            config.tau_ms[state] = times.promised(state)
        master = setup.role == "master"
        for number, row in setup.slots.items():
            slot = check.slots[number]
            slot.tx, slot.rx = (row.forward, row.reverse) if master else (row.reverse, row.forward)
            slot.generation = row.generation
            slot.state = abi.SLOT_STATES[f"SLOT_{row.state.upper()}"]
            slot.weight, slot.placed = row.weight, row.placed
            if not row.forward:
                continue  # a plain interface
            self._mean(row.forward, "VID_HINT" if master else "VID_CHAIN", number)
            self._mean(row.reverse, "VID_CHAIN" if master else "VID_ANSWER", number)
        if setup.ask_id is not None:
            self._mean(setup.ask_id, "VID_ASK" if master else "VID_OWN", 0)
        rules.write(check.table, setup.rules, setup.bypass)
        check.table.designated = abi.NO_SLOT if setup.designated is None else setup.designated
        entries = [abi.NO_SLOT if entry is None else entry for entry in setup.entries]
        check.table.entries[0 : abi.TABLE_SIZE] = entries
        check.outers.entries[0 : abi.OUTER_TABLE] = setup.outer_entries

    def _mean(self, vid: int, kind: str, slot: int) -> None:
        self._check.vids[vid].kind, self._check.vids[vid].slot = abi.VID_KINDS[kind], slot

    def outer(
        self, frame: bytes, now: int, beside: int | None = None, *, endpoint: int = 0
    ) -> tuple[Verdict, bytes]:
        return self._run(0, endpoint, frame, now, beside)

    def inner(
        self, frame: bytes, now: int, beside: int | None = None, *, slot: int | None = None
    ) -> tuple[Verdict, bytes]:
        return self._run(1, -1 if slot is None else slot, frame, now, beside)

    def _run(
        self, inner: int, endpoint: int, frame: bytes, now: int, beside: int | None
    ) -> tuple[Verdict, bytes]:
        self._ffi.memmove(self._buffer, frame, len(frame))
        length = self._lib.check_frame(
            self._check,
            inner,
            endpoint,
            self._buffer,
            len(frame),
            _beside(beside),
            now & 0xFFFFFFFF,
            self._verdict,
        )
        v = self._verdict
        slot = None if v.slot == abi.NO_SLOT else int(v.slot)
        verdict = Verdict(PORTS[v.port], int(v.vid), _REASONS[v.reason], slot, int(v.outer))
        return verdict, bytes(self._ffi.buffer(self._buffer, length))

    def walk(self, now: int) -> None:
        self._lib.check_walk(self._check, now & 0xFFFFFFFF)

    def sweep(self, order: Order, now: int) -> tuple[int, int]:
        """As the oracle's."""
        item = self._ffi.from_buffer("struct sweep *", bytearray(abi.sweep(order)))
        self._lib.check_sweep(self._check, item, now & 0xFFFFFFFF)
        return int(item.reset), int(item.moved)

    def take_in(self, key: bytes, word: int, now: int) -> None:
        """A pin of the other load balancer's, as the stream brings it."""
        self._lib.check_take_in(self._check, self._key(key), word, now & 0xFFFFFFFF)

    def clear(self) -> None:
        """Forget all sessions and counts."""
        self._lib.check_clear(self._check)

    def word(self, key: bytes, *, fragment: bool = False) -> int:
        """The word of a pin, or of a fragment's key; 0 if there is none."""
        return int(self._lib.check_word(self._check, self._key(key), fragment))

    def story(self, key: bytes) -> Story | None:
        """What is told of a session's pin; None if there is none."""
        pin = self._lib.check_pin(self._check, self._key(key))
        return None if pin == self._ffi.NULL else story(pin)

    @property
    def ended(self) -> list[tuple[bytes, str, Story]]:
        """Sessions that ended, and why."""
        rows, number = [], 1
        while (row := self._lib.check_ended(self._check, number)) != self._ffi.NULL:
            key = bytes(self._ffi.buffer(self._ffi.addressof(row, "key")))
            rows.append((key, abi.ENDINGS[row.why], story(row.pin)))
            number += 1
        return rows

    def rival(self, does: str, times: int = 1, word: int = 0) -> None:
        """What another CPU does at the worst moment, from now on (`enum rival` in check.c)."""
        self._lib.check_rival(RIVALS.index(does), times, word)

    def free_slot(self, slot: int) -> None:
        """Free a slot whose tags still have a meaning, as a packet may find it while a chain is forgotten."""
        self._check.slots[slot].state = abi.SLOT_STATES["SLOT_FREE"]

    def mark_dead(self, key: bytes) -> None:
        self._lib.check_mark_dead(self._check, self._key(key))

    def _key(self, key: bytes) -> Any:
        return self._ffi.from_buffer("struct session_key *", key)

    @property
    def counts(self) -> Counter[str]:
        """By reason, those that are not 0."""
        counted = {name: int(self._check.reasons[number]) for name, number in abi.REASONS.items()}
        return Counter({name: number for name, number in counted.items() if number})

    @property
    def entered(self) -> Counter[int]:
        """New sessions by the entry of the classifier, those that are not 0."""
        counted = {entry: int(self._check.traffic[1 + entry]) for entry in range(abi.MAX_RULES)}
        return Counter({entry: number for entry, number in counted.items() if number})

    @property
    def overflow(self) -> bool:
        return bool(self._check.config.overflow)

    @overflow.setter
    def overflow(self, value: bool) -> None:
        self._check.config.overflow = abi.overflow(value)

    @property
    def roomy(self) -> bool:
        return bool(self._check.config.overflow == abi.overflow(True, roomy=True))

    @roomy.setter
    def roomy(self, value: bool) -> None:
        self._check.config.overflow = abi.overflow(self.overflow, roomy=value)

    @property
    def take_over(self) -> TakeOver:
        return TakeOver(self._check.config.take_over)

    @take_over.setter
    def take_over(self, value: TakeOver) -> None:
        self._check.config.take_over = value

    def load(self, slot: int) -> int:
        """Live sessions of a slot, as p2c weighs them."""
        return int(self._check.loads[slot])


def story(pin: Any) -> Story:
    """From a `struct pin`."""
    origin = pin.origin
    other = None if origin.other == abi.NO_SLOT else int(origin.other)
    cause = abi.CAUSES[origin.cause]
    return Story(cause, int(origin.at_ms), int(origin.load), other, int(pin.packets), int(pin.bytes))


def _beside(vid: int | None) -> int:
    return 0 if vid is None else vid | TAG_BESIDE
