// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A fault for tests: drops every 100th frame, the first one included, and lets others decide on the rest. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

static __u32 seen;

SEC("tc")
int drop(struct __sk_buff *skb)
{
	return __sync_fetch_and_add(&seen, 1) % 100 ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
