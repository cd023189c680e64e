"""The shim to os-ken: OpenFlow 1.3 messages to the fabric's words and back. The only file that names os-ken.

os-ken runs its handlers in one thread an app, and its hub's own waits never time out, so a handler here only
hands on what came, and every wait is on the standard library's queues.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

# app_manager first: imported the other way round, os-ken's own modules form a circle.
from os_ken.base import app_manager  # isort: skip
from os_ken import cfg
from os_ken.controller import ofp_event
from os_ken.controller.controller import datapath_connection_factory
from os_ken.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.controller.ofp_handler import OFPHandler
from os_ken.lib import hub
from os_ken.lib.dpid import dpid_to_str
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_3_parser
from os_ken.topology.switches import LLDPPacket

from catenary.errors import CatenaryError, Unavailable
from controller.fabric import Fabric, LivePort
from controller.listener import Serve
from controller.pipeline import ANY_TAG, UNTAGGED, CountedFlow, Flow, FlowMatch

OFP = ofproto_v1_3
PARSER = ofproto_v1_3_parser
PRESENT = (OFP.OFPVID_PRESENT, OFP.OFPVID_PRESENT)
WHOLE_COOKIE = (1 << 64) - 1
MAX_XID = 0xFFFFFFFF
VLAN_ETHERTYPE = 0x8100

log = structlog.get_logger("controller")


class OpenFlowChannel:
    """One connected switch; see `controller.fabric.Channel`."""

    def __init__(self, datapath: Any) -> None:
        self.dpid: int = datapath.id
        self.datapath = datapath
        self._xids = itertools.count(1)
        self._replies: dict[int, queue.SimpleQueue[Any]] = {}
        self._faults: dict[int, str] = {}
        """What was said against each flow change that waits for its barrier; empty so far."""
        self._lock = threading.Lock()

    def ports(self) -> Mapping[str, LivePort]:
        down = OFP.OFPPC_PORT_DOWN
        return {
            port.name.decode(): LivePort(number, not (port.config & down or port.state & OFP.OFPPS_LINK_DOWN))
            for number, port in list(self.datapath.ports.items())
            if number <= OFP.OFPP_MAX
        }

    def send(
        self, add: Sequence[Flow], delete: Sequence[Flow], cookie: int | None = None
    ) -> Callable[[float], None]:
        messages = [self._flow_mod(flow, OFP.OFPFC_ADD) for flow in add]
        messages += [self._flow_mod(flow, OFP.OFPFC_DELETE_STRICT) for flow in delete]
        if cookie is not None:
            messages.append(self._delete_cookie(cookie))
        sent = [self._send(message, watched=True) for message in messages]
        barrier, replies = self._request(PARSER.OFPBarrierRequest(self.datapath))

        def wait(timeout: float) -> None:
            self._reply(replies, barrier, "barrier", timeout)
            with self._lock:
                faults = [fault for xid in sent if (fault := self._faults.pop(xid, ""))]
            if faults:
                raise CatenaryError(f"{self._name()} refused {len(faults)} rules: {faults[0]}")

        return wait

    def flows(self, timeout: float, cookie: int | None = None) -> list[CountedFlow]:
        which = (0, 0) if cookie is None else (cookie, WHOLE_COOKIE)
        request = PARSER.OFPFlowStatsRequest(
            self.datapath, 0, OFP.OFPTT_ALL, OFP.OFPP_ANY, OFP.OFPG_ANY, *which, PARSER.OFPMatch()
        )
        xid, replies = self._request(request)
        found: list[CountedFlow] = []
        more = True
        while more:
            message = self._reply(replies, xid, "flow statistics", timeout, last=False)
            found += [_counted(stats) for stats in message.body]
            more = bool(message.flags & OFP.OFPMPF_REPLY_MORE)
        self._forget(xid)
        return found

    def probe(self, port: LivePort) -> None:
        known = self.datapath.ports.get(port.number)
        if known is None:
            return
        frame = LLDPPacket.lldp_packet(self.dpid, port.number, known.hw_addr, 2)
        out = PARSER.OFPPacketOut(
            self.datapath,
            buffer_id=OFP.OFP_NO_BUFFER,
            in_port=OFP.OFPP_CONTROLLER,
            actions=[PARSER.OFPActionOutput(port.number)],
            data=bytes(frame),
        )
        self._send(out)

    # --- replies: called from the event thread --------------------------------------------------------

    def replied(self, message: Any) -> None:
        with self._lock:
            waiting = self._replies.get(message.xid)
        if waiting is not None:
            waiting.put(message)

    def failed(self, message: Any) -> None:
        text = f"OpenFlow error type {message.type}, code {message.code}"
        log.error("switch refused a message", switch=self._name(), error=text, xid=message.xid)
        with self._lock:
            if message.xid in self._faults:
                self._faults[message.xid] = text

    def closed(self) -> None:
        """Wake everyone who waits: no reply will come."""
        with self._lock:
            waiting = list(self._replies.values())
        for replies in waiting:
            replies.put(None)

    # --- sending --------------------------------------------------------------------------------------

    def _name(self) -> str:
        return f"switch with datapath ID {self.dpid}"

    def _send(self, message: Any, watched: bool = False) -> int:
        # os-ken's own counter of transactions is not safe among threads.
        with self._lock:
            xid = next(self._xids) & MAX_XID
            message.set_xid(xid)
            if watched:
                self._faults[xid] = ""
        if not self.datapath.send_msg(message):
            raise Unavailable(f"{self._name()} has just disconnected")
        return xid

    def _request(self, message: Any) -> tuple[int, queue.SimpleQueue[Any]]:
        replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            xid = next(self._xids) & MAX_XID
            message.set_xid(xid)
            self._replies[xid] = replies
        if not self.datapath.send_msg(message):
            self._forget(xid)
            raise Unavailable(f"{self._name()} has just disconnected")
        return xid, replies

    def _reply(
        self, replies: queue.SimpleQueue[Any], xid: int, what: str, timeout: float, last: bool = True
    ) -> Any:
        try:
            message = replies.get(timeout=timeout)
        except queue.Empty:
            self._forget(xid)
            raise Unavailable(f"{self._name()} did not answer a {what} within {timeout:g} s") from None
        if last or message is None:
            self._forget(xid)
        if message is None:
            raise Unavailable(f"{self._name()} disconnected before it answered a {what}")
        return message

    def _forget(self, xid: int) -> None:
        with self._lock:
            self._replies.pop(xid, None)

    def _flow_mod(self, flow: Flow, command: int) -> Any:
        return PARSER.OFPFlowMod(
            self.datapath,
            cookie=flow.cookie,
            table_id=flow.table,
            command=command,
            priority=flow.priority,
            out_port=OFP.OFPP_ANY,
            out_group=OFP.OFPG_ANY,
            match=flow.origin if isinstance(flow.origin, PARSER.OFPMatch) else _match(flow.match),
            instructions=[] if command == OFP.OFPFC_DELETE_STRICT else _instructions(flow),
        )

    def _delete_cookie(self, cookie: int) -> Any:
        return PARSER.OFPFlowMod(
            self.datapath,
            cookie=cookie,
            cookie_mask=WHOLE_COOKIE,
            table_id=OFP.OFPTT_ALL,
            command=OFP.OFPFC_DELETE,
            out_port=OFP.OFPP_ANY,
            out_group=OFP.OFPG_ANY,
            match=PARSER.OFPMatch(),
        )


# --- flows and messages ------------------------------------------------------------------------------------


def _match(match: FlowMatch) -> Any:
    given: dict[str, Any] = {}
    if match.in_port is not None:
        given["in_port"] = match.in_port
    if match.vlan is not None:
        tags = {UNTAGGED: OFP.OFPVID_NONE, ANY_TAG: PRESENT}
        given["vlan_vid"] = tags.get(match.vlan, match.vlan | OFP.OFPVID_PRESENT)
    if match.eth_type is not None:
        given["eth_type"] = match.eth_type
    if match.eth_dst is not None:
        address, _, mask = match.eth_dst.partition("/")
        given["eth_dst"] = (address, mask) if mask else address
    return PARSER.OFPMatch(**given)


def _instructions(flow: Flow) -> list[Any]:
    actions: list[Any] = []
    instructions: list[Any] = []
    for verb, number in flow.actions:
        if verb == "output":
            actions.append(PARSER.OFPActionOutput(number, OFP.OFPCML_NO_BUFFER))
        elif verb == "push":
            actions.append(PARSER.OFPActionPushVlan(VLAN_ETHERTYPE))
            actions.append(PARSER.OFPActionSetField(vlan_vid=number | OFP.OFPVID_PRESENT))
        elif verb == "pop":
            actions.append(PARSER.OFPActionPopVlan())
        else:
            instructions.append(PARSER.OFPInstructionGotoTable(number))
    if actions:
        instructions.insert(0, PARSER.OFPInstructionActions(OFP.OFPIT_APPLY_ACTIONS, actions))
    return instructions


def _counted(stats: Any) -> CountedFlow:
    match, odd = _match_of(stats.match)
    actions, more = _actions_of(stats.instructions)
    timeouts = "timeout" if stats.idle_timeout or stats.hard_timeout else ""
    foreign = " ".join(part for part in (odd, more, timeouts) if part)
    flow = Flow(stats.table_id, stats.priority, stats.cookie, match, actions, foreign, stats.match)
    return CountedFlow(flow, stats.packet_count, stats.byte_count)


def _match_of(match: Any) -> tuple[FlowMatch, str]:
    fields = dict(match.items())
    vlan = eth_dst = None
    if "vlan_vid" in fields:
        value = fields.pop("vlan_vid")
        vlan = ANY_TAG if value == PRESENT else UNTAGGED if value == OFP.OFPVID_NONE else None
        if vlan is None and isinstance(value, int):
            vlan = value & ~OFP.OFPVID_PRESENT
        elif vlan is None:
            fields["vlan_vid"] = value
    if "eth_dst" in fields:
        value = fields.pop("eth_dst")
        eth_dst = value if isinstance(value, str) else "/".join(value)
    known = FlowMatch(fields.pop("in_port", None), vlan, fields.pop("eth_type", None), eth_dst)
    return known, repr(fields) if fields else ""


def _actions_of(instructions: Sequence[Any]) -> tuple[tuple[tuple[str, int], ...], str]:
    found: list[tuple[str, int]] = []
    odd = ""
    for instruction in instructions:
        if isinstance(instruction, PARSER.OFPInstructionGotoTable):
            found.append(("goto", instruction.table_id))
        elif instruction.type == OFP.OFPIT_APPLY_ACTIONS:
            for action in instruction.actions:
                if isinstance(action, PARSER.OFPActionOutput):
                    found.append(("output", action.port))
                elif isinstance(action, PARSER.OFPActionPopVlan):
                    found.append(("pop", 0))
                elif isinstance(action, PARSER.OFPActionSetField) and action.key == "vlan_vid":
                    found.append(("push", action.value & ~OFP.OFPVID_PRESENT))
                elif not isinstance(action, PARSER.OFPActionPushVlan):
                    odd = repr(action)
        else:
            odd = repr(instruction)
    return tuple(found), odd


# --- the app ------------------------------------------------------------------------------------------------


class SwitchEvents(app_manager.OSKenApp):  # type: ignore[misc]
    """Receives what switches send and hands it on."""

    OFP_VERSIONS = [OFP.OFP_VERSION]

    def __init__(self, *args: Any, fabric: Fabric, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fabric = fabric
        self._channels: dict[Any, OpenFlowChannel] = {}

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])  # type: ignore[untyped-decorator]
    def state_changed(self, event: Any) -> None:
        datapath = event.datapath
        if event.state == MAIN_DISPATCHER:
            channel = self._channels[datapath] = OpenFlowChannel(datapath)
            self._fabric.connected(channel)
            return
        gone = self._channels.pop(datapath, None)
        if gone is not None:
            gone.closed()
            self._fabric.disconnected(gone)

    @set_ev_cls(ofp_event.EventOFPPortStateChange, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def port_changed(self, event: Any) -> None:
        channel = self._channels.get(event.datapath)
        if channel is not None:
            self._fabric.ports_changed(channel)

    @set_ev_cls([ofp_event.EventOFPBarrierReply, ofp_event.EventOFPFlowStatsReply], MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def replied(self, event: Any) -> None:
        channel = self._channels.get(event.msg.datapath)
        if channel is not None:
            channel.replied(event.msg)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])  # type: ignore[untyped-decorator]
    def failed(self, event: Any) -> None:
        channel = self._channels.get(event.msg.datapath)
        if channel is not None:
            channel.failed(event.msg)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def packet_in(self, event: Any) -> None:
        message = event.msg
        try:
            source = LLDPPacket.lldp_parse(message.data)
        except LLDPPacket.LLDPUnknownFormat:
            # A neighbour outside speaks LLDP too; it is no probe of ours.
            log.debug("foreign LLDP", switch=dpid_to_str(message.datapath.id))
            return
        self._fabric.heard(source, (message.datapath.id, message.match["in_port"]))


def start(fabric: Fabric) -> Serve:
    """Start os-ken's threads; what takes the connections of switches (see `controller.listener`).

    os-ken offers no way to end these threads (its `kill` does nothing): the process must be ended.
    """
    cfg.CONF(args=[], project="catenary", default_config_files=[], default_config_dirs=[])
    # os-ken finds out that a connection is dead only when it sends: so it sends something each second.
    cfg.CONF.set_override("echo_request_interval", 1.0)
    cfg.CONF.set_override("maximum_unreplied_echo_requests", 30)
    manager = app_manager.AppManager.get_instance()
    for app in (manager.instantiate(SwitchEvents, fabric=fabric), manager.instantiate(OFPHandler)):
        app_manager.OSKenApp.start(app)  # not OFPHandler's own, which listens
    return lambda connection, address: hub.spawn(datapath_connection_factory, connection, address)
