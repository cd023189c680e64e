#!/bin/sh
# Prepares the two network cards of a load balancer: nics.sh OUTER INNER. To be run at each boot, before it starts.
# What a card can't do is said and left as it is; `catenary doctor --outer OUTER --inner INNER` tells what remains.
set -eu

if [ $# != 2 ]; then
    echo "usage: nics.sh OUTER INNER" >&2
    exit 2
fi

try() {
    "$@" >/dev/null 2>&1 || echo "not done: $*"
}

shown=$(ip -o link show dev "$1")
mtu=$(echo "$shown" | sed 's/.* mtu \([0-9]*\) .*/\1/')
# Four bytes for a tag that users' frames bear already; for ours the kernel has room beyond the MTU.
ip link set dev "$2" mtu $((mtu + 4))
for card in "$1" "$2"; do
    # What LRO merges can't be cut again as it came.
    try ethtool -K "$card" lro off
    # The card would drop tags of which no VLAN device knows.
    try ethtool -K "$card" rx-vlan-filter off
    # Tags beside the frame: cards spread by addresses and ports then, whatever tag there is.
    try ethtool -K "$card" rxvlan on txvlan on
    # A receive queue for each CPU, and UDP spread by ports like TCP.
    queues=$(ethtool -l "$card" 2>/dev/null | awk '/^Combined:/ { print $2; exit }')
    case "$queues" in
    '' | n/a | 0) ;;
    *) try ethtool -L "$card" combined "$([ "$queues" -lt "$(nproc)" ] && echo "$queues" || nproc)" ;;
    esac
    try ethtool -N "$card" rx-flow-hash udp4 sdfn
    try ethtool -N "$card" rx-flow-hash udp6 sdfn
done
