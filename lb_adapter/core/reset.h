/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * reset: the RST that answers a TCP packet of a connection that is no more (RFC 9293, 3.10.7.1).
 *
 * Pure, as parse.h is: the leaf writes the answer into the packet's own frame, whose tags stay.
 */
#ifndef CATENARY_RESET_H
#define CATENARY_RESET_H

#include "parse.h"

#define RESET_HOPS 64

/* The MAC addresses, and `size` bytes of IP and TCP header, from offset `at` on the last of the frame. */
struct reset {
	__u8 macs[12];
	__u8 bytes[60];
	__u32 at;
	__u32 size;
	__u16 pseudo; /* sum of the pseudo-header alone, as a checksum that hardware finishes begins */
	__u16 words;  /* sum of the TCP header */
};

/* One's complement sum of 16-bit words as they lie in memory; the byte order is whatever theirs is (RFC 1071). */
INLINE __u32 sum_words(const __u8 *p, int words)
{
	__u32 sum = 0;

	UNROLL
	for (int i = 0; i < words; i++)
		sum += raw16(p + 2 * i);
	return sum;
}

INLINE __u16 fold_sum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

INLINE void put16(__u8 *p, __u16 raw) { __builtin_memcpy(p, &raw, 2); }

INLINE void put32(__u8 *p, __u32 value)
{
	value = __builtin_bswap32(value);
	__builtin_memcpy(p, &value, 4);
}

INLINE __u32 load32(const __u8 *p) { return (__u32)load16(p) << 16 | load16(p + 2); }

/* The TCP header at `to`, of the answer to `tcp`. `rest`: bytes of the packet from `tcp` on. */
INLINE void reset_tcp(const __u8 *tcp, __u32 rest, __u8 *to)
{
	__u8 flags = tcp[13];
	__u32 header = (tcp[12] >> 4) * 4;

	put16(to, raw16(tcp + 2));
	put16(to + 2, raw16(tcp));
	to[12] = 5 << 4;
	if (flags & TCP_ACK) {
		__builtin_memcpy(to + 4, tcp + 8, 4);
		to[13] = TCP_RST;
	} else {
		rest = rest > header ? rest - header : 0;
		put32(to + 8, load32(tcp + 4) + rest + !!(flags & TCP_SYN) + !!(flags & TCP_FIN));
		to[13] = TCP_RST | TCP_ACK;
	}
}

/*
 * The answer to the whole TCP packet in the frame at `data`, of which the upper-layer header begins `upper` bytes after
 * the IP header. Options and extension headers are not sent back. -1 if it is not all there.
 */
INLINE int make_reset(const __u8 *data, const __u8 *end, __u32 upper, struct reset *r)
{
	const __u8 *ip, *tcp;
	__u32 at = 14;
	__u16 type;

	__builtin_memset(r, 0, sizeof(*r));
	if (data + 14 > end)
		return -1;
	__builtin_memcpy(r->macs, data + 6, 6);
	__builtin_memcpy(r->macs + 6, data, 6);
	type = load16(data + 12);
	UNROLL
	for (int i = 0; i < 2; i++) {
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
			break;
		if (data + at + 4 > end)
			return -1;
		type = load16(data + at + 2);
		at += 4;
	}
	ip = data + at;
	tcp = ip + (upper & 0xff);
	r->at = at;
	if (ip + 40 > end || tcp + 20 > end)
		return -1;
	if (type == ETHERTYPE_IPV4) {
		r->size = 40;
		r->bytes[0] = 0x45;
		r->bytes[3] = 40;
		r->bytes[6] = 0x40; /* don't fragment */
		r->bytes[8] = RESET_HOPS;
		r->bytes[9] = PROTO_TCP;
		__builtin_memcpy(r->bytes + 12, ip + 16, 4);
		__builtin_memcpy(r->bytes + 16, ip + 12, 4);
		put16(r->bytes + 10, ~fold_sum(sum_words(r->bytes, 10)));
		reset_tcp(tcp, load16(ip + 2) - (upper & 0xff), r->bytes + 20);
		r->pseudo = fold_sum(sum_words(r->bytes + 12, 4) + __builtin_bswap16(PROTO_TCP) + __builtin_bswap16(20));
		r->words = fold_sum(sum_words(r->bytes + 20, 10));
		put16(r->bytes + 36, ~fold_sum(r->pseudo + r->words));
		return 0;
	}
	r->size = 60;
	r->bytes[0] = 0x60;
	r->bytes[5] = 20;
	r->bytes[6] = PROTO_TCP;
	r->bytes[7] = RESET_HOPS;
	__builtin_memcpy(r->bytes + 8, ip + 24, 16);
	__builtin_memcpy(r->bytes + 24, ip + 8, 16);
	reset_tcp(tcp, 40 + load16(ip + 4) - (upper & 0xff), r->bytes + 40);
	r->pseudo = fold_sum(sum_words(r->bytes + 8, 16) + __builtin_bswap16(PROTO_TCP) + __builtin_bswap16(20));
	r->words = fold_sum(sum_words(r->bytes + 40, 10));
	put16(r->bytes + 56, ~fold_sum(r->pseudo + r->words));
	return 0;
}

/* The frame at `data`, all of it in memory, becomes the answer. Its new length, or 0. */
INLINE __u32 turn_into_reset(__u8 *data, const __u8 *end, __u32 upper)
{
	struct reset r;

	if (make_reset(data, end, upper, &r))
		return 0;
	__builtin_memcpy(data, r.macs, 12);
	__builtin_memcpy(data + r.at, r.bytes, r.size);
	return r.at + r.size;
}

#endif
