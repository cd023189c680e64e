"""`catenary capture`: a pcap of one chain, or of one session in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.status import Status

from catenary import pcap, sizes
from catenary.client import ManagementClient
from catenary.errors import InvalidValue
from catenary.session import SessionKey


class At(StrEnum):
    MASTER = "master"
    SLAVE = "slave"


def capture(
    chain: Annotated[str, typer.Option(help="Name of the chain.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; - is the standard output.")],
    session: Annotated[
        str | None, typer.Option(help="Only this session: '10.0.0.1:4242 -> 10.0.0.2:80/tcp'.")
    ] = None,
    at: Annotated[At, typer.Option(help="Where: master (the clients' side) or slave.")] = At.MASTER,
    seconds: Annotated[float, typer.Option(help="End after so many seconds.")] = 10.0,
    packets: Annotated[int, typer.Option(help="End after so many packets.")] = 10_000,
) -> None:
    """Write a pcap of what a chain gets and gives, in both directions, or of one session in it.

    The frames bear the tag of the chain. Ctrl-C ends it, and what was written until then is whole. Where
    chains rewrite, a session has another key at the slave than at the master.

    Examples:

        catenary capture --chain chain-2 -o chain-2.pcap

        catenary capture --chain chain-2 --session '10.0.0.1:4242 -> 10.0.0.2:80/tcp' --seconds 60 -o one.pcap

        catenary capture --chain chain-2 -o - | tcpdump -nr -
    """
    key = None if session is None else SessionKey.parse(session).text
    console = Console(stderr=True)
    with ManagementClient.from_environment() as client, ExitStack() as stack:
        records = pcap.whole_records(
            client.capture(chain, at=at.value, session=key, seconds=seconds, packets=packets)
        )
        first = next(records)  # what is refused leaves no file
        status = stack.enter_context(console.status(f"capturing {chain} ..."))
        count, size = _write(stack.enter_context(_file(output)), first, records, status)
    packets_told = f"{count} packet{'' if count == 1 else 's'}"
    console.print(f"{packets_told}, {sizes.text(size)}", highlight=False)


def _file(output: Path) -> BinaryIO:
    if str(output) == "-":
        return open(sys.stdout.fileno(), "wb", closefd=False)
    try:
        return output.open("wb")
    except OSError as error:
        raise InvalidValue(f"can't write {output}: {error.strerror}") from error


def _write(file: BinaryIO, first: bytes, records: Iterator[bytes], status: Status) -> tuple[int, int]:
    """Packets and bytes written, each at once, so that the file is whole whenever this ends."""
    count, size = 0, len(first)
    file.write(first)
    file.flush()
    try:
        for record in records:
            file.write(record)
            file.flush()
            count, size = count + 1, size + len(record)
            status.update(f"{count} packets, {sizes.text(size)}")
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # who reads has seen enough
        pass
    return count, size
