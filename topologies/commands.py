"""The command lines of Catenary's services on the testbed, without the word `catenary`."""

from __future__ import annotations

from pathlib import Path

from catenary.wire import SegmentConfig
from topologies import wiring
from topologies.credentials import Credentials

CONTROLLER_PORT = 8081
MANAGEMENT_PORT = 8080


def controller(network: Path, run_dir: Path) -> tuple[str, ...]:
    command = ("controller", "run", "--network", str(network), "--state", str(run_dir / "controller.json"))
    return (*command, "--openflow-port", str(wiring.OPENFLOW_PORT), "--port", str(CONTROLLER_PORT))


def management(network: Path, run_dir: Path, made: Credentials) -> tuple[str, ...]:
    command = ("ms", "run", "--network", str(network), "--db", str(run_dir / "ms.db"))
    trust = ("--balancer-token-file", str(made.token_file), "--balancer-ca", str(made.ca))
    return (*command, "--port", str(MANAGEMENT_PORT), *trust)


def master(
    name: str, pins: Path, made: Credentials, slave_url: str, segment: SegmentConfig
) -> tuple[str, ...]:
    peer = ("--peer", slave_url, "--peer-token-file", str(made.token_file), "--peer-ca", str(made.ca))
    times = [
        (f"--{key.replace('_', '-')}", f"{value:g}") for key, value in segment.timeouts.model_dump().items()
    ]
    options = [text for option in times for text in option]
    options += ["--rewrites"] if segment.rewrites else []
    return (*_balancer("master", name, pins, made), *peer, "--ask-id", str(segment.ask_id), *options)


def slave(name: str, pins: Path, made: Credentials) -> tuple[str, ...]:
    return _balancer("slave", name, pins, made)


def _balancer(role: str, name: str, pins: Path, made: Credentials) -> tuple[str, ...]:
    command = ("lb", "run", "--role", role, "--segment", wiring.SEGMENT, "--pin", str(pins))
    ports = ("--outer", f"{name}-outer", "--inner", f"{name}-inner")
    listen = ("--host", wiring.BALANCER_ADDRESSES[name], "--port", str(wiring.BALANCER_PORT))
    tls = ("--tls-cert", str(made.certificate(name)), "--tls-key", str(made.key(name)))
    return (*command, *ports, *listen, *tls, "--token-file", str(made.token_file))
