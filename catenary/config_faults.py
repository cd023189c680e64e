"""What can't be in `service.yaml` although each part has its shape. Pure: a configuration in, faults out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, product
from typing import TYPE_CHECKING

from catenary.autoscale_faults import autoscale_faults
from catenary.chain import WEIGHT_DEFAULT, TagMode, check_name
from catenary.classifier import RULES_MAX
from catenary.document import Fault, Key
from catenary.errors import CatenaryError

if TYPE_CHECKING:
    from catenary.config import NetworkConfig, ServiceConfig, TrafficConfig


def network_faults(config: NetworkConfig) -> list[Fault]:
    """Faults of what discovery can't know."""
    checks = (_datapaths, _attachments, _macs, _urls, _edges, _pools, _segments, _health, _detours)
    return [fault for check in checks for fault in check(config)]


def service_faults(config: ServiceConfig) -> list[Fault]:
    """Faults of services and chains, on a network without any."""
    return [
        fault
        for check in (_services, _classifiers, _bypasses, _chains, _tags, autoscale_faults)
        for fault in check(config)
    ]


def _datapaths(config: NetworkConfig) -> Iterator[Fault]:
    owners: dict[int, str] = {}
    for name, dpid in config.switches.items():
        if dpid in owners:
            text = f"switches {owners[dpid]!r} and {name!r} share datapath ID {dpid}: give each its own"
            yield Fault(("switches", name), text)
        owners[dpid] = name


def _urls(config: NetworkConfig) -> Iterator[Fault]:
    owners = {config.controller_url.rstrip("/"): "the controller"}
    for at, what, given in _addresses(config):
        url = given.rstrip("/")
        if url in owners:
            text = f"{url} is the address of {owners[url]} and of {what}: give each its own"
            yield Fault(at, text)
        owners[url] = what


def _addresses(config: NetworkConfig) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for name, lb in config.balancers.items():
        yield ("balancers", name, "url"), f"load balancer {name!r}", lb.url
        if lb.standby is not None:
            yield ("balancers", name, "standby", "url"), f"the standby of {name!r}", lb.standby.url


def _macs(config: NetworkConfig) -> Iterator[Fault]:
    """A switch tells by them which host a frame is for."""
    owners: dict[tuple[str, str], str] = {}
    for name, host in config.hosts.items():
        at = host.switch, host.mac
        if at in owners:
            text = f"hosts {owners[at]!r} and {name!r} share the address {host.mac}: write each one's own"
            yield Fault(("hosts", name, "mac"), text)
        owners[at] = name


def _ports(config: NetworkConfig) -> Iterator[tuple[tuple[str, ...], str, tuple[str, str]]]:
    """Every port that only one thing may hang on: where it is written, on what, and (switch, port)."""
    for name, nf in config.nfs.items():
        for port in sorted({nf.ingress, nf.egress}):
            side = "ingress" if port == nf.ingress else "egress"
            yield ("nfs", name, side), f"NF {name!r}", (nf.switch, port)
    for name, lb in config.balancers.items():
        yield ("balancers", name, "outer"), f"the outer port of {name!r}", (lb.switch, lb.outer)
        yield ("balancers", name, "inner"), f"the inner port of {name!r}", (lb.switch, lb.inner)
        if lb.standby is not None:
            at = "balancers", name, "standby"
            yield (*at, "outer"), f"the outer port of the standby of {name!r}", (lb.switch, lb.standby.outer)
            yield (*at, "inner"), f"the inner port of the standby of {name!r}", (lb.switch, lb.standby.inner)


def _attachments(config: NetworkConfig) -> Iterator[Fault]:
    attached = [("hosts", f"host {name!r}", name, host.switch) for name, host in config.hosts.items()]
    attached += [("nfs", f"NF {name!r}", name, nf.switch) for name, nf in config.nfs.items()]
    attached += [
        ("balancers", f"load balancer {name!r}", name, lb.switch) for name, lb in config.balancers.items()
    ]
    for kind, what, name, switch in attached:
        if switch not in config.switches:
            text = f"{what} hangs on unknown switch {switch!r}: the switches are {names(config.switches)}"
            yield Fault((kind, name, "switch"), text)
    owners = {(host.switch, host.port): f"host {name!r}" for name, host in config.hosts.items()}
    for key, owner, port in _ports(config):
        if port in owners:
            text = f"port {':'.join(port)} is given to {owners[port]} and to {owner}: use another"
            yield Fault(key, text)
        owners[port] = owner
    for name, nf in config.nfs.items():
        try:
            nf.nf(name)
        except CatenaryError as error:
            yield Fault(("nfs", name, "egress"), error.detail)


def _edges(config: NetworkConfig) -> Iterator[Fault]:
    """Where a frame of the outer side is for can't be told among three."""
    for switch in config.switches:
        here = {name: lb for name, lb in config.balancers.items() if lb.switch == switch}
        hosts = any(host.switch == switch for host in config.hosts.values())
        if len(here) > 2 or (len(here) == 2 and hosts):
            ports = names(sorted(f"{switch}:{lb.outer}" for lb in here.values()))
            held = f"the outer ports {ports}{' and hosts' if hosts else ''}"
            text = (
                f"switch {switch!r} holds {held}: which of them a frame is for can't be told; "
                "put the hosts or a load balancer on another switch"
            )
            yield Fault(("balancers", list(here)[-1], "switch"), text)


def _pools(config: NetworkConfig) -> Iterator[Fault]:
    """A server's answer to an address of two pools could belong to either NF."""
    translating = [(name, nf) for name, nf in config.nfs.items() if nf.pool]  # few of a thousand, if any
    for (one, a), (other, b) in combinations(translating, 2):
        for x, y in product(a.pool, b.pool):
            if x.version == y.version and x.overlaps(y):
                both = x if x.prefixlen > y.prefixlen else y
                text = f"{both} is in the pools of NF {one!r} and NF {other!r}: part them"
                yield Fault(("nfs", other, "pool"), text)


def _health(config: NetworkConfig) -> Iterator[Fault]:
    """Chains that rewrite would make probes by IP unknown, and can't hand their sessions over."""
    for name, segment in config.segments.items():
        if segment.health is None or not segment.rewrites:
            continue
        at = ("segments", name, "health")
        if segment.health.kind != "raw":
            text = f"chains that rewrite would change {segment.health.kind} probes: use kind raw"
            yield Fault((*at, "kind"), text)
        if segment.health.on_dead == "rebalance":
            text = "a session of chains that rewrite can't go on in another: use on_dead keep or reset"
            yield Fault((*at, "on_dead"), text)
        if segment.fails_open:
            text = "what passes by chains that rewrite would show addresses that they hide: use fail-closed"
            yield Fault((*at, "when_none"), text)


def _detours(config: NetworkConfig) -> Iterator[Fault]:
    """What keeps traffic from being led around a segment."""
    for name, segment in config.segments.items():
        if segment.when_lb_gone == "fail-closed":
            continue
        at: Key = ("segments", name, "when_lb_gone")
        if segment.rewrites:
            text = "what passes by chains that rewrite would show addresses that they hide: use fail-closed"
            yield Fault(at, text)
        pair = [config.balancers.get(lb) for lb in (segment.master, segment.slave)]
        switches = {lb.switch for lb in pair if lb}
        if all(pair) and len(switches) == 1:
            text = (
                f"both load balancers hang on switch {switches.pop()!r}: no way leads around, use fail-closed"
            )
            yield Fault(at, text)


def _segments(config: NetworkConfig) -> Iterator[Fault]:
    owners: dict[str, str] = {}
    for name, segment in config.segments.items():
        at = ("segments", name)
        if segment.master == segment.slave:
            text = f"segment {name!r} has {segment.master!r} as master and as slave: name two load balancers"
            yield Fault((*at, "slave"), text)
            continue
        claims = {f"ask ID {segment.ask_id}": "ask_id"}
        for role, fixed, lb in (
            ("master", "before", segment.master),
            ("slave", "after", segment.slave),
        ):
            claims[f"load balancer {lb!r}"] = role
            claims |= {f"fixed NF {nf!r}": fixed for nf in getattr(segment, fixed)}
            if lb not in config.balancers:
                known = names(config.balancers)
                text = f"segment {name!r} names unknown load balancer {lb!r}: there is {known}"
                yield Fault((*at, role), text)
                continue
            for index, nf in enumerate(getattr(segment, fixed)):
                for text in _misplaced(config, name, config.balancers[lb].switch, nf):
                    yield Fault((*at, fixed, index), text)
        for claim, key in claims.items():
            if claim in owners:
                text = (
                    f"{claim} is used by segment {owners[claim]!r} and by segment {name!r}: give each its own"
                )
                yield Fault((*at, key), text)
            owners[claim] = name


def _misplaced(config: NetworkConfig, segment: str, switch: str, name: str) -> Iterator[str]:
    """What is wrong with a fixed NF of a segment, which stands on `switch`."""
    nf = config.nfs.get(name)
    if nf is None:
        yield f"segment {segment!r} names unknown NF {name!r}: there is {names(config.nfs)}"
        return
    if nf.switch != switch:
        yield (
            f"fixed NF {name!r} of segment {segment!r} hangs on switch {nf.switch!r}: "
            f"attach it to that of its load balancer, {switch!r}"
        )
    if nf.ingress == nf.egress:
        yield f"fixed NF {name!r} of segment {segment!r} has one port: it needs two, give it another egress"


def _services(config: ServiceConfig) -> Iterator[Fault]:
    owners: dict[str, str] = {}
    for name, service in config.services.items():
        for index, segment in enumerate(service.segments):
            at = ("services", name, "segments", index)
            if segment not in config.segments:
                text = f"unknown segment {segment!r}: there is {names(config.segments)}"
                yield Fault(at, text)
            elif segment in owners:
                text = f"segment {segment!r} is in service {owners[segment]!r} already: it can be in one only"
                yield Fault(at, text)
            owners[segment] = name
        if name in config.segments and name not in service.segments:
            text = f"service {name!r} bears the name of a segment that is not in it: choose another"
            yield Fault(("services", name), text)


def _classifiers(config: ServiceConfig) -> Iterator[Fault]:
    for name, service in config.services.items():
        at = ("services", name, "classifier")
        rules = len(service.rules())
        if rules > RULES_MAX:
            text = (
                f"{rules} combinations of prefixes and ports are too many: a load balancer has room for "
                f"{RULES_MAX}; use wider prefixes, or ranges of ports"
            )
            yield Fault(at, text)
        for segment in service.segments:
            affinity = config.segments[segment].affinity if segment in config.segments else "session"
            for index, traffic in enumerate(service.classifier):
                for key in _unseen(traffic, affinity):
                    text = (
                        f"segment {segment!r} keeps to one chain what this would part, by its affinity "
                        f"{affinity!r}: leave it out, or give the segment affinity: session"
                    )
                    yield Fault((*at, index, key), text)


def _unseen(traffic: TrafficConfig, affinity: str) -> Iterator[str]:
    """The keys of a classifier that sessions of so coarse an affinity do not tell apart."""
    coarse = {"addresses": ("protocol", "ports"), "client": ("server", "protocol", "ports")}
    return (key for key in coarse.get(affinity, ()) if getattr(traffic, key))


def _bypasses(config: ServiceConfig) -> Iterator[Fault]:
    """Chains without NFs: one in each segment by which something may pass, none elsewhere."""
    owners: dict[str, str] = {}
    passed = set(config.passed)
    for name, chain in config.chains.items():
        at: Key = ("chains", name)
        if chain.nfs or not config.segments:
            continue
        segment = config.segment_of(chain)
        if segment not in passed:
            text = (
                f"chain {name!r} has no NFs, and nothing passes by segment {segment!r}: name its NFs, give "
                "the service a classifier, or have the segment fail open"
            )
            yield Fault((*at, "nfs"), text)
        elif segment in owners:
            text = f"chain {owners[segment]!r} is there for what passes by segment {segment!r}: one is all"
            yield Fault((*at, "nfs"), text)
        elif chain.canary:
            yield Fault((*at, "canary"), f"chain {name!r} has no NFs that could be tried: leave it out")
        elif chain.cordoned or chain.weight != WEIGHT_DEFAULT:
            text = f"chain {name!r} has no NFs: it takes all that passes by, so leave out weight and cordoned"
            yield Fault((*at, "weight" if chain.weight != WEIGHT_DEFAULT else "cordoned"), text)
        owners[segment] = name
    for name, chain in config.bypasses.items():
        if name in config.chains or not _is_name(name):
            text = (
                f"what passes by segment {chain.segment!r} needs a chain, which can't be called {name!r}: "
                f"add one under a name of your own, NAME: {{segment: {chain.segment}, nfs: []}}"
            )
            yield Fault(("chains",), text)


def _is_name(name: str) -> bool:
    try:
        return bool(check_name(name))
    except CatenaryError:
        return False


def _chains(config: ServiceConfig) -> Iterator[Fault]:
    users: dict[str, str] = {}
    for name, chain in config.chains.items():
        at = ("chains", name)
        if chain.segment is None and len(config.segments) != 1:
            known = names(config.segments)
            yield Fault((*at, "segment"), f"chain {name!r} names no segment, and there is {known}: name one")
        elif chain.segment is not None and chain.segment not in config.segments:
            text = f"unknown segment {chain.segment!r}: there is {names(config.segments)}"
            yield Fault((*at, "segment"), text)
        if chain.canary and chain.weight != WEIGHT_DEFAULT:
            text = f"the weight of canary {name!r} follows from its share of {chain.canary} %: leave it out"
            yield Fault((*at, "weight"), text)
        for index, nf in enumerate(chain.nfs):
            for text in _unusable(config, users, name, nf):
                yield Fault((*at, "nfs", index), text)
            if nf in config.nfs and config.nfs[nf].tags is TagMode.STRIPPED:
                users[nf] = name


def _unusable(config: ServiceConfig, users: dict[str, str], chain: str, nf: str) -> Iterator[str]:
    """Why an NF can't be part of a chain, which those of `users` are of others."""
    if nf not in config.nfs:
        yield f"unknown NF {nf!r}: there is {names(config.nfs)}"
    elif nf in config.fixed:
        yield (
            f"NF {nf!r} stands fixed at segment {config.fixed[nf]!r}: it can't be part of a chain too; "
            "use another NF, or take it out of before and after"
        )
    elif users.get(nf) == chain or config.chains[chain].nfs.count(nf) > 1:
        yield f"chain {chain!r} names NF {nf!r} twice: once is all"
    elif nf in users:
        yield (
            f"NF {nf!r} is used by chain {users[nf]!r} too: an NF with tags stripped serves one chain; "
            "use another NF, or attach it with tags: kept"
        )


def _tags(config: ServiceConfig) -> Iterator[Fault]:
    """Any two segments may share a switch, so no ID is used twice."""
    owners = {segment.ask_id: f"segment {name!r} (its ask ID)" for name, segment in config.segments.items()}
    for name, chain in config.chains.items():
        for side in ("forward", "reverse") if chain.tags else ():
            vid = getattr(chain.tags, side)
            if vid in owners:
                text = f"VLAN ID {vid} of chain {name!r} is used by {owners[vid]} too: choose another"
                yield Fault(("chains", name, "tags", side), text)
            owners[vid] = f"chain {name!r}"


def names(known: Iterable[str]) -> str:
    return ", ".join(known) or "none"
