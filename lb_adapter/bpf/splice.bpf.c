// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The eBPF data plane: a splice between the outer port and the tagged endpoints of the inner port.
 *
 * Two programs at tc ingress, `outer` and `inner`, serve both roles. They parse, have core/splice.h decide, and
 * carry the verdict out. Every frame leaves by a redirect or is dropped with a counter; nothing reaches the
 * host's own stack. What the daemon runs from user space is in walk.h; the maps and the session table in them, in
 * maps.h and leaf.h; how a frame is read, in frame.h.
 *
 * skb->cb[0..2] carry (reason, VLAN ID pushed, interface) of the last frame: only a test run reads them.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct config;
struct session_key;
struct advice;
#define CONSULT(e, key, client_low, a) consult_now(key, client_low, a)
int consult_now(const struct session_key *key, int client_low, struct advice *a);
#define PIN_NEXT next_pin
#define LEASE_NEXT next_lease
__u64 next_pin(__u64 word, __u32 now, __u32 flags, __u32 side, const struct config *c);
__u64 next_lease(__u64 word, __u64 fresh, __u32 flags, __u32 side, const struct config *c);

#include "frame.h"
#include "pin.h"
#include "probe.h"
#include "reset.h"
#include "leaf.h"
#include "splice.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Global, too: the verifier walks through the rules once, and not wherever a chain is chosen. */
__noinline int consult_now(const struct session_key *key, int client_low, struct advice *a)
{
	if (key && a)
		consult(leaf_table(NULL), key, client_low, a);
	return 0;
}

/* In place, the verifier would walk all of their branches for each try and each way there: half of all that it does. */
__noinline __u64 next_pin(__u64 word, __u32 now, __u32 flags, __u32 side, const struct config *c)
{
	return c ? pin_next(word, now, flags, side, c) : word;
}

__noinline __u64 next_lease(__u64 word, __u64 fresh, __u32 flags, __u32 side, const struct config *c)
{
	return c ? lease_next(word, fresh, flags, side, c) : word;
}

INLINE void weigh(struct __sk_buff *skb, struct env *e)
{
	e->bytes = skb->len;
	e->packets = skb->gso_segs ? skb->gso_segs : 1;
}

INLINE void count_chain(const struct env *e, const struct verdict *v)
{
	__u32 slot = v->slot;
	struct chain_counters *chain = bpf_map_lookup_elem(&chains, &slot);

	if (!chain)
		return;
	if (v->reverse) {
		chain->reverse_packets += e->packets;
		chain->reverse_bytes += e->bytes;
	} else {
		chain->forward_packets += e->packets;
		chain->forward_bytes += e->bytes;
	}
}

/*
 * The frame becomes the RST that answers it; 0 if it does. Cut to its new length, it is no GSO frame any more, but its
 * checksum may still be for hardware to finish. Then it must hold the sum of the pseudo-header and nothing else, and
 * the kernel leaves it alone when we add to it what makes it whole. Such a frame with IP options or extension headers
 * can't be cut so short, and is dropped.
 */
__noinline int answer_reset(struct __sk_buff *skb, __u32 upper)
{
	__u32 zero = 0, check;
	struct reset *r = bpf_map_lookup_elem(&answer, &zero);

	if (!r || make_reset((void *)(long)skb->data, (void *)(long)skb->data_end, upper, r))
		return -1;
	if (bpf_skb_change_tail(skb, r->at + r->size, 0))
		return -1;
	check = r->at + r->size - 4;
	if (bpf_skb_store_bytes(skb, 0, r->macs, 12, 0) ||
	    (r->size == 40 ? bpf_skb_store_bytes(skb, r->at, r->bytes, 40, 0) :
			     bpf_skb_store_bytes(skb, r->at, r->bytes, 60, 0)) ||
	    bpf_skb_store_bytes(skb, check, &r->pseudo, 2, 0))
		return -1;
	return bpf_l4_csum_replace(skb, check, 0, fold_sum(2 * r->pseudo + r->words), 2);
}

/* Turn a probe, if it is to be, and note that it came out of its chain. Global: nobody else pays for its stack. */
__noinline int meet_probe(struct __sk_buff *skb, __u32 slot, __u32 turn)
{
	struct probed *probed = bpf_map_lookup_elem(&probes, &slot);
	__u8 bytes[PROBE_BYTES];

	if (!probed || bpf_skb_load_bytes(skb, 0, bytes, PROBE_BYTES))
		return -1;
	if (turn) {
		turn_probe(bytes);
		if (bpf_skb_store_bytes(skb, 0, bytes, PROBE_BYTES, 0))
			return -1;
	}
	*(volatile __u64 *)&probed->at_ns = bpf_ktime_get_ns();
	*(volatile __u32 *)&probed->number = load16(bytes + PROBE_NUMBER);
	probed->count++;
	return 0;
}

/* What only few frames need: they become a RST, or are probes. The reason, if it could be done. */
INLINE __u16 emit_special(struct __sk_buff *skb, const struct verdict *v, __u32 upper, int from_inner)
{
	if (v->reason == session_reset)
		return answer_reset(skb, upper) ? drop_internal : v->reason;
	if (from_inner && (v->reason == probe_turned || v->reason == probe_returned))
		return meet_probe(skb, v->slot, v->reason == probe_turned) ? drop_internal : v->reason;
	return v->reason;
}

/* emit: carry a verdict out. `upper` is where the frame's upper-layer header begins, from its IP header. */
INLINE int emit(struct __sk_buff *skb, struct env *e, const struct verdict *v, __u32 upper, int from_inner)
{
	__u16 reason = v->reason;

	if (reason >= session_reset)
		reason = emit_special(skb, v, upper, from_inner);
	if (reason != drop_internal && v->port != PORT_NONE && v->vid && bpf_skb_vlan_push(skb, bpf_htons(ETHERTYPE_VLAN), v->vid))
		reason = drop_internal;
	leaf_count(e, reason);
	skb->cb[0] = reason;
	skb->cb[1] = v->vid;
	skb->cb[2] = v->ifindex;
	if (v->port == PORT_NONE || reason == drop_internal)
		return TC_ACT_SHOT;
	if (v->slot != NO_SLOT && reason != probe_turned)
		count_chain(e, v);
	return bpf_redirect(v->ifindex, 0);
}

/* The endpoint that this interface is, where endpoints are interfaces; else NULL. */
INLINE const struct vid *endpoint_of(struct __sk_buff *skb, const struct env *e)
{
	__u32 ifindex = skb->ifindex;

	return e->c->plain ? bpf_map_lookup_elem(&interfaces, &ifindex) : NULL;
}

SEC("tc")
int outer(struct __sk_buff *skb)
{
	const struct vid *endpoint;
	struct env e = { .now = now_ms(), .no_slot = drop_no_chain, .other = NO_SLOT };
	__u32 zero = 0, tag;
	struct verdict v;
	struct vid *own;
	struct frame f;
	int class;

	e.c = bpf_map_lookup_elem(&config, &zero);
	if (!e.c)
		return TC_ACT_SHOT;
	endpoint = endpoint_of(skb, &e);
	if (endpoint)
		e.outer = endpoint->slot;
	weigh(skb, &e);
	class = parse_skb(skb, &f);
	tag = f.key.vlan[0];
	own = bpf_map_lookup_elem(&vids, &tag);
	v = decide_outer(&e, &f, class, tag && own && own->kind != VID_UNKNOWN);
	return emit(skb, &e, &v, f.upper, 0);
}

SEC("tc")
int inner(struct __sk_buff *skb)
{
	struct env e = { .now = now_ms(), .no_slot = drop_no_chain, .other = NO_SLOT };
	__u32 zero = 0, tag = outermost_tag(skb);
	const struct vid *meaning = bpf_map_lookup_elem(&vids, &tag), *endpoint;
	struct verdict v;
	struct frame f;
	int class;

	e.c = bpf_map_lookup_elem(&config, &zero);
	if (!e.c || !meaning)
		return TC_ACT_SHOT;
	endpoint = endpoint_of(skb, &e);
	if (endpoint)
		meaning = endpoint;
	if (!endpoint && (!tag || bpf_skb_vlan_pop(skb))) {
		v = drop_for(tag ? drop_internal : drop_untagged);
		f.upper = 0;
	} else {
		weigh(skb, &e);
		class = parse_skb(skb, &f);
		v = decide_inner(&e, &f, class, meaning->kind, meaning->slot);
	}
	return emit(skb, &e, &v, f.upper, 1);
}

#include "walk.h"
