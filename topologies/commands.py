"""The command lines of Catenary's services on the testbed, without the word `catenary`."""

from __future__ import annotations

from pathlib import Path

from catenary.config import BalancerAttachment, SegmentConfig
from topologies import wiring
from topologies.blueprint import balancer_address
from topologies.credentials import Credentials

CONTROLLER_PORT = 8081
MANAGEMENT_PORT = 8080


def controller(network: Path, run_dir: Path) -> tuple[str, ...]:
    command = ("controller", "run", "--network", str(network), "--state", str(run_dir / "controller.json"))
    return (*command, "--openflow-port", str(wiring.OPENFLOW_PORT), "--port", str(CONTROLLER_PORT))


def management(network: Path, run_dir: Path, made: Credentials, hooks: Path) -> tuple[str, ...]:
    command = ("ms", "run", "--network", str(network), "--db", str(run_dir / "ms.db"))
    own = made.identity()
    shown = ("--own-cert", str(own.cert), "--own-key", str(own.key))
    trust = ("--balancer-token-file", str(made.token_file), "--balancer-ca", str(made.ca), *shown)
    return (*command, "--port", str(MANAGEMENT_PORT), "--hooks", str(hooks), *trust)


def master(
    segment: str,
    config: SegmentConfig,
    tables: tuple[str, ...],
    made: Credentials,
    slave: BalancerAttachment,
    name: str,
) -> tuple[str, ...]:
    spare = ("--peer-standby", slave.standby.url) if slave.standby else ()
    peer = ("--peer", slave.url, "--peer-token-file", str(made.token_file), *spare)
    times = [
        (f"--{key.replace('_', '-')}", f"{value:g}") for key, value in config.timeouts.model_dump().items()
    ]
    options = [text for option in times for text in option]
    options += ["--affinity", config.affinity, "--policy", config.policy]
    options += ["--slow-start", f"{config.slow_start:g}", *(["--rewrites"] if config.rewrites else [])]
    options += ["--on-full", config.on_full] if config.on_full else []
    balancer = _balancer("master", name, segment, tables, made)
    return (*balancer, *peer, "--ask-id", str(config.ask_id), *options)


def standby(of: str, made: Credentials) -> tuple[str, ...]:
    """What makes a load balancer the standby of the one at this URL."""
    return ("--standby-of", of, "--standby-token-file", str(made.token_file))


def slave(segment: str, tables: tuple[str, ...], made: Credentials, name: str) -> tuple[str, ...]:
    return _balancer("slave", name, segment, tables, made)


def tables(data_plane: str, pins: Path, sessions: int) -> tuple[str, ...]:
    """What holds a load balancer's sessions, and how many. Those of `ebpf` outlive its process at `pins`."""
    lasting = ("--pin", str(pins)) if data_plane == "ebpf" else ()
    return ("--data-plane", data_plane, *lasting, "--sessions", str(sessions))


def _balancer(
    role: str, name: str, segment: str, tables: tuple[str, ...], made: Credentials
) -> tuple[str, ...]:
    command = ("lb", "run", "--role", role, "--segment", segment)
    ports = ("--outer", f"{name}-outer", "--inner", f"{name}-inner")
    listen = ("--host", balancer_address(name), "--port", str(wiring.BALANCER_PORT))
    own = made.identity(name)
    tls = ("--tls-cert", str(own.cert), "--tls-key", str(own.key), "--tls-ca", str(made.ca))
    return (*command, *tables, *ports, *listen, *tls, "--tokens", str(made.tokens))
