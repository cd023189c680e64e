"""What there is to be seen of the two interfaces that a load balancer shall have. Nothing is changed."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError

from catenary import libbpf
from catenary.errors import CatenaryError, InvalidValue
from lb_adapter.dataplane import ebpf, native, ports
from lb_adapter.dataplane.worker import device_interface
from lb_adapter.doctor.facts import Feature, Filter, Link, Plan, Ports, Queues

_GLOBAL = 0  # the scope of addresses that others reach
_VLAN = {"rxvlan": "rx-vlan-hw-parse", "txvlan": "tx-vlan-hw-insert", "rx-vlan-filter": "rx-vlan-filter"}
"""By the name that `ethtool -K` takes, the kernel's."""


def look(outer: str, inner: str, plan: Plan) -> Ports:
    """Of an interface that is not there, no more is told than that."""
    names = device_interface(outer), device_interface(inner)
    refused = ""
    try:
        ports.check(*names)
    except InvalidValue as error:
        refused = error.detail
    links = []
    with IPRoute() as ip:
        for name in dict.fromkeys(names):
            found = ip.link_lookup(ifname=name)
            links += [_link(ip, name, found[0], plan)] if found else []
    return Ports(tuple(links), refused)


def _link(ip: Any, name: str, index: int, plan: Plan) -> Link:
    link = ip.get_links(index)[0]
    xdp, bridge = link.get_attr("IFLA_XDP"), link.get_attr("IFLA_MASTER")
    with closing(IoctlEthtool(name)) as ethtool:
        features = ethtool.get_features()
    ours, refused = _occupied(name, plan) if os.geteuid() == 0 else (False, "")
    return Link(
        name,
        up=bool(link["flags"] & ports.UP),
        carrier=bool(link.get_attr("IFLA_CARRIER")),
        mtu=int(link.get_attr("IFLA_MTU")),
        gro=bool(features.is_active("rx-gro")),
        lro=bool(features.is_active("rx-lro")),
        vlan={word: _feature(features, kernel) for word, kernel in _VLAN.items()},
        queues=None if link.get_attr("IFLA_LINKINFO") else _queues(name),  # it tells what is virtual
        xdp=bool(xdp and xdp.get_attr("IFLA_XDP_ATTACHED")),
        addresses=tuple(
            f"{item.get_attr('IFA_ADDRESS')}/{item['prefixlen']}"
            for item in ip.get_addr(index=index)
            if item["scope"] == _GLOBAL
        ),
        bridge=(ports.interface_name(bridge) or "") if bridge else "",
        later=tuple(Filter(*row) for row in ports.filters(index) if row[1] != libbpf.PREFERENCE),
        ours=ours,
        refused=refused,
    )


def _occupied(name: str, plan: Plan) -> tuple[bool, str]:
    """Is a program of ours on it, and why can none be put there?"""
    try:
        if plan.data_plane == "ebpf":
            return ebpf.is_attached(name), ""
        native.check_no_filter(name)
    except CatenaryError as error:
        return False, error.detail
    return False, ""


def _feature(features: Any, name: str) -> Feature:
    """As `ethtool -k` tells it."""
    fixed = not features.is_available(name) or features.is_never_changed(name)
    return Feature(bool(features.is_active(name)), bool(fixed))


def _queues(name: str) -> Queues | None:
    with closing(IoctlEthtool(name)) as ethtool:
        try:
            has = ethtool.get_channels()
        except NotSupportedError:
            return None
    if has.max_combined:
        return Queues(has.combined_count, has.max_combined)
    return Queues(has.rx_count, has.max_rx, "rx")
