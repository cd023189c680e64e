/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A batch of frames through the splice: parse all, look all up, decide each, and change its tags.
 *
 * A frame lies in a buffer with HEADROOM bytes free before it, so that a tag is pushed by moving the 12 bytes of
 * its MAC addresses, and nothing else.
 */
#ifndef CATENARY_PACKET_H
#define CATENARY_PACKET_H

#include <linux/virtio_net.h>

#include "leaf.h"

#define HEADROOM 64
#define BATCH 64
#define MAC_BYTES 12
#define TAG_BYTES 4

struct packet {
	__u8 *data;
	__u32 length;
	__u16 tpid;   /* of a tag beside the frame, as the kernel keeps the outermost one; 0: there is none */
	__u16 tci;
	struct virtio_net_hdr *vnet; /* checksum and segmentation still to be done, or NULL */
	struct verdict verdict;      /* what was decided */
};

INLINE void store16(__u8 *p, __u16 value)
{
	p[0] = value >> 8;
	p[1] = value & 0xff;
}

/* The frame grew by `bytes` in front of its network header: what counts from its start has moved. */
INLINE void moved(struct packet *p, int bytes)
{
	struct virtio_net_hdr *v = p->vnet;

	p->length += bytes;
	if (!v)
		return;
	if (v->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		v->csum_start += bytes;
	if (v->hdr_len)
		v->hdr_len += bytes;
}

INLINE void push_tag(struct packet *p, __u16 tpid, __u16 tci)
{
	p->data -= TAG_BYTES;
	memmove(p->data, p->data + TAG_BYTES, MAC_BYTES);
	store16(p->data + MAC_BYTES, tpid);
	store16(p->data + MAC_BYTES + 2, tci);
	moved(p, TAG_BYTES);
}

INLINE void pop_tag(struct packet *p)
{
	memmove(p->data + TAG_BYTES, p->data, MAC_BYTES);
	p->data += TAG_BYTES;
	moved(p, -TAG_BYTES);
}

/* The VLAN ID of the outermost tag, beside the frame or in it; 0 if there is none. */
INLINE __u16 outermost_tag(const struct packet *p)
{
	if (p->tpid)
		return p->tci & 0x0fff;
	if (p->length < MAC_BYTES + TAG_BYTES || load16(p->data + MAC_BYTES) != ETHERTYPE_VLAN)
		return 0;
	return load16(p->data + MAC_BYTES + 2) & 0x0fff;
}

/* Packets on the wire that this frame stands for: it may be one that is yet to be cut into segments. */
INLINE __u64 segments(const struct packet *p)
{
	const struct virtio_net_hdr *v = p->vnet;
	__u32 headers;

	if (!v || !v->gso_type || !v->gso_size || (__u32)v->csum_start + 14 > p->length)
		return 1;
	headers = v->csum_start;
	headers += v->csum_offset == 16 ? (p->data[v->csum_start + 12] >> 4) * 4 : 8; /* TCP's checksum is at 16 */
	return p->length > headers ? (p->length - headers + v->gso_size - 1) / v->gso_size : 1;
}

INLINE void count_chain(struct env *e, const struct packet *p)
{
	struct chain_counters *chain = &e->mine->chains[p->verdict.slot];

	if (p->verdict.reverse) {
		chain->reverse_packets += e->packets;
		chain->reverse_bytes += p->length;
	} else {
		chain->forward_packets += e->packets;
		chain->forward_bytes += p->length;
	}
}

struct parsed {
	struct frame f;
	int class;
	int own; /* inner port: its own tag was popped; outer port: it carries one of the segment's own */
	struct vid meaning;
	__u64 hash;
	__u64 small[2];
	int is_small;
};

/* First pass: pop the own tag, parse, and ask the memory for the session's bucket. */
INLINE void parse_packet_of(struct env *e, struct packet *p, enum port from, struct parsed *out)
{
	struct source source;
	__u16 tag = outermost_tag(p);

	out->meaning = e->s->vids[tag];
	out->own = tag != 0;
	if (from == PORT_INNER && tag) {
		if (p->tpid)
			p->tpid = 0;
		else
			pop_tag(p);
	}
	source.data = p->data;
	source.end = p->data + p->length;
	out->class = parse_frame(&source, source.data, source.end, p->tpid ? (p->tci & 0x0fff) | TAG_BESIDE : 0,
				 &out->f);
	if (from == PORT_OUTER)
		/* The outermost VLAN, were there a priority tag before it, as in the BPF programs. */
		out->own = out->f.key.vlan[0] && e->s->vids[out->f.key.vlan[0]].kind != VID_UNKNOWN;
	out->is_small = -1;
	if ((out->class == FRAME_SESSION || out->class == FRAME_ERROR) && e->c->affinity == AFFINITY_SESSION) {
		prepare_key(e, &out->f.key);
		prefetch_bucket(e);
		out->hash = e->hash;
		out->small[0] = e->small[0];
		out->small[1] = e->small[1];
		out->is_small = e->is_small;
	}
}

/* The frame becomes the RST that answers it: short, with its checksum whole. */
INLINE void answer_reset(struct packet *p, __u32 upper)
{
	p->length = turn_into_reset(p->data, p->data + p->length, upper);
	if (p->vnet)
		*p->vnet = (struct virtio_net_hdr){ .gso_type = VIRTIO_NET_HDR_GSO_NONE };
}

/* Turn a probe, if it is to be, and note that it came out of its chain. */
static __attribute__((noinline)) void meet_probe(struct env *e, struct packet *p)
{
	struct probed *probed = &e->s->probes[p->verdict.slot];
	struct timespec t;

	if (p->verdict.reason == probe_turned)
		turn_probe(p->data);
	clock_gettime(CLOCK_MONOTONIC, &t);
	__atomic_store_n(&probed->at_ns, t.tv_sec * 1000000000ULL + t.tv_nsec, __ATOMIC_RELEASE);
	__atomic_store_n(&probed->number, load16(p->data + PROBE_NUMBER), __ATOMIC_RELEASE);
	probed->count++;
}

/* Second pass: decide, count, and put the tags on; p->verdict.port says where it goes. */
INLINE void decide_packet(struct env *e, struct packet *p, enum port from, struct parsed *in)
{
	struct verdict *v = &p->verdict;

	e->no_slot = drop_no_chain;
	e->outer = 0;
	e->from_inner = 0;
	e->bytes = p->length;
	e->packets = segments(p);
	e->other = NO_SLOT;
	e->present = NULL;
	e->hashed = NULL;
	if (in->is_small >= 0) {
		e->hashed = &in->f.key;
		e->hash = in->hash;
		e->small[0] = in->small[0];
		e->small[1] = in->small[1];
		e->is_small = in->is_small;
	}
	if (from == PORT_OUTER)
		*v = decide_outer(e, &in->f, in->class, in->own);
	else if (!in->own)
		*v = drop_for(drop_untagged);
	else
		*v = decide_inner(e, &in->f, in->class, in->meaning.kind, in->meaning.slot);
	if (v->reason == session_reset)
		answer_reset(p, in->f.upper);
	else if (v->reason == probe_turned || v->reason == probe_returned)
		meet_probe(e, p);
	leaf_count(e, v->reason);
	if (v->port == PORT_NONE)
		return;
	/* A tag that the kernel took out of the frame was the user's: it goes back in. */
	if (p->tpid)
		push_tag(p, p->tpid, p->tci);
	p->tpid = 0;
	if (v->slot != NO_SLOT && v->reason != probe_turned)
		count_chain(e, p);
	if (v->vid)
		push_tag(p, ETHERTYPE_VLAN, v->vid);
}

INLINE void run_batch(struct segment *s, __u32 thread, struct packet *packets, int count, enum port from)
{
	struct thread_area *mine = thread_area(s, thread);
	struct parsed parsed[BATCH];
	struct env e;

	batch_begin(s, mine);
	e = env_of(s, thread);
	for (int i = 0; i < count; i++)
		parse_packet_of(&e, &packets[i], from, &parsed[i]);
	for (int i = 0; i < count; i++)
		decide_packet(&e, &packets[i], from, &parsed[i]);
	batch_end(mine);
}

/* A batch of `count` <= BATCH frames that came in by port `from`. Compiled for each port on its own. */
static inline void splice_batch(struct segment *s, __u32 thread, struct packet *packets, int count, enum port from)
{
	if (from == PORT_OUTER)
		run_batch(s, thread, packets, count, PORT_OUTER);
	else
		run_batch(s, thread, packets, count, PORT_INNER);
}

#endif
