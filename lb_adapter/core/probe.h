/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * probe: the frames by which a master sees that a chain is alive (docs/reliability.md).
 *
 * All have the same length and their number at the same place, whatever their kind, so all of this is at fixed offsets.
 * The slave's data plane turns one into its answer and sends that back through the chain; no daemon takes part.
 */
#ifndef CATENARY_PROBE_H
#define CATENARY_PROBE_H

#include "reset.h"

/* Ethernet, IPv4 and the longest upper header, TCP's: bytes of it, and where things lie. */
#define PROBE_IP 14
#define PROBE_UPPER 34
#define PROBE_NUMBER 42 /* in the payload; of an answer by TCP, in what it acknowledges */
#define ICMP_REPLY 0

/*
 * Is a frame of `bytes` a probe, or the answer to one? By IP, whatever is between the two addresses that are theirs, in
 * the form that they have. No probe has a pin, so this comes before any look-up: all others pay for one compare.
 */
INLINE int is_probe(const struct config *c, const struct frame *f, int class, __u64 bytes)
{
	const struct session_key *k = &f->key;

	if (class == FRAME_PROBE)
		return 1;
	if (k->low_addr[1] != c->probe[0] || class != FRAME_SESSION)
		return 0;
	return k->high_addr[1] == c->probe[1] && c->probe[0] &&
	       (k->kind == PROTO_ICMP || k->kind == PROTO_TCP || k->kind == PROTO_UDP) && f->upper == 20 &&
	       !f->fragment.kind && !k->vlan[0] && bytes >= PROBE_BYTES;
}

INLINE void swap_bytes(__u8 *a, __u8 *b, int count)
{
	__u8 byte;

	UNROLL
	for (int i = 0; i < count; i++) {
		byte = a[i];
		a[i] = b[i];
		b[i] = byte;
	}
}

/* Words that the checksum at `p` covers changed, and with them their sum (RFC 1624). */
INLINE void mend_checksum(__u8 *p, __u16 before, __u16 after)
{
	put16(p, ~fold_sum((__u16)~raw16(p) + (__u16)~before + after));
}

/* The probe at `p`, PROBE_BYTES of it, becomes its answer. */
INLINE void turn_probe(__u8 *p)
{
	__u8 *upper = p + PROBE_UPPER;
	__u16 before;

	swap_bytes(p, p + 6, 6);
	if (load16(p + 12) != ETHERTYPE_IPV4)
		return;
	swap_bytes(p + PROBE_IP + 12, p + PROBE_IP + 16, 4);
	switch (p[PROBE_IP + 9]) {
	case PROTO_ICMP:
		before = raw16(upper);
		upper[0] = ICMP_REPLY;
		mend_checksum(upper + 2, before, raw16(upper));
		return;
	case PROTO_UDP:
		swap_bytes(upper, upper + 2, 2);
		return;
	}
	/* A SYN, refused by a RST: nothing of it is left in any network function. */
	swap_bytes(upper, upper + 2, 2);
	before = fold_sum(sum_words(upper + 4, 5));
	__builtin_memcpy(upper + 8, upper + 4, 4);
	__builtin_memset(upper + 4, 0, 4);
	put32(upper + 8, load32(upper + 8) + 1);
	upper[13] = TCP_RST | TCP_ACK;
	mend_checksum(upper + 16, before, fold_sum(sum_words(upper + 4, 5)));
}

#endif
