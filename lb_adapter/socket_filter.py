"""Classic BPF for a packet socket: frames of one chain, and of these the ones of two addresses. Pure.

It lets pass a little too much: whose session a frame is, its reader decides.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from catenary.session import Address

# struct sock_filter (linux/filter.h): class | size | mode, or class | operation.
LOAD_WORD, LOAD_HALF, AND, JUMP_IF_EQUAL, RETURN = 0x20, 0x28, 0x54, 0x15, 0x06
_ANCILLARY = 0xFFFFF000
PACKET_TYPE, VLAN_TCI, VLAN_PRESENT = _ANCILLARY + 4, _ANCILLARY + 44, _ANCILLARY + 48
OUTGOING = 4
"""PACKET_OUTGOING: the kind of a frame that is being sent."""
_CTAG, _IPV4, _IPV6 = 0x8100, 0x0800, 0x86DD
_VLAN_TAG = 4
_TYPE_AT, _PAYLOAD_AT, _VID_MASK = 12, 14, 0x0FFF
_WHOLE = 0x40000
_ADDRESSES_AT = {4: (12, 16), 6: (8, 24)}


@dataclass
class _Program:
    """Instructions with labels for jumps; the next instruction where there is none."""

    rows: list[tuple[int, str, str, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def at(self, label: str) -> None:
        self.labels[label] = len(self.rows)

    def do(self, code: int, k: int) -> None:
        self.rows.append((code, "", "", k))

    def jump(self, k: int, yes: str, no: str = "") -> None:
        self.rows.append((JUMP_IF_EQUAL, yes, no, k))

    def packed(self) -> bytes:
        def distance(label: str, here: int) -> int:
            return self.labels[label] - here - 1 if label else 0

        rows = enumerate(self.rows)
        return b"".join(
            struct.pack("=HBBI", code, distance(yes, here), distance(no, here), k)
            for here, (code, yes, no, k) in rows
        )


def program(sent: int, received: int, addresses: Sequence[Address] = (), tags: int = 0) -> bytes:
    """Rows of `struct sock_filter`: frames that are sent with VLAN ID `sent`, or received with `received`.

    Where `addresses` are given, which are of one family, only those from or to one of them. The packet that
    they are looked for in lies behind so many `tags` of the user's.
    """
    made = _Program()
    made.do(LOAD_WORD, PACKET_TYPE)
    made.jump(OUTGOING, "sent", "received")
    for label, vid in (("sent", sent), ("received", received)):
        made.at(label)
        _check_tag(made, label, vid)
    for label, ahead in (("beside", 0), ("within", _VLAN_TAG)):
        made.at(label)
        _check_addresses(made, addresses, ahead + tags * _VLAN_TAG, label)
    made.at("take")
    made.do(RETURN, _WHOLE)
    made.at("drop")
    made.do(RETURN, 0)
    return made.packed()


def _check_tag(made: _Program, label: str, vid: int) -> None:
    """The tag may lie beside the frame, where the card or the kernel took it off, or still within it."""
    made.do(LOAD_WORD, VLAN_PRESENT)
    made.jump(0, f"{label} within")
    made.do(LOAD_WORD, VLAN_TCI)
    made.do(AND, _VID_MASK)
    made.jump(vid, "beside", "drop")
    made.at(f"{label} within")
    made.do(LOAD_HALF, _TYPE_AT)
    made.jump(_CTAG, "", "drop")
    made.do(LOAD_HALF, _PAYLOAD_AT)
    made.do(AND, _VID_MASK)
    made.jump(vid, "within", "drop")


def _check_addresses(made: _Program, addresses: Sequence[Address], ahead: int, label: str) -> None:
    if not addresses:
        made.jump(0, "take", "take")
        return
    version = addresses[0].version
    made.do(LOAD_HALF, _TYPE_AT + ahead)
    made.jump(_IPV4 if version == 4 else _IPV6, "", "drop")
    for offset in _ADDRESSES_AT[version]:
        for number, address in enumerate(addresses):
            following = f"{label} {offset} {number}"
            words = [word for (word,) in struct.iter_unpack("!I", address.packed)]
            for index, word in enumerate(words):
                made.do(LOAD_WORD, _PAYLOAD_AT + ahead + offset + 4 * index)
                made.jump(word, "take" if index == len(words) - 1 else "", following)
            made.at(following)
    made.do(RETURN, 0)


def addresses_of(ends: Sequence[Address]) -> tuple[Address, ...]:
    """What frames of a session have both in their header; none if they may have others."""
    families = {isinstance(end, IPv4Address) for end in ends}
    return tuple(dict.fromkeys(ends)) if len(families) == 1 else ()
