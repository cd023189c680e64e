"""`catenary lb`: run a load balancer; and what else is run on its host."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from catenary.chain import check_name
from catenary.errors import InvalidValue
from catenary.listen import Listen
from catenary.options import (
    LogFormat,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TokensOption,
)
from catenary.session import Timeouts
from catenary.tags import check_vlan_id
from lb_adapter.dataplane.base import PINS_DEFAULT, SpliceConfig
from lb_adapter.doctor.command import doctor
from lb_adapter.options import DataPlaneOption, both_ports

app = typer.Typer(no_args_is_help=True)
lb = typer.Typer(no_args_is_help=True, help="Run a load balancer: a bump in the wire with two ports.")
app.add_typer(lb, name="lb")
app.command("doctor")(doctor)
_DEFAULTS = Timeouts()


def _timeout(name: str) -> Any:
    """An option of the master that says what the vocabulary says."""
    return typer.Option(help=f"Master only, s: {Timeouts.__dataclass_fields__[name].metadata['meaning']}.")


class RoleOption(StrEnum):
    MASTER = "master"
    SLAVE = "slave"


class AffinityOption(StrEnum):
    SESSION = "session"
    ADDRESSES = "addresses"
    CLIENT = "client"


class PolicyOption(StrEnum):
    MAGLEV = "maglev"
    P2C = "p2c"


class FullOption(StrEnum):
    HASH = "hash"
    REFUSE = "refuse"


def _check_data_plane(name: DataPlaneOption, pin: Path | None, keep: bool, threads: int | None) -> None:
    """Raise `InvalidValue` for an option that this data plane has no use for."""
    if name is DataPlaneOption.EBPF:
        if keep:
            raise InvalidValue("--keep is for af_packet and pf_ring: --data-plane ebpf has --pin DIR")
        if threads is not None:
            raise InvalidValue(
                "--threads is for af_packet: --data-plane ebpf runs on the CPU that a frame is on"
            )
    elif pin is not None:
        raise InvalidValue(
            f"--pin is for ebpf: --data-plane {name.value} has --keep, its worker holds the table"
        )


@lb.command()
def run(
    role: Annotated[RoleOption, typer.Option(help="master: client side; slave: server side.")],
    outer: Annotated[str, typer.Option(help="Interface towards clients (master) or servers (slave).")],
    inner: Annotated[str, typer.Option(help="Interface towards the chains: frames are tagged there.")],
    segment: Annotated[str, typer.Option(help="Name of the segment that this pair surrounds.")] = "main",
    host: Annotated[
        str, typer.Option(help="REST address; all but loopback need TLS and a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="REST port.")] = 8082,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_ca: TlsCaOption = None,
    tokens: TokensOption = None,
    peer: Annotated[str | None, typer.Option(help="Master only: REST address of the slave.")] = None,
    peer_token_file: Annotated[Path | None, typer.Option(help="Master only: the slave's token.")] = None,
    peer_ca: Annotated[
        Path | None, typer.Option(help="Master only: CA of the slave's certificate [default: --tls-ca].")
    ] = None,
    peer_standby: Annotated[
        str | None,
        typer.Option(help="Master only: REST address of the slave's standby, of the same token and CA."),
    ] = None,
    standby_of: Annotated[
        str | None,
        typer.Option(help="Stand by for the load balancer of the same role whose REST address this is."),
    ] = None,
    standby_token_file: Annotated[
        Path | None, typer.Option(help="With --standby-of: that one's token, of an admin.")
    ] = None,
    standby_ca: Annotated[
        Path | None, typer.Option(help="With --standby-of: CA of its certificate [default: --tls-ca].")
    ] = None,
    ask_id: Annotated[int, typer.Option(help="Master only: VLAN ID of in-band asks.")] = 4094,
    data_plane: Annotated[
        DataPlaneOption,
        typer.Option(help="What carries the packets: the kernel, or a worker over AF_PACKET or PF_RING."),
    ] = DataPlaneOption.EBPF,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="af_packet only: threads of the worker [default: one a core]."),
    ] = None,
    pin: Annotated[
        Path | None,
        typer.Option(
            help="ebpf only: folder on bpffs; sessions outlive this process, the next one adopts them."
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="af_packet, pf_ring: the worker goes on when this ends, the next adopts it."
        ),
    ] = False,
    sessions: Annotated[int, typer.Option(help="Size of the session table.")] = PINS_DEFAULT,
    affinity: Annotated[
        AffinityOption,
        typer.Option(
            help="Master only: what stays on one chain: a session, all between two addresses, a client."
        ),
    ] = AffinityOption.SESSION,
    policy: Annotated[
        PolicyOption,
        typer.Option(
            help="Master only: consistent hash, or the better of two of its answers by live sessions."
        ),
    ] = PolicyOption.P2C,
    on_full: Annotated[
        FullOption | None,
        typer.Option(
            help="Master only: place without a pin when the table is full, or refuse "
            "[default: hash; refuse with --rewrites]."
        ),
    ] = None,
    rewrites: Annotated[
        bool,
        typer.Option(
            "--rewrites",
            help="Master only: chains change addresses or ports (NAT, proxies); the pair shares its keys.",
        ),
    ] = False,
    slow_start: Annotated[
        float, typer.Option(min=0, help="Master only: seconds in which a new chain gets its whole weight.")
    ] = 0.0,
    tcp_opening: Annotated[float, _timeout("tcp_opening")] = _DEFAULTS.tcp_opening,
    tcp_established: Annotated[float, _timeout("tcp_established")] = _DEFAULTS.tcp_established,
    tcp_closing: Annotated[float, _timeout("tcp_closing")] = _DEFAULTS.tcp_closing,
    udp: Annotated[float, _timeout("udp")] = _DEFAULTS.udp,
    other: Annotated[float, _timeout("other")] = _DEFAULTS.other,
    neighbour: Annotated[float, _timeout("neighbour")] = _DEFAULTS.neighbour,
    lease: Annotated[float, _timeout("lease")] = _DEFAULTS.lease,
    transit: Annotated[float, _timeout("transit")] = _DEFAULTS.transit,
    log_level: LogLevelOption = LogLevel.INFO,
    log_format: LogFormatOption = LogFormat.AUTO,
) -> None:
    """Attach to two interfaces and serve REST until SIGTERM.

    With --pin or --keep the packets go on flowing when this process ends; without it the interfaces are
    given back. A crash never stops them. The timeouts of the pair are the master's: it hands them to its
    slave.

    With --standby-of it has the sessions of another one of its role at hand, passes nothing, and takes its
    place when the management system, or `POST /v1/take-over`, says so. Start both with the same options.
    Where a slave has a standby, its master needs --peer-standby.

    Examples:

        catenary lb run --role slave --outer eth2 --inner eth1 --port 8083

        catenary lb run --role master --outer eth2 --inner eth1 --peer http://127.0.0.1:8083

        catenary lb run --role master --outer eth4 --inner eth3 --port 8084 --peer http://127.0.0.1:8083
            --standby-of http://127.0.0.1:8082

        catenary lb run --role slave --outer eth6 --inner eth5 --port 8085 --standby-of http://127.0.0.1:8083
    """
    check_name(segment, "segment")
    listen = Listen(host, port, tls_cert, tls_key, tls_ca, tokens)
    timeouts = Timeouts(tcp_opening, tcp_established, tcp_closing, udp, other, neighbour, lease, transit)
    master = role is RoleOption.MASTER
    if master and peer is None:
        raise InvalidValue("a master needs the address of its slave: --peer URL")
    if peer_standby is not None and not master:
        raise InvalidValue(
            "--peer-standby is for a master, which looks for its slave there, too: leave it out here"
        )
    if rewrites and on_full is FullOption.HASH:
        raise InvalidValue(
            "--on-full hash does not go with --rewrites: the hash can't know the chain that made a key; "
            "leave --on-full out"
        )
    asks = check_vlan_id(ask_id, "ask ID") if master else None
    _check_data_plane(data_plane, pin, keep, threads)
    config = SpliceConfig(
        role.value,
        outer,
        inner,
        asks,
        timeouts,
        affinity=affinity.value,
        policy=policy.value,
        refuse_full=rewrites or on_full is FullOption.REFUSE,
        rewrites=rewrites,
    )
    # Imported here: `catenary --help` should not wait for what only a running daemon needs.
    from catenary import logs
    from lb_adapter.opening import opening

    logs.configure(log_level, log_format, service="lb", role=role.value, segment=segment)
    with opening(config, data_plane.value, pin=pin, threads=threads, sessions=sessions) as opened:
        from lb_adapter.process import Address, serve

        serve(
            opened,
            config,
            segment,
            listen,
            peer=Address(peer, peer_token_file, peer_ca) if master and peer is not None else None,
            peer_standby=peer_standby,
            standby_of=None if standby_of is None else Address(standby_of, standby_token_file, standby_ca),
            stays=keep or pin is not None,
            slow_start=slow_start,
        )


_PinOption = Annotated[Path | None, typer.Option(help="ebpf: the folder on bpffs that --pin of run named.")]
_OuterOption = Annotated[str | None, typer.Option(help="Interface towards clients or servers.")]
_InnerOption = Annotated[str | None, typer.Option(help="Interface towards the chains.")]


@lb.command()
def attach(
    pin: _PinOption = None,
    outer: _OuterOption = None,
    inner: _InnerOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Adopt the data plane that a crashed load balancer left, without starting a daemon, and show it.

    With --pin the programs of this release are put over the pinned tables, in place of those that are
    attached, or on interfaces that lost theirs: chains and sessions are kept. A worker (af_packet, pf_ring)
    goes on by itself and is shown. To change chains again, start `catenary lb run` with the same --pin.

    Examples:

        catenary lb attach --pin /sys/fs/bpf/catenary/master

        catenary lb attach --pin /sys/fs/bpf/catenary/master --outer eth5 --inner eth6

        catenary lb attach --outer eth2 --inner eth1 --json
    """
    from json import dumps

    from lb_adapter import standalone

    adopted = standalone.attach(pin, both_ports(outer, inner))
    if json:
        typer.echo(dumps(standalone.as_json(adopted), indent=2))
    else:
        for line in standalone.as_text(adopted):
            typer.echo(line)


@lb.command()
def upgrade(
    pin: _PinOption = None,
    outer: _OuterOption = None,
    inner: _InnerOption = None,
    program: Annotated[
        Path | None,
        typer.Option(help="Another BPF object (--pin), or another worker's binary, than this release's."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Put this release's program in the place of the one that carries packets, and lose no packet.

    First it shows on tables of its own, frame by frame, that it decides as it should. If it does
    not, or its tables have another layout, it is refused: nothing changes, the exit status is 2.

    A daemon may run meanwhile. It goes on with its own release: restart it afterwards, with --pin
    or --keep, and it adopts what runs. With pf_ring frames of about a millisecond are lost.

    Examples:

        catenary lb upgrade --pin /sys/fs/bpf/catenary/master

        catenary lb upgrade --outer eth2 --inner eth1 --json
    """
    from json import dumps

    from lb_adapter import upgrade as upgrading

    done = upgrading.upgrade(pin, both_ports(outer, inner), program)
    if json:
        typer.echo(dumps(upgrading.as_json(done), indent=2))
    else:
        for line in upgrading.as_text(done):
            typer.echo(line)


@lb.command()
def detach(pin: _PinOption = None, outer: _OuterOption = None, inner: _InnerOption = None) -> None:
    """Take away a data plane that has no daemon any more, and give its interfaces back as they were.

    Its sessions are forgotten. A running load balancer is not touched: stop that first.

    Examples:

        catenary lb detach --outer eth2 --inner eth1

        catenary lb detach --pin /sys/fs/bpf/catenary/master
    """
    from lb_adapter import standalone

    for line in standalone.detach(pin, both_ports(outer, inner)):
        typer.echo(line)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Recording in classic pcap format, of Ethernet frames.")],
    more_pairs: Annotated[list[str] | None, typer.Argument(metavar="[PAIR]...", hidden=True)] = None,
    dataplane: Annotated[
        str, typer.Option(help="Comma-separated, of oracle, c and ebpf; only ebpf needs root.")
    ] = "oracle,c",
    pairs: Annotated[
        list[str] | None, typer.Option(help="Tag pairs of the chains [default: 2,3 4,5 6,7].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Send a recording through several data planes and compare where they put each session.

    The exit status is 1 if they differ. Every frame goes into the outer port of a master; nothing ages.

    Examples:

        catenary replay traffic.pcap

        catenary replay traffic.pcap --dataplane oracle,c,ebpf --pairs 2,3 4,5 --json
    """
    from json import dumps

    from catenary.tags import TagPair
    from lb_adapter.replay import as_json, as_text
    from lb_adapter.replay import replay as run_replay

    given = " ".join([*(pairs or []), *(more_pairs or [])]).split() or ["2,3", "4,5", "6,7"]
    planes = [name.strip() for name in dataplane.split(",") if name.strip()]
    result = run_replay(file, planes, [TagPair.parse(text) for text in given])
    if json:
        typer.echo(dumps(as_json(result), indent=2))
    else:
        for line in as_text(result):
            typer.echo(line)
    if result.differences:
        raise typer.Exit(1)
