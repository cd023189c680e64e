"""Session keys and the timeouts of sessions (docs/ARCHITECTURE.md, "Sessions").

The key's bytes are the C struct `session_key` of `lb_adapter/core/key.h`; the vectors under
`tests/vectors` hold both to the same numbers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address

from catenary.errors import InvalidValue

Address = IPv4Address | IPv6Address
KEY_SIZE = 48
_MASK = (1 << 64) - 1
HASH_SEED = 0x9E3779B97F4A7C15
HASH_MULTIPLIER = 0xFF51AFD7ED558CCD


@dataclass(frozen=True, order=True)
class End:
    """One end of a session; `port` is 0 where the protocol has none."""

    address: Address
    port: int = 0

    def pack(self) -> bytes:
        """18 bytes: the address as IPv6 (IPv4 as ::ffff:a.b.c.d, RFC 4291), then the port."""
        raw = self.address.packed
        if len(raw) == 4:
            raw = b"\0" * 10 + b"\xff\xff" + raw
        return raw + struct.pack("!H", self.port)


@dataclass(frozen=True)
class SessionKey:
    """Both ends sorted, so that the two directions of a session have one key.

    Build it with `of`. `kind` is the IP protocol number, or one of those above 255 in `KIND_NAMES`.
    `vlans` are the IDs of up to two tags that the frame already carried, outermost first.
    """

    low: End
    high: End
    kind: int
    vlans: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, a: End, b: End, kind: int, vlans: tuple[int, int] = (0, 0)) -> SessionKey:
        if b.pack() < a.pack():
            a, b = b, a
        return cls(a, b, kind, vlans)

    def pack(self) -> bytes:
        """The 48 bytes of `struct session_key`: addresses and ports in network order, rest native."""
        return self._packed

    @cached_property
    def _packed(self) -> bytes:
        low, high = self.low.pack(), self.high.pack()
        tail = struct.pack("=HHHHHH", *self.vlans, self.kind, 0, 0, 0)
        return low[:16] + high[:16] + low[16:] + high[16:] + tail

    @classmethod
    def unpack(cls, raw: bytes) -> SessionKey:
        """Inverse of `pack`; raises `InvalidValue` unless `raw` has 48 bytes."""
        if len(raw) != KEY_SIZE:
            raise InvalidValue(f"a session key has {KEY_SIZE} bytes, not {len(raw)}")
        low_port, high_port = struct.unpack("!HH", raw[32:36])
        outer, inner, kind = struct.unpack("=HHH", raw[36:42])
        return cls(
            End(_address(raw[:16]), low_port), End(_address(raw[16:32]), high_port), kind, (outer, inner)
        )

    @classmethod
    def parse(cls, text: str) -> SessionKey:
        """Read `10.0.0.1:4000 -> 10.0.0.2:80/tcp`, or `tcp 10.0.0.1:4000 10.0.0.2:80`.

        The ends may come in either order; IPv6 with a port is `[fd00::1]:4000`. VLAN IDs that the frames bear
        follow as `vlan=5` or `vlan=5,6`, outermost first. For an ICMP echo both ports are its identifier.
        Raises `InvalidValue` that quotes the text, what is wrong with it, and the fix.
        """
        try:
            kind, a, b, vlans = _words(text)
            number = _kind(kind)
            key = cls.of(_end(a, number), _end(b, number), number, _vlans(vlans))
            return cls.unpack(key.pack())  # IPv4 that was written as IPv6 is IPv4
        except ValueError as error:
            raise InvalidValue(f"{text!r} is not a session: {error}") from None

    @property
    def text(self) -> str:
        """As `parse` reads it."""
        words = (str(KIND_NAMES.get(self.kind, self.kind)), end_text(self.low), end_text(self.high))
        return " ".join(words) + _vlans_text(self.vlans)

    def hash64(self) -> int:
        """The 64-bit hash that C computes too (multiply and shift over 4-byte words)."""
        value = HASH_SEED
        for (word,) in struct.iter_unpack("=I", self.pack()):
            value = ((value ^ word) * HASH_MULTIPLIER) & _MASK
            value ^= value >> 32
        return value

    def __str__(self) -> str:
        return f"{end_text(self.low)} <-> {end_text(self.high)}/{KIND_NAMES.get(self.kind, self.kind)}"


@dataclass(frozen=True)
class Directed:
    """A session as someone asks about it; `client` is the client's end, if they say which one that is."""

    key: SessionKey
    client: End | None = None

    @classmethod
    def parse(cls, text: str) -> Directed:
        """Read what `SessionKey.parse` reads, and raises: the left end of `a -> b` is the client's."""
        key, words = SessionKey.parse(text), text.split()
        if words[1] != "->":
            return cls(key)
        end = _end(words[0], key.kind)
        return cls(key, End(_address(end.pack()[:16]), end.port))

    @property
    def text(self) -> str:
        """As `parse` reads it."""
        if self.client is None:
            return self.key.text
        server = self.key.low if self.client == self.key.high else self.key.high
        ends = f"{end_text(self.client)} -> {end_text(server)}"
        return f"{ends}/{KIND_NAMES.get(self.key.kind, self.key.kind)}" + _vlans_text(self.key.vlans)


KIND_NAMES = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    58: "icmp6",
    132: "sctp",
    256: "arp",
    257: "nd",
    258: "addresses",
    259: "client",
}


def _address(raw: bytes) -> Address:
    if raw.startswith(b"\0" * 10 + b"\xff\xff"):
        return ip_address(raw[12:])
    return ip_address(raw)


_ARROWS = ("->", "<->")
_FORMS = (
    "write '10.0.0.1:4000 -> 10.0.0.2:80/tcp', or PROTOCOL END END such as tcp 10.0.0.1:4000 10.0.0.2:80, "
    "or udp [fd00::1]:53 [fd00::2]:4000 vlan=5"
)
_WITH_PORTS = (6, 17, 132)


def _words(text: str) -> tuple[str, str, str, list[str]]:
    """Protocol, both ends, and what follows, of either form; raises `ValueError`, as the next ones do."""
    words = text.split()
    if len(words) > 2 and words[1] in _ARROWS:
        a, (b, _, kind) = words[0], words[2].partition("/")
        if not kind:
            raise ValueError(f"it lacks its protocol: append it, such as {b}/tcp")
    elif len(words) > 2 and not set(_ARROWS) & set(words):
        kind, a, b = words[:3]
    else:
        raise ValueError(_FORMS)
    return kind, a, b, words[3:]


def _kind(text: str) -> int:
    kinds = {name: kind for kind, name in KIND_NAMES.items()}
    if text.lower() in kinds:
        return kinds[text.lower()]
    if not (text.isdecimal() and text.isascii() and int(text) < 256):
        raise ValueError(f"protocol {text!r} is not known: use {', '.join(kinds)}, or a number up to 255")
    return int(text)


def _end(text: str, kind: int) -> End:
    """An address, with or without a port."""
    address, port = text, ""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        address, port = text.split(":")
    try:
        ip = ip_address(address)
    except ValueError:
        raise ValueError(
            f"{text!r} is no end: write an address and a port, such as 10.0.0.1:4000 or [fd00::1]:4000"
        ) from None
    if ip.version == 6 and IPv6Address(ip).scope_id:
        raise ValueError(f"{text!r} has a zone, which frames don't: leave %{IPv6Address(ip).scope_id} out")
    if not port and kind in _WITH_PORTS:
        raise ValueError(
            f"{text!r} lacks its port: {KIND_NAMES[kind]} has one, as in {end_text(End(ip, 80))}"
        )
    if port and not (port.isdecimal() and port.isascii() and int(port) < 1 << 16):
        raise ValueError(f"port {port!r} of {text!r} is none: use 0..65535")
    return End(ip, int(port or 0))


def _vlans(words: list[str]) -> tuple[int, int]:
    if not words:
        return (0, 0)
    ids = words[0].removeprefix("vlan=").split(",")
    good = [vid for vid in ids if vid.isdecimal() and vid.isascii() and 1 <= int(vid) <= 4094]
    if len(words) > 1 or not words[0].startswith("vlan=") or len(ids) > 2 or good != ids:
        raise ValueError(
            f"{' '.join(words)!r} is no tag: write vlan=5, or vlan=5,6 for two, each an ID of 1..4094"
        )
    return (int(ids[0]), int(ids[1]) if len(ids) > 1 else 0)


def _vlans_text(vlans: tuple[int, int]) -> str:
    ids = ",".join(str(vid) for vid in vlans if vid)
    return f" vlan={ids}" if ids else ""


def end_text(end: End) -> str:
    """As in `SessionKey.text`."""
    return f"[{end.address}]:{end.port}" if end.address.version == 6 else f"{end.address}:{end.port}"


TIMEOUT_MIN = 0.05
TIMEOUT_MAX = 86400.0


def _timeout(default: float, meaning: str) -> float:
    """A field with what it means, for all that must tell."""
    value: float = field(default=default, metadata={"meaning": meaning})
    return value


@dataclass(frozen=True)
class Timeouts:
    """Times of a segment, all in seconds; the pair's master hands them to its slave.

    Affinity rule 5: `tau` is what is promised to a session of a state, and the master really holds a pin
    for `tau + lease + 2 transit` after its last packet.
    """

    # RFC 5382 asks for at least 4 minutes only once established: 2 hours 4 minutes then (REQ-5).
    tcp_opening: float = _timeout(60.0, "TCP before the handshake is complete")
    tcp_established: float = _timeout(7440.0, "TCP established (RFC 5382)")
    tcp_closing: float = _timeout(10.0, "TCP after a FIN both ways or a RST")
    udp: float = _timeout(120.0, "UDP (RFC 4787)")
    other: float = _timeout(120.0, "every other protocol, ICMP echo among them")
    neighbour: float = _timeout(60.0, "ARP and IPv6 neighbour discovery")
    # Longer than `transit`: a packet comes out of the chain up to D after the master saw it, an ask that
    # comes tau later takes up to D again, and must still find the pin.
    lease: float = _timeout(
        10.0, "how long the slave uses what it learned; longer means fewer asks by one-way streams"
    )
    transit: float = _timeout(
        2.0, "D: the longest time that a packet may take through any chain or bypass path"
    )

    def tau(self, state: str) -> float:
        """What is promised to a session of this state: a name of `catenary.wire.SessionState`."""
        tcp = {"reopening": self.tcp_established, "reset": self.tcp_established}
        value: float = tcp.get(state) or getattr(self, f"tcp_{state}", None) or getattr(self, state)
        return value

    def hold(self, state: str) -> float:
        """T: how long a pin of this state is held after its last packet, or after it began to close."""
        untraced = 2 * self.transit if state == "closing" else 0.0
        return self.tau(state) + self.lease + 2 * self.transit + untraced

    @property
    def longest(self) -> float:
        """The longest tau."""
        tcp = max(self.tcp_opening, self.tcp_established, self.tcp_closing)
        return max(tcp, self.udp, self.other, self.neighbour)

    @property
    def longest_hold(self) -> float:
        """T of the pin that the master holds for longest."""
        return self.longest + self.lease + 2 * self.transit

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            if not TIMEOUT_MIN <= value <= TIMEOUT_MAX:
                raise InvalidValue(
                    f"timeout {name} of {value} s is out of range: use {TIMEOUT_MIN:g}..{TIMEOUT_MAX:g}"
                )
        if self.lease < 1.25 * self.transit:
            raise InvalidValue(
                f"timeout lease of {self.lease} s is below 1.25 times the transit bound of {self.transit} s: "
                "a packet and the ask that follows it may take that long twice; raise lease, or lower transit"
            )
        if self.tcp_closing < 2 * self.transit:
            raise InvalidValue(
                f"timeout tcp_closing of {self.tcp_closing} s is below twice the transit bound of "
                f"{self.transit} s: late packets of a closed session would find no pin; raise tcp_closing, "
                "or lower transit"
            )
