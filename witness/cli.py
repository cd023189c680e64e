"""`catenary verify`: judge a run, be it live, in pcaps or recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from catenary import durations
from catenary.client import ManagementClient
from catenary.config import NetworkConfig, ServiceConfig
from catenary.errors import InvalidValue
from catenary.session import Timeouts
from witness.checker import IN_FLIGHT_S, judge
from witness.events import read_events, read_pins
from witness.pcaps import Tap, read_pcaps
from witness.places import Place, check_places, place_named, places_of
from witness.recording import Recording
from witness.report import show
from witness.verdict import Thresholds
from witness.watch import Watch

app = typer.Typer()
_PATIENCE_S = 2.0
"""A service that does not answer may hold up the end of a recording for so long."""
_HELP = """Judge a run: did every session cross exactly one chain? Exit 1 if not, 2 if there is no telling.

Places are master.outer, slave.outer, and NF.ingress, NF.egress or NF.both; with --network those of the
network. A pcap is named after its place (master.outer.pcap), one of one way only PLACE.into or PLACE.out-of.

Examples:

    catenary verify results/demo/recording.npz

    catenary verify --chain chain-1=n1 --chain chain-2=n2 pcaps/

    catenary verify --chain chain-1=n1 --tap master.outer=a.pcap --tap n1.ingress=b.pcap ...

    catenary verify --live --for 30s --chain chain-1=n1 --tap master.outer=s1-eth3 --tap n1.ingress=s3-eth1

    catenary verify --live --for 5m --network network.yaml --chain chain-1=n1 --save run.npz

    catenary verify --live --ask --network network.yaml --chain chain-1=n1 --chain chain-2=n2 --save run.npz
"""


@app.callback()
def _group() -> None:
    """Keeps `verify` a command of its own when this app stands alone."""


@app.command(help=_HELP)
def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="A recording (.npz), or pcaps named after their places, or a folder of them."),
    ] = None,
    chain: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NF[,NF...] in forward order; repeat it. Default: as recorded."),
    ] = None,
    rewrites: Annotated[
        list[str] | None,
        typer.Option(help="An NF that changes session keys (NAT, proxy), or a chain of them; repeat it."),
    ] = None,
    tap: Annotated[
        list[str] | None, typer.Option(help="PLACE=FILE, or PLACE=INTERFACE with --live; repeat it.")
    ] = None,
    network: Annotated[Path | None, typer.Option(help="Network file: its places and timeouts.")] = None,
    segment: Annotated[str, typer.Option(help="The segment of the network file.")] = "main",
    events: Annotated[Path | None, typer.Option(help="What happened meanwhile, as JSON lines.")] = None,
    pins: Annotated[Path | None, typer.Option(help="What load balancers held, as JSON lines.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Tap interfaces of this network namespace.")] = False,
    duration: Annotated[
        str, typer.Option("--for", help="How long to tap: 30s, 5m, 1h. Ctrl-C ends it sooner.")
    ] = "30s",
    ask: Annotated[
        bool,
        typer.Option(
            "--ask",
            help="Have the management system (CATENARY_URL) tell of pins, epochs, changes and faults.",
        ),
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Keep the recording in this file (.npz).")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Judge pcaps that are cut off, until the first one ends.")
    ] = False,
    in_flight: Annotated[
        float,
        typer.Option(min=0, help="Seconds that a packet may be on its way as a recording begins or ends."),
    ] = IN_FLIGHT_S,
    min_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the new sessions that each chain must carry.")
    ] = 0.0,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Share that may be lost between two taps.")
    ] = Thresholds().max_loss,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    chains = dict(parse_chain(text) for text in chain) if chain else None
    taps = [_named(text) for text in tap or ()]
    config = _network(network)
    _check_paths((events, pins), save)
    if ask and not live:
        raise InvalidValue("--ask tells what load balancers hold at this moment: use it with --live")
    with ExitStack() as stack:
        watch = _watch(stack, segment) if ask else None
        if live:
            if files:
                raise InvalidValue(f"--live taps interfaces: it reads no file such as {files[0]}")
            recording = _live(taps, config, segment, chains, _seconds(duration))
        elif len(files or ()) == 1 and files is not None and files[0].suffix == ".npz" and not taps:
            recording = Recording.load(files[0])
        else:
            recording = _pcaps(_taps(files or (), taps), config, segment, chains, in_flight, partial)
        recording = replace(
            recording, chains=chains or recording.chains, rewrites=tuple(rewrites or recording.rewrites)
        )
        if save:  # first: what follows may be refused, or ended by Ctrl-C
            recording.save(save)
        recording = watch.told(recording) if watch else recording
    recording = _merged(recording, events, pins)
    if save and (ask or events or pins):
        recording.save(save)
    verdict = judge(recording, None, Thresholds(min_share, max_loss), in_flight)
    if as_json:
        typer.echo(json.dumps(verdict.summary(), indent=2))
    else:
        show(verdict, Console())
    if not verdict.sessions and not verdict.violations:
        raise typer.Exit(InvalidValue.exit_code)
    raise typer.Exit(0 if verdict.ok else 1)


def _merged(recording: Recording, events: Path | None, pins: Path | None) -> Recording:
    """With what these files tell."""
    wall_ns = recording.wall_ns
    told = read_events(_lines(events), str(events), wall_ns) if events else ()
    held = read_pins(_lines(pins), str(pins), wall_ns) if pins else ()
    return replace(recording, events=(*recording.events, *told), pins=(*recording.pins, *held))


def parse_chain(text: str) -> tuple[str, tuple[str, ...]]:
    """Read `NAME=NF[,NF...]`, or `NAME=` for what passes by; raises `InvalidValue` that quotes the text."""
    name, equals, nfs = text.partition("=")
    names = tuple(part.strip() for part in nfs.split(",")) if nfs.strip() else ()
    if not name or not equals or not all(names):
        raise InvalidValue(f"{text!r} is not a chain: write NAME=NF[,NF...] such as chain-1=n1")
    return name.strip(), names


def _seconds(text: str) -> float:
    seconds = durations.parse(text)
    if not seconds:
        raise InvalidValue(f"--for {text} taps nothing: give it a while, such as 30s")
    return seconds


def _check_paths(read: Sequence[Path | None], save: Path | None) -> None:
    """Before anything is recorded: a path that can't be used would cost the recording."""
    for path in filter(None, read):
        _lines(path)
    if save and (save.is_dir() or not os.access(save if save.exists() else save.absolute().parent, os.W_OK)):
        raise InvalidValue(f"can't write {save}: name a file in a folder that is there and may be written to")


def _named(text: str) -> tuple[str, str]:
    name, _, target = text.partition("=")
    if not name or not target:
        raise InvalidValue(f"{text!r} is no tap: write PLACE=FILE, or PLACE=INTERFACE with --live")
    return name, target


def _network(path: Path | None) -> NetworkConfig | None:
    if path is None:
        return None
    return ServiceConfig.load("\n".join(_lines(path)), str(path))


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from None


def _places(
    names: Mapping[str, str],
    config: NetworkConfig | None,
    segment: str,
    chains: Mapping[str, Sequence[str]] | None,
) -> tuple[Place, ...]:
    """Of the network, or, without one, as named."""
    if config:
        return places_of(config, segment, [nf for nfs in (chains or {}).values() for nf in nfs])
    return tuple(place_named(name, interface) for name, interface in names.items())


def _timeouts(config: NetworkConfig | None, segment: str) -> Timeouts:
    return config.segments[segment].timeouts.timeouts() if config else Timeouts()


def _taps(files: Sequence[Path], named: Sequence[tuple[str, str]]) -> list[Tap]:
    """The pcaps of files, folders and --tap."""
    found = [Tap.named(name, Path(path)) for name, path in named]
    for file in files:
        pcaps = sorted(file.glob("*.pcap")) if file.is_dir() else [file]
        if not pcaps:
            raise InvalidValue(f"the folder {file} has no *.pcap")
        found += [Tap.named(path.name.removesuffix(".pcap"), path) for path in pcaps]
    if not found:
        raise InvalidValue(
            "nothing to judge: name a recording (.npz), pcaps or a folder of them, or give --live"
        )
    return found


def _pcaps(
    taps: Sequence[Tap],
    config: NetworkConfig | None,
    segment: str,
    chains: Mapping[str, Sequence[str]] | None,
    in_flight_s: float,
    partial: bool,
) -> Recording:
    places = _places({tap.place: tap.place for tap in taps}, config, segment, chains)
    timeouts = _timeouts(config, segment)
    reading = read_pcaps(taps, places, timeouts, skew_s=in_flight_s, partial=partial)
    for fault in reading.broken:
        typer.echo(fault, err=True)
    return reading.recording


def _watch(stack: ExitStack, segment: str) -> Watch:
    """Of the management system, which must answer as it begins."""
    client = stack.enter_context(ManagementClient.from_environment(timeout=_PATIENCE_S))
    return stack.enter_context(Watch(client, segment))


def _live(
    taps: Sequence[tuple[str, str]],
    config: NetworkConfig | None,
    segment: str,
    chains: Mapping[str, Sequence[str]] | None,
    duration: float,
) -> Recording:
    from witness.live import record
    from witness.taps import Limits

    if not chains:
        raise InvalidValue("say which NFs each chain has, by --chain NAME=NF[,NF...]")
    if config and taps:
        raise InvalidValue("--network names the interfaces already: leave --tap or --network out")
    places = check_places(_places(dict(taps), config, segment, chains))
    limits = Limits.of(_timeouts(config, segment))
    console = Console(stderr=True)
    with console.status("attaching the taps") as status:
        ready = False

        def progress(gone: float, frames: int) -> None:
            nonlocal ready
            line = f"{gone:.0f} of {duration:g} s, {frames} frames seen; Ctrl-C ends and judges"
            status.update(line)
            if not ready and not console.is_terminal:
                console.print(line, soft_wrap=True)  # for scripts, which may send their traffic now
            ready = True

        return record(places, limits, chains, duration, progress)
