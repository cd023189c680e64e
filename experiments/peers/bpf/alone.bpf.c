// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A load balancer that decides alone: the paper's Algorithm 1, map(p), or the bare hash without its table.
 *
 * It stands where Catenary's does, reads frames by the same code, and pushes, pops and redirects as that does. What
 * it lacks is all that is said between the two load balancers: each has its own table and its own hash, and the
 * tag of what comes out of a chain is popped and believed by nobody.
 *
 * skb->cb[1] is the VLAN ID pushed: only a test run reads it.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "../../../lb_adapter/bpf/frame.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define CHAINS 16
#define NO_CHAIN 0xffff

struct rules {
	__u32 outer;      /* interfaces */
	__u32 inner;
	__u32 idle_ms;    /* the paper's tau; 0: no table of sessions, the hash alone */
	__u32 designated; /* chain of what is no session */
	__u32 table;      /* which of the two tables is in force */
};

/* get_newID: the chain of a hash, by a consistent table of many entries or a plain one with one a chain. */
struct table {
	__u32 size;
	__u16 entries[TABLE_SIZE];
};

struct active {
	__u32 chain;
	__u32 seen; /* ms */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rules);
} rules SEC(".maps");

/* One is in force while the other one is written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct table);
} tables SEC(".maps");

/* The VLAN ID to push for each chain. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CHAINS);
	__type(key, __u32);
	__type(value, __u32);
} tags SEC(".maps");

/* active_Sessions. What was idle too long stays until its key comes again. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct session_key);
	__type(value, struct active);
} active_sessions SEC(".maps");

INLINE __u32 new_id(const struct rules *r, const struct session_key *key)
{
	__u32 which = r->table;
	const struct table *t = bpf_map_lookup_elem(&tables, &which);
	__u64 at;

	if (!t || !t->size)
		return NO_CHAIN;
	at = hash_key(key) % t->size;
	return at < TABLE_SIZE ? t->entries[at] : NO_CHAIN;
}

/* Algorithm 1. `keep`: this packet may begin a session and prolong one. */
INLINE __u32 map_packet(const struct rules *r, const struct session_key *key, int keep)
{
	__u32 now = now_ms();
	struct active *known = r->idle_ms ? bpf_map_lookup_elem(&active_sessions, key) : NULL;
	struct active fresh;

	if (known && now - known->seen < r->idle_ms) {
		if (keep)
			known->seen = now;
		return known->chain;
	}
	fresh.chain = new_id(r, key);
	fresh.seen = now;
	if (keep && r->idle_ms && fresh.chain != NO_CHAIN)
		bpf_map_update_elem(&active_sessions, key, &fresh, BPF_ANY);
	return fresh.chain;
}

INLINE const struct rules *present_rules(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&rules, &zero);
}

SEC("tc")
int outer(struct __sk_buff *skb)
{
	const struct rules *r = present_rules();
	__u32 chain, *tag;
	struct frame f;
	int class;

	if (!r)
		return TC_ACT_SHOT;
	class = parse_skb(skb, &f);
	if (class == FRAME_BAD)
		return TC_ACT_SHOT;
	chain = r->designated;
	if (class == FRAME_SESSION || class == FRAME_ERROR)
		chain = map_packet(r, &f.key, class == FRAME_SESSION);
	tag = bpf_map_lookup_elem(&tags, &chain);
	if (!tag || bpf_skb_vlan_push(skb, bpf_htons(ETHERTYPE_VLAN), *tag))
		return TC_ACT_SHOT;
	skb->cb[1] = *tag;
	return bpf_redirect(r->inner, 0);
}

SEC("tc")
int inner(struct __sk_buff *skb)
{
	const struct rules *r = present_rules();
	struct frame f;

	if (!r || !outermost_tag(skb) || bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	if (r->idle_ms && parse_skb(skb, &f) == FRAME_SESSION)
		map_packet(r, &f.key, 1);
	return bpf_redirect(r->outer, 0);
}
