"""Seeded mistakes in the C core, and what must catch each one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lb_adapter.core.check import CORE, Core, build
from lb_adapter.core.oracle import parse
from lb_adapter.core.oracle_pin import Pin, State
from lb_adapter.core.setup import Order
from tests.vectors.acting import answer, said, setup, tcp
from tests.vectors.reading import read_all
from tests.vectors.scenarios import SCENARIOS


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str
    by_frames: bool = True
    """Is it in what becomes of a frame? Else in the walk, in an order, in what the peer sends, or in what
    only looks like a probe."""


MUTANTS = (
    Mutant(
        "ends are not sorted by port", "key.h", "return __builtin_bswap16(key->low_port) >", "return 0 &&"
    ),
    Mutant(
        "a fragment's offset of 8 is taken for a first fragment",
        "parse.h",
        "fragment & 0x1fff",
        "fragment & 0x1ffe",
    ),
    Mutant("padding is taken for a header", "parse.h", "l4 + 20 > end || size < 20", "l4 + 20 > end"),
    Mutant("an atomic fragment is noted", "parse.h", "if (fragment)\n\t\t\t\tnote", "if (1)\n\t\t\t\tnote"),
    Mutant("AH is measured in words of 8 bytes", "parse.h", "(h[1] + 2) * 4", "(h[1] + 1) * 8"),
    Mutant(
        "the priority gets into the key",
        "parse.h",
        "vid = load16(data + offset) & 0x0fff",
        "vid = load16(data + offset)",
    ),
    Mutant(
        "an answer overwrites a lease",
        "splice.h",
        "if (!overwrite && lease_decides(",
        "if (0 && lease_decides(",
    ),
    Mutant(
        "a hint beats the pin",
        "place.h",
        "if (slot == NO_SLOT && may_place(e)) {",
        "if ((slot == NO_SLOT || hint != NO_SLOT) && may_place(e)) {",
    ),
    Mutant(
        "a classifier asks for the client's port",
        "classify.h",
        "client_low ? key->high_port : key->low_port",
        "client_low ? key->low_port : key->high_port",
    ),
    Mutant(
        "a classifier takes asks for the client's",
        "place.h",
        "f->from_low ^ !!e->from_inner",
        "f->from_low",
    ),
    Mutant(
        "a range ends before its last port",
        "classify.h",
        "above = r->last_port - j->port",
        "above = r->last_port - j->port - 1",
    ),
    Mutant("a prefix of IPv6 holds IPv4", "classify.h", "(r->client_ipv6 & j->client_ipv4)", "0"),
    Mutant(
        "only the outermost tag is classified",
        "classify.h",
        "outer * inner",
        "outer",
    ),
    Mutant(
        "what passes by is placed",
        "classify.h",
        "a->slot = a->other = t->bypass;\n\t\treturn;",
        ";",
    ),
    Mutant("ARP passes by", "classify.h", "key->kind == KIND_ARP || key->kind == KIND_ND", "0"),
    Mutant(
        "without room what passes by is placed",
        "place.h",
        "slot : plain_slot(e, &f->key, client_is_low(e, f))",
        "slot : plain_slot(e, &f->key, !client_is_low(e, f))",
        by_frames=False,
    ),
    Mutant(
        "what is judged by its ends is evicted",
        "upkeep.h",
        "plain_slot(e, key, 0) == pin_slot(word) &&",
        "",
        by_frames=False,
    ),
    Mutant("an ICMP error refreshes its pin", "place.h", "side, class == FRAME_ERROR, &", "side, 0, &"),
    Mutant(
        "a pin expires one D early",
        "pin.h",
        "c->lease_ms + 2 * c->transit_ms;",
        "c->lease_ms + c->transit_ms;",
    ),
    Mutant("a closing pin forgets its late packets", "pin.h", "tau += 2 * c->transit_ms", "tau += 0"),
    Mutant(
        "a closing pin is reopened at once",
        "pin.h",
        "<= 2 * c->transit_ms)\n\t\t\t\treturn word;",
        "< 0)\n\t\t\t\treturn word;",
    ),
    Mutant(
        "a FIN is overlooked", "pin.h", "(TCP_SYN | TCP_FIN | TCP_RST)) && (", "(TCP_SYN | TCP_RST)) && ("
    ),
    Mutant(
        "a lease overlooks a FIN",
        "pin.h",
        "(TCP_SYN | TCP_FIN | TCP_RST)) && word",
        "(TCP_SYN | TCP_RST)) && word",
    ),
    Mutant("a SYN ends no tombstone", "pin.h", "return opens(flags) && !(flags", "return 0 && !(flags"),
    Mutant(
        "a SYN leaves the chain of a reset at once",
        "place.h",
        "revives(flags) && pin_age(word, e->now) <= 2 * e->c->transit_ms",
        "revives(flags) && pin_age(word, e->now) < 0",
    ),
    Mutant(
        "a SYN reopens a closed chain",
        "place.h",
        "s->generation == pin_generation(word) && s->state != SLOT_CLOSED;",
        "s->generation == pin_generation(word);",
        by_frames=False,
    ),
    Mutant("a RST is answered", "splice.h", "!f->fragment.kind && !(flags & TCP_RST)", "!f->fragment.kind"),
    Mutant("a FIN has no number", "reset.h", "!!(flags & TCP_FIN)", "0"),
    Mutant(
        "what closed just now is idle",
        "upkeep.h",
        "? 2 * e->c->transit_ms : 0);",
        "? 0 : 0);",
        by_frames=False,
    ),
    Mutant(
        "what is under way ends a tombstone",
        "splice.h",
        "if (!revives(f->tcp_flags))\n\t\t\t\treturn slot;",
        ";",
    ),
    Mutant(
        "a take-over answers asks",
        "splice.h",
        "f, class, slot);\n\tif (e->c->take_over == TAKE_OVER_HOLD)",
        "f, class, slot);\n\tif (0)",
    ),
    Mutant(
        "the stream moves what was seen here",
        "upkeep.h",
        "if (is_foreign(e, old))\n\t\treturn word;",
        "return word;",
        by_frames=False,
    ),
    Mutant(
        "the stream makes nothing younger",
        "upkeep.h",
        "return (old & ~0xffffffffULL) | (__u32)word;",
        "return old;",
        by_frames=False,
    ),
    Mutant(
        "the stream makes closing begin later",
        "upkeep.h",
        "pin_state(old) == PIN_CLOSING || pin_slot(old)",
        "pin_slot(old)",
        by_frames=False,
    ),
    Mutant(
        "the stream brings back what is gone",
        "upkeep.h",
        "is_tombstone(word) || !in_force(e, word))",
        "is_tombstone(word))",
        by_frames=False,
    ),
    Mutant("a client's packet does not make a pin its own", "place.h", "next = pin_own(next)", "next = next"),
    Mutant("an ask makes a pin of its own", "place.h", "e->c->rewrites &&", "0 &&"),
    Mutant(
        "what the stream brought is evicted",
        "upkeep.h",
        "PIN_OPENING && !is_foreign(e, word) &&",
        "PIN_OPENING &&",
        by_frames=False,
    ),
    Mutant(
        "neighbours weigh",
        "pin.h",
        "pin_state(word) != PIN_CLOSING && pin_state(word) != PIN_NEIGHBOUR;",
        "pin_state(word) != PIN_CLOSING;",
    ),
    Mutant(
        "the next connection on a key weighs nothing",
        "place.h",
        "else if (pin_state(word) == PIN_CLOSING && pin_state(next)",
        "else if (0 && pin_state(next)",
    ),
    Mutant("an orphan is not told", "place.h", "f->key.kind == PROTO_TCP && !opens", "0 && !opens"),
    Mutant(
        "in overflow p2c goes on",
        "place.h",
        "leaf_count(e, placed_in_overflow);\n\t\treturn a.slot;",
        "leaf_count(e, placed_in_overflow);",
    ),
    Mutant("a probe of a cut length is one", "probe.h", " && bytes >= PROBE_BYTES", "", by_frames=False),
    Mutant(
        "one of the probes' addresses is enough",
        "probe.h",
        "k->high_addr[1] == c->probe[1] && c->probe[0] &&",
        "c->probe[0] &&",
        by_frames=False,
    ),
    Mutant("a tagged frame is a probe", "probe.h", " && !k->vlan[0]", "", by_frames=False),
    Mutant(
        "an answer keeps the probe's addresses",
        "probe.h",
        "swap_bytes(p + PROBE_IP + 12, p + PROBE_IP + 16, 4);",
        "",
    ),
    Mutant("an answer to an echo is another echo", "probe.h", "upper[0] = ICMP_REPLY;", ""),
    Mutant("a refusal acknowledges no SYN", "probe.h", "load32(upper + 8) + 1", "load32(upper + 8)"),
    Mutant(
        "a checksum keeps no carry",
        "probe.h",
        "(__u16)~raw16(p) + (__u16)~before + after",
        "(__u16)((__u16)~raw16(p) + (__u16)~before + after)",
    ),
)


def seed(mutant: Mutant, core: Path) -> None:
    """Put the mistake into a copy of the core."""
    path = core / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, (
        f"{mutant.name}: {mutant.old!r} is there {text.count(mutant.old)} times"
    )
    path.write_text(text.replace(mutant.old, mutant.new))


def compile_mutant(mutant: Mutant, folder: Path) -> Core:
    """A copy of the core with one mistake in it."""
    core = folder / "core"
    shutil.copytree(CORE, core, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    seed(mutant, core)
    return Core(build(folder, core=core, flags=("-O1", "-w")))


def met_dead_mark(core: Core) -> None:
    """Affinity rule 1: what meets the walk's mark is dropped and counted, and places nothing."""
    splice = core.splice(setup())
    splice.outer(tcp("S"), 0)
    key = parse(tcp("S")).key
    assert key is not None
    splice.mark_dead(key.pack())
    assert said(splice.outer(tcp("A"), 1)) == ("", 0, "drop_dead_pin")
    assert said(splice.inner(answer("A", 5), 1)) == ("", 0, "drop_dead_pin")
    assert said(splice.inner(answer("A", 4094), 1)) == ("", 0, "drop_dead_pin")
    assert said(splice.inner(answer("A", 4), 1)) == ("", 0, "drop_dead_pin")
    splice.walk(2)
    assert said(splice.outer(tcp("A"), 2)) == ("inner", 2, "to_chain")
    slave = core.splice(setup("slave"))
    slave.inner(tcp("A", 2), 0)
    slave.mark_dead(key.pack())
    assert said(slave.outer(answer("A"), 1)) == ("inner", 4094, "ask_sent")
    assert said(slave.inner(tcp("A", 2), 1)) == ("outer", 0, "to_outer")


def met_a_rival(core: Core) -> None:
    """Another CPU in between: the loser of a race takes the winner's chain, and no FIN is lost (rule 1)."""
    key = parse(tcp("S")).key
    assert key is not None
    raw, chain0, chain1 = key.pack(), ("inner", 2, "to_chain"), ("inner", 4, "to_chain")

    def pin(slot: int, seen: int, state: State = State.ESTABLISHED) -> int:
        return Pin(slot, 1, state, seen).word()

    splice = core.splice(setup())
    splice.rival("inserts", 1, pin(1, 5))
    assert said(splice.outer(tcp("S"), 5)) == chain1
    assert splice.counts["insert_race_lost"] == 1

    splice.rival("swaps", 1, pin(1, 6))
    splice.outer(tcp("FA"), 6)
    assert splice.word(raw) >> 61 & 3 == 1, "the FIN is there although another packet came between"
    splice.rival("swaps", 9, pin(1, 7))
    assert said(splice.outer(tcp("A"), 8)) == chain1, "who never wins still follows the pin"

    splice.rival("swaps", 1, pin(1, 200_000))
    assert said(splice.outer(tcp("A"), 200_000)) == chain1, "another packet revived it first"
    splice.rival("swaps", 9, pin(1, 150_000))
    assert said(splice.outer(tcp("A"), 400_000)) == ("", 0, "drop_no_chain")

    splice = core.splice(setup())
    splice.rival("takes_away", 1)
    assert said(splice.outer(tcp("S"), 0)) == chain0
    assert not splice.overflow, "an entry that the walk took away meanwhile is no full table"
    splice.free_slot(1)
    assert said(splice.inner(answer("A", 5, 2), 0)) == ("outer", 0, "to_outer")
    assert said(splice.inner(answer("A", 4, 3), 0)) == ("inner", 3, "ask_answered")

    splice = core.splice(setup())
    splice.rival("inserts", 1, pin(0, 5, State.RESET))
    assert said(splice.outer(tcp("A"), 5)) == ("outer", 0, "session_reset"), "it was reset just before"
    splice.rival("inserts", 1, pin(0, 5, State.RESET))
    assert said(splice.inner(answer("A", 3, 2), 5)) == ("inner", 2, "session_reset")
    splice.outer(tcp("A", port=3), 5)
    splice.rival("swaps", 1, pin(0, 9))
    assert splice.sweep(Order("delete", idle=3), 10) == (0, 0), "a packet just before kept it"
    splice.rival("swaps", 9, pin(0, 10))
    assert splice.sweep(Order("reset"), 10) == (0, 0), "who never wins ends nothing"

    slave = core.splice(setup("slave"))
    slave.rival("inserts", 1, pin(0, 5, State.RESET))
    assert said(slave.inner(tcp("A", 2), 5)) == ("outer", 0, "to_outer")
    assert slave.word(raw) >> 58 & 7 == State.RESET
    slave.mark_dead(raw)
    assert said(slave.outer(answer("A"), 5)) == ("inner", 4094, "ask_sent")
    slave = core.splice(setup("slave"))
    slave.inner(tcp("A", 2), 0)
    slave.rival("swaps", 1, pin(1, 5))
    assert said(slave.inner(answer("A", 3), 3000)) == ("inner", 3, "to_chain")
    slave.rival("swaps", 9, pin(1, 3000))
    assert said(slave.inner(tcp("A", 2), 3000)) == ("outer", 0, "to_outer")
    slave.rival("nobody")
    slave.inner(tcp("A", 4), 3001)
    slave.inner(tcp("A", 4), 3001)
    slave.free_slot(2)
    assert said(slave.inner(answer("A", 7, 2), 3001)) == ("", 0, "drop_no_chain")
    assert said(slave.inner(tcp("A", 6, 2), 3001)) == ("outer", 0, "to_outer")


def caught_by(core: Core) -> str:
    """The first golden vector or scenario that this core fails; empty if it passes all."""
    for vector in read_all():
        parsed = core.parse(vector.frame, vector.beside, vector.affinity, vector.forward)
        found = (parsed.kind, parsed.reason, parsed.key, parsed.fragment, parsed.tcp_flags)
        if found != (vector.kind, vector.reason, vector.key, vector.fragment, vector.tcp_flags):
            return vector.name
    for scenario in SCENARIOS:
        try:
            scenario(core.splice)  # type: ignore[arg-type]
        except AssertionError:
            return scenario.__name__
    return ""
