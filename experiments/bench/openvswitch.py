"""Open vSwitch as it can spread sessions over VLANs by itself: the fair peer.

Two bridges in one userspace switch, one before the chains and one behind them, with the same wire between
them as Catenary's pair. (A patch port in its place would let the switch join the rules of both into one that
neither pushes nor pops: no chain could stand there.) Port 1 is the host's, port 2 the chains'. Both bridges
push on the way into the chains and pop on the way out.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.bench.pair import CHAINS
from topologies import namespaces
from topologies.ovs import OpenVSwitch, alive
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

_PORTS = {"b1": ("l1o", "l1i"), "b2": ("l2o", "l2i")}


@dataclass(frozen=True)
class Rules:
    """Groups and flows, one a line; `<out N>` and `<in N>`: tags of chain N that a bridge pushes and gets."""

    groups: str
    flows: str

    def of(self, bridge: str) -> tuple[list[str], list[str]]:
        """Groups and flows of one bridge."""
        return _filled(self.groups, bridge), _filled(self.flows, bridge)


def _filled(text: str, bridge: str) -> list[str]:
    for chain, tags in enumerate(CHAINS, start=1):
        out, back = tags.ids if bridge == "b1" else reversed(tags.ids)
        text = text.replace(f"<out {chain}>", str(4096 + out)).replace(f"<in {chain}>", str(back))
    return text.splitlines()


_PUSH = "\n".join(
    f"table=2,reg0={chain},actions=push_vlan:0x8100,set_field:<out {chain}>->vlan_vid,output:2"
    for chain in (1, 2, 3)
)
MULTIPATH = Rules(
    "",
    f"""\
table=0,in_port=2,vlan_tci=0x1000/0x1000,actions=pop_vlan,output:1
table=0,in_port=1,actions=multipath(symmetric_l3l4+udp,1024,modulo_n,3,0,NXM_NX_REG1[]),resubmit(,1)
table=1,reg1=0,actions=set_field:1->reg0,resubmit(,2)
table=1,reg1=1,actions=set_field:2->reg0,resubmit(,2)
table=1,reg1=2,actions=set_field:3->reg0,resubmit(,2)
{_PUSH}""",
)


def _learn(protocol: str, number: int, *, back: bool) -> str:
    """Into table 10: the session of this packet or, `back`, of an answer to it, goes to the chain in reg0."""
    fields = [("IP_SRC", "IP_DST"), ("IP_DST", "IP_SRC")]
    fields += [(f"{protocol}_SRC", f"{protocol}_DST"), (f"{protocol}_DST", f"{protocol}_SRC")]
    match = ",".join(f"NXM_OF_{a}[]=NXM_OF_{b}[]" if back else f"NXM_OF_{a}[]" for a, b in fields)
    load = "load:NXM_NX_REG0[]->NXM_NX_REG0[]"
    return f"learn(table=10,idle_timeout=60,eth_type=0x800,nw_proto={number},{match},{load})"


LEARN = Rules(
    "\n".join(
        f"group_id={number},type=select,selection_method=hash,"
        f"fields(ip_src,ip_dst,{protocol}_src,{protocol}_dst)"
        + "".join(f",bucket=actions=set_field:{chain}->reg0,resubmit(,3)" for chain in (1, 2, 3))
        for number, protocol in ((1, "tcp"), (2, "udp"))
    ),
    "\n".join(
        (
            *(
                f"table=0,in_port=2,dl_vlan=<in {chain}>,actions=set_field:{chain}->reg0,pop_vlan,"
                "resubmit(,4),output:1"
                for chain in (1, 2, 3)
            ),
            "table=0,in_port=1,actions=resubmit(,10),resubmit(,1)",
            "table=1,priority=2,reg0=0,tcp,actions=group:1",
            "table=1,priority=2,reg0=0,udp,actions=group:2",
            "table=1,priority=1,reg0=0,actions=set_field:1->reg0,resubmit(,2)",
            "table=1,priority=0,actions=resubmit(,2)",
            f"table=3,tcp,actions={_learn('TCP', 6, back=False)},resubmit(,2)",
            f"table=3,udp,actions={_learn('UDP', 17, back=False)},resubmit(,2)",
            f"table=4,tcp,actions={_learn('TCP', 6, back=True)}",
            f"table=4,udp,actions={_learn('UDP', 17, back=True)}",
            _PUSH,
        )
    ),
)


def commands(rules: Rules, *, tso: bool, smc: bool) -> list[str]:
    """What a user would type for the same."""
    groups, flows = rules.of("b1")
    return [
        f"ovs-vsctl set Open_vSwitch . {' '.join(_options(tso, smc))}  # before ovs-vswitchd starts",
        *(f"ovs-ofctl -O OpenFlow15 add-group b1 '{line}'" for line in groups),
        *(f"ovs-ofctl -O OpenFlow13 add-flow b1 '{line}'" for line in flows),
        "b2: the same with forward and reverse tags exchanged",
    ]


def _options(tso: bool, smc: bool) -> tuple[str, str]:
    words = ("false", "true")
    return (
        f"other_config:userspace-tso-enable={words[tso]}",
        f"other_config:smc-enable={words[smc]}",
    )


@contextmanager
def bridges(rules: Rules, *, tso: bool, smc: bool) -> Iterator[OpenVSwitch]:
    """A switch of its own with both bridges, on the four ports of the load balancers."""
    directory = Path(tempfile.mkdtemp(prefix="ovs-", dir=namespaces.PRIVATE))
    with OpenVSwitch(directory) as ovs:
        ovs.vsctl("set", "Open_vSwitch", ".", *_options(tso, smc))
        if not tso:
            _restart(ovs)
        for bridge in _PORTS:
            _add_bridge(ovs, bridge)
        for bridge in _PORTS:
            groups, flows = rules.of(bridge)
            for line in groups:
                ovs.ofctl("-O", "OpenFlow15", "add-group", bridge, line)
            for line in flows:
                ovs.ofctl("add-flow", bridge, line)
        yield ovs


def _add_bridge(ovs: OpenVSwitch, bridge: str) -> None:
    ovs.add_bridge(bridge)
    ovs.vsctl("set", "bridge", bridge, "protocols=OpenFlow13,OpenFlow15")
    for number, port in enumerate(_PORTS[bridge], start=1):
        ovs.vsctl("add-port", bridge, port, "--", "set", "interface", port, f"ofport_request={number}")


def _restart(ovs: OpenVSwitch) -> None:
    """The switch process anew: it reads the segmentation offload only when it starts."""
    directory = ovs.directory
    pid = int((directory / "ovs-vswitchd.pid").read_text())
    ovs.appctl("exit", "--cleanup")
    wait_until(lambda: not alive(pid), "ovs-vswitchd has not ended")
    files = (f"--pidfile={directory}/ovs-vswitchd.pid", f"--log-file={directory}/ovs-vswitchd.log")
    subprocess.run(
        ["ovs-vswitchd", f"unix:{directory}/db.sock", *files, "--no-chdir", "--detach", "-vconsole:off"],
        env={**os.environ, **ovs.environment},
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
