// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A load balancer that breaks its promise: at the egress of its inner port, behind all that it does itself.
 * Experiments must notice. IPv4 only, as the traffic is that it is tried on; all else passes.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_HEADER 20
#define DPORT 2
#define EVERY_OTHER 2 /* the lowest bit tells nothing: connect() takes even ports */

/* Of the tag on the frame: another one for every other client port, 0 to leave it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} swaps SEC(".maps");

/* One in so many frames is dropped; 0: none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} drops SEC(".maps");

SEC("tc")
int sabotage(struct __sk_buff *skb)
{
	__u32 zero = 0, tag, *other, *one_in = bpf_map_lookup_elem(&drops, &zero);
	__u16 port, proto;
	int at = ETH_HLEN;

	if (one_in && *one_in && bpf_get_prandom_u32() % *one_in == 0)
		return TC_ACT_SHOT;
	if (skb->vlan_present) {
		tag = skb->vlan_tci & 0x0fff;
	} else {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &port, 2))
			return TC_ACT_UNSPEC;
		tag = bpf_ntohs(port) & 0x0fff;
		at += 4;
	}
	other = bpf_map_lookup_elem(&swaps, &tag);
	if (!other || !*other)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, at - 2, &proto, 2) || proto != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, at + IP_HEADER + DPORT, &port, 2) || !(bpf_ntohs(port) & EVERY_OTHER))
		return TC_ACT_UNSPEC;
	if (bpf_skb_vlan_pop(skb) || bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), *other))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual BSD/GPL";
