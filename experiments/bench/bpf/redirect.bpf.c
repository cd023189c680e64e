// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the load balancers are compared with, and what stands around them in the benchmarks.
 *
 * The benchmarks give interfaces that belong together the indices 2n and 2n + 1, so a plain redirect needs not
 * even a look-up: it is the limit of what any program at this hook can reach.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tc")
int redirect(struct __sk_buff *skb)
{
	return bpf_redirect(skb->ifindex ^ 1, 0);
}

/* The receiver's end: counted by the interface, and then gone before it costs anything more. */
SEC("tc")
int sink(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

struct place {
	__u32 ifindex;
	__u32 vid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct place);
	__type(value, __u32);
} ways SEC(".maps");

/* A switch with one rule for each (in port, VLAN ID); what no rule names is dropped. */
SEC("tc")
int steer(struct __sk_buff *skb)
{
	struct place at = { skb->ifindex, skb->vlan_present ? skb->vlan_tci & 0x0fff : 0 };
	__u32 *to = bpf_map_lookup_elem(&ways, &at);

	return to ? bpf_redirect(*to, 0) : TC_ACT_SHOT;
}
