// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What a bridge lacks to stand in a load balancer's place: one tag, always the same, on all that leaves its inner
 * port, so that the switches lead it through the one chain; and none on what comes back.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tag SEC(".maps");

SEC("tc")
int push(struct __sk_buff *skb)
{
	__u32 zero = 0, *vid = bpf_map_lookup_elem(&tag, &zero);

	return vid && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), *vid) == 0 ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int pop(struct __sk_buff *skb)
{
	return skb->vlan_present && bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
