"""A command on a machine of the testbed that is up, or a shell there, from any terminal of this host.

    python -m topologies.at [HOST [COMMAND ...]]

`root` is where switches, controller and management system run: `catenary` finds them there.

Examples:

    python -m topologies.at root                         a shell

    python -m topologies.at h1 iperf3 -c 10.0.0.2        a command on h1
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from catenary.errors import CatenaryError, NotFound
from topologies import namespaces

ROOT = "root"
_FILE = Path(
    os.environ.get("CATENARY_TESTBED") or Path(__file__).resolve().parents[1] / "results/testbed.json"
)


@dataclass(frozen=True)
class Place:
    """Where the testbed is: its network namespace, its PID 1 as seen outside, its hosts' PIDs inside."""

    namespace: str
    init: int
    hosts: Mapping[str, int]

    @classmethod
    def read(cls) -> Self:
        """Raises `NotFound` if none is up."""
        try:
            place = cls(**json.loads(_FILE.read_text()))
        except FileNotFoundError:
            place = None
        if place is None or not place._up():
            raise NotFound("no testbed is up: bring one up with `make testbed`, in another terminal")
        return place

    def _up(self) -> bool:
        if namespaces.inside(self.namespace):
            return True
        try:
            return os.readlink(f"/proc/{self.init}/ns/net") == self.namespace
        except OSError:
            return False

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """What runs `argv` on a host, in this directory; raises `NotFound` for a host that is not there."""
        if host not in self.hosts:
            raise NotFound(f"no machine {host!r} here: there is {', '.join(self.hosts)}")
        enter = [] if namespaces.inside(self.namespace) else ["nsenter", f"-t{self.init}", "-n", "-m", "-p"]
        mark = f"{namespaces.MARK}={self.namespace}"
        return [*enter, "nsenter", f"-t{self.hosts[host]}", "-n", "env", f"--chdir={Path.cwd()}", mark, *argv]


@contextmanager
def told(hosts: Mapping[str, int]) -> Iterator[None]:
    """Let `at` find this testbed."""
    place = Place(namespaces.current(), namespaces.init(), hosts)
    _FILE.parent.mkdir(parents=True, exist_ok=True)
    _FILE.write_text(json.dumps(asdict(place)))
    try:
        yield
    finally:
        _FILE.unlink(missing_ok=True)


def main() -> None:
    host, *argv = sys.argv[1:] or [ROOT]
    if host in ("-h", "--help"):
        print(__doc__, end="")
        return
    try:
        command = Place.read().command(host, argv or ["bash"])
    except CatenaryError as error:
        sys.exit(f"topologies.at: {error.detail}")
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
