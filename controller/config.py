"""From the network file to the nouns of the pure modules."""

from __future__ import annotations

from pathlib import Path

from catenary.config import NetworkConfig, ServiceConfig
from catenary.errors import InvalidValue
from catenary.wire import PortRef
from controller.network import Balancer, Host, Network, Port, Segment


def load_network(path: Path) -> NetworkConfig:
    """The network of a configuration file; raises `InvalidValue` that names the file and the fault."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"configuration {path} can't be read: {error}") from error
    return ServiceConfig.load(text, str(path)).network


def network_of(config: NetworkConfig) -> Network:
    """A network as frozen nouns."""
    return Network(
        switches=dict(config.switches),
        hosts={name: Host(_port(host), host.mac) for name, host in config.hosts.items()},
        nfs={name: nf.nf(name) for name, nf in config.nfs.items()},
        balancers={
            name: Balancer(Port(lb.switch, lb.outer), Port(lb.switch, lb.inner))
            for name, lb in config.balancers.items()
        },
        standbys={
            name: Balancer(Port(lb.switch, lb.standby.outer), Port(lb.switch, lb.standby.inner))
            for name, lb in config.balancers.items()
            if lb.standby is not None
        },
        segments={
            name: Segment(
                segment.master,
                segment.slave,
                segment.ask_id,
                tuple(segment.before),
                tuple(segment.after),
                segment.inserted,
            )
            for name, segment in config.segments.items()
        },
    )


def _port(ref: PortRef) -> Port:
    return Port(ref.switch, ref.port)
