/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * parse: a frame to its session key and class.
 *
 * Pure: no globals, no libc, no helper calls. `data` and `end` bound what may be read; every read is checked
 * against `end` just before it, the form that both the BPF verifier and a reader can follow.
 */
#ifndef CATENARY_PARSE_H
#define CATENARY_PARSE_H

#include "key.h"

#define PROTO_ICMP 1
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_AH 51
#define PROTO_ICMPV6 58
#define PROTO_NONE 59
#define PROTO_DESTINATION 60
#define PROTO_SCTP 132
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERTYPE_PROBE 0x88b5 /* for local experiments (IEEE 802): so a name follows it */
#define PROBE_NAME "catenary"
#define ND_SOLICIT 135
#define ND_ADVERT 136
#define TAG_BESIDE 0x1000 /* beside the VLAN ID: there is such a tag, though its ID be 0 (a priority tag) */

/* Bounds of what is walked: headers, and bytes from the start of the IP header to the last byte needed. */
#define MAX_EXTENSIONS 6
#define MAX_HEADERS 240

INLINE __u16 load16(const __u8 *p) { return (__u16)(p[0] << 8 | p[1]); }

/* A frame of which nothing is known yet. The rest of `fragment` means nothing while its kind is 0. */
INLINE void reset(struct frame *f)
{
	__builtin_memset(&f->key, 0, sizeof(f->key));
	f->fragment.kind = 0;
	f->tcp_flags = f->upper = f->error = f->from_low = 0;
	f->reason = 0;
}

INLINE int bad(struct frame *f, __u16 reason)
{
	f->reason = reason;
	return FRAME_BAD;
}

/* A header that is not all there: in a first fragment it would come with a later one. */
INLINE int too_short(struct frame *f)
{
	return bad(f, f->fragment.kind ? drop_fragment_short : drop_malformed);
}

INLINE int is_icmp_error(__u16 kind, __u8 type)
{
	if (kind == PROTO_ICMP)
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
	return type < 128;
}

INLINE int is_echo(__u16 kind, __u8 type)
{
	return kind == PROTO_ICMP ? type == 0 || type == 8 : type == 128 || type == 129;
}

/*
 * The upper-layer header at `l4`, of protocol f->key.kind with the addresses already in place. `size` bytes from
 * there on belong to the packet: what comes after them is padding. `icmp` is the number of this IP version's
 * ICMP. `quoted`: only 8 bytes are certain (RFC 792), which hold the ports but not TCP's flags.
 */
INLINE int parse_upper(const __u8 *l4, const __u8 *end, __u32 size, __u16 icmp, int quoted, struct frame *f)
{
	__u16 kind = f->key.kind;

	if (kind == PROTO_TCP || kind == PROTO_UDP || kind == PROTO_SCTP) {
		if (l4 + 8 > end || size < 8)
			return too_short(f);
		f->key.low_port = raw16(l4);
		f->key.high_port = raw16(l4 + 2);
		if (!quoted && kind == PROTO_TCP) {
			if (l4 + 20 > end || size < 20)
				return too_short(f);
			f->tcp_flags = l4[13];
		} else if (!quoted && kind == PROTO_SCTP && (l4 + 12 > end || size < 12)) {
			return too_short(f);
		}
	} else if (kind == icmp) {
		if (l4 + 8 > end || size < 8)
			return too_short(f);
		if (is_echo(kind, l4[0]))
			f->key.low_port = f->key.high_port = raw16(l4 + 4);
	}
	sort_ends(f);
	return FRAME_SESSION;
}

/* Note a fragment: its key is directional, so that two directions with one identification stay apart. */
INLINE void note_fragment(struct frame *f, __u32 id)
{
	__builtin_memcpy(&f->fragment, &f->key, sizeof(f->key));
	f->fragment.low_port = id >> 16;
	f->fragment.high_port = id & 0xffff;
	f->fragment.kind = f->key.kind | KIND_FRAGMENT;
}

/*
 * An IPv4 header and what follows, in a frame with `length` bytes from here on. Where the upper-layer header
 * begins is left in f->upper. The length in a quoted header is not believed: hosts are known to change it.
 */
INLINE int parse_ipv4(const __u8 *ip, const __u8 *end, __u32 length, int quoted, struct frame *f)
{
	__u32 header, total, fragment;

	if (ip + 20 > end)
		return bad(f, drop_malformed);
	header = (ip[0] & 0x0f) * 4;
	total = quoted ? length : load16(ip + 2);
	if (ip[0] >> 4 != 4 || header < 20 || total < header || total > length)
		return bad(f, drop_malformed);
	map_ipv4(f->key.low_addr, ip + 12);
	map_ipv4(f->key.high_addr, ip + 16);
	f->key.kind = ip[9];
	fragment = load16(ip + 6) & 0x3fff;
	if (fragment)
		note_fragment(f, load16(ip + 4));
	if (fragment & 0x1fff)
		return FRAME_FRAGMENT;
	f->upper = header;
	return parse_upper(ip + header, end, total - header, PROTO_ICMP, quoted, f);
}

/* Neighbour solicitation and advertisement (RFC 4861): keyed by who asks and who is asked for. */
INLINE int parse_nd(const __u8 *ip, const __u8 *icmp, const __u8 *end, __u32 size, struct frame *f)
{
	if (icmp + 24 > end || ip + 40 > end || size < 24)
		return too_short(f);
	f->key.kind = KIND_ND;
	copy_ipv6(f->key.high_addr, icmp + 8);
	if (icmp[0] == ND_SOLICIT) {
		/* From ::, duplicate address detection: no one to bring an answer back to. */
		if (raw64(ip + 8) == 0 && raw64(ip + 16) == 0)
			return FRAME_OTHER;
		copy_ipv6(f->key.low_addr, ip + 8);
	} else {
		if (ip[24] == 0xff)
			return FRAME_OTHER;
		copy_ipv6(f->key.low_addr, ip + 24);
	}
	sort_ends(f);
	return FRAME_SESSION;
}

/* An IPv6 header, its extension headers, and what follows; see parse_ipv4. */
INLINE int parse_ipv6(const __u8 *ip, const __u8 *end, __u32 length, int quoted, struct frame *f)
{
	__u32 at = 40, total = length, next, fragment = 0, i;
	const __u8 *h;

	if (ip + 40 > end || ip[0] >> 4 != 6)
		return bad(f, drop_malformed);
	next = ip[6];
	/* Length 0 before a hop-by-hop header: a jumbogram (RFC 2675), as large as its frame. */
	if (!quoted && (load16(ip + 4) || next))
		total = 40 + load16(ip + 4);
	if (total > length)
		return bad(f, drop_malformed);
	copy_ipv6(f->key.low_addr, ip + 8);
	copy_ipv6(f->key.high_addr, ip + 24);
	/* Not unrolled: the verifier follows bounded loops, and the code stays small. */
	for (i = 0; i < MAX_EXTENSIONS; i++) {
		if (next != 0 && next != PROTO_ROUTING && next != PROTO_DESTINATION && next != PROTO_AH &&
		    next != PROTO_FRAGMENT)
			break;
		h = ip + at;
		if (at > MAX_HEADERS)
			return bad(f, drop_header_chain);
		if (h + 8 > end || at + 8 > total)
			return too_short(f);
		if (next == PROTO_FRAGMENT) {
			fragment = load16(h + 2) & 0xfff9;
			f->key.kind = h[0];
			/* An atomic fragment (RFC 6946) is a whole packet. */
			if (fragment)
				note_fragment(f, (__u32)load16(h + 4) << 16 | load16(h + 6));
			if (fragment & 0xfff8)
				return FRAME_FRAGMENT;
			next = h[0];
			at += 8;
		} else {
			at += next == PROTO_AH ? (h[1] + 2) * 4 : (h[1] + 1) * 8;
			next = h[0];
		}
	}
	if (at > MAX_HEADERS || next == 0 || next == PROTO_ROUTING || next == PROTO_DESTINATION ||
	    next == PROTO_AH || next == PROTO_FRAGMENT)
		return bad(f, drop_header_chain);
	if (at > total)
		return too_short(f);
	f->key.kind = next;
	h = ip + at;
	f->upper = at;
	if (next == PROTO_ICMPV6 && !quoted && h + 1 <= end && at < total &&
	    (h[0] == ND_SOLICIT || h[0] == ND_ADVERT))
		return parse_nd(ip, h, end, total - at, f);
	return parse_upper(h, end, total - at, PROTO_ICMPV6, quoted, f);
}

/* ARP for IPv4 over Ethernet (RFC 826): keyed by (sender, target), so a reply has its request's key. */
INLINE int parse_arp(const __u8 *arp, const __u8 *end, struct frame *f)
{
	if (arp + 8 > end)
		return bad(f, drop_malformed);
	if (load16(arp) != 1 || load16(arp + 2) != ETHERTYPE_IPV4 || arp[4] != 6 || arp[5] != 4)
		return FRAME_OTHER;
	if (arp + 28 > end)
		return bad(f, drop_malformed);
	f->key.kind = KIND_ARP;
	map_ipv4(f->key.low_addr, arp + 14);
	map_ipv4(f->key.high_addr, arp + 24);
	sort_ends(f);
	return FRAME_SESSION;
}

/*
 * The IP packet at `offset`, `quoted` in an ICMP error or whole. A leaf may define PARSE_IP to have this done by a
 * function that it keeps apart: the BPF verifier would else walk all of it for each of its callers.
 */
#ifndef PARSE_IP
#define PARSE_IP(source, offset, v6, quoted, f)                                                            \
	parse_ip((source)->data + (offset), (source)->end, (source)->end - (source)->data - (offset), v6, quoted, f)

struct source {
	const __u8 *data;
	const __u8 *end;
};
#endif

INLINE int parse_ip(const __u8 *ip, const __u8 *end, __u32 length, int v6, int quoted, struct frame *f)
{
	int class = v6 ? parse_ipv6(ip, end, length, quoted, f) : parse_ipv4(ip, end, length, quoted, f);
	__u16 kind = v6 ? PROTO_ICMPV6 : PROTO_ICMP;
	const __u8 *icmp = ip + f->upper;

	f->error = !quoted && class == FRAME_SESSION && f->key.kind == kind && icmp + 8 <= end &&
		   is_icmp_error(kind, icmp[0]);
	return class;
}

/*
 * The IP packet quoted in an ICMP error whose ICMP header is at `offset`. Its own direction is the opposite of
 * the error's; sorted, both have one key. What can't be told (a quoted later fragment, a cut header) is
 * no session's.
 */
INLINE int parse_quoted(struct source *source, __u32 offset, int v6, struct frame *f)
{
	__u16 outermost = f->key.vlan[0], second = f->key.vlan[1];
	int class;

	reset(f);
	f->key.vlan[0] = outermost;
	f->key.vlan[1] = second;
	class = PARSE_IP(source, offset + 8, v6, 1, f);
	f->fragment.kind = 0;
	f->from_low = !f->from_low;
	return class == FRAME_SESSION ? FRAME_ERROR : bad(f, drop_error_unknown);
}

INLINE int parse_packet(struct source *source, __u32 offset, int v6, int group, struct frame *f)
{
	int class = PARSE_IP(source, offset, v6, 0, f);

	if (class == FRAME_BAD)
		return class;
	/* Multicast and broadcast are no session, but for the questions of neighbour discovery. */
	if (group && f->key.kind != KIND_ND)
		return FRAME_OTHER;
	if (f->error)
		return parse_quoted(source, offset + f->upper, v6, f);
	return class;
}

/*
 * Of this EtherType: is it a load balancer's? Without any tag, be it one of priority only: all that it needs is at
 * fixed offsets (core/probe.h).
 */
INLINE int is_raw_probe(const __u8 *data, const __u8 *end)
{
	const __u8 name[8] = PROBE_NAME;

	return data + PROBE_BYTES <= end && load16(data + 12) == ETHERTYPE_PROBE && raw64(data + 14) == raw64(name);
}

/*
 * Parse an Ethernet frame that lies at `data`, of which `source` is the whole. `beside` is the ID of a tag that
 * lies beside the frame, not in it (the kernel keeps the outermost one in the skb), with TAG_BESIDE; 0 if there is
 * none. More than two tags, wherever they lie, are no session; one with ID 0 has only a priority (802.1Q), and
 * leaves no mark in the key.
 */
INLINE int parse_frame(struct source *source, const __u8 *data, const __u8 *end, __u16 beside,
		       struct frame *f)
{
	__u16 type, vid, outermost = beside & 0x0fff, second = 0;
	__u32 group, offset = 14;

	reset(f);
	if (data + 14 > end)
		return bad(f, drop_malformed);
	group = data[0] & 1;
	type = load16(data + 12);
	UNROLL
	for (int i = 0; i < 2; i++) {
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
			break;
		if (beside && i)
			break;
		if (data + offset + 4 > end)
			return bad(f, drop_malformed);
		vid = load16(data + offset) & 0x0fff;
		if (outermost)
			second = vid;
		else
			outermost = vid;
		type = load16(data + offset + 2);
		offset += 4;
	}
	f->key.vlan[0] = outermost;
	f->key.vlan[1] = second;
	if (type == ETHERTYPE_ARP)
		return parse_arp(data + offset, end, f);
	if (type == ETHERTYPE_IPV4 || type == ETHERTYPE_IPV6)
		return parse_packet(source, offset, type == ETHERTYPE_IPV6, group, f);
	if (type == ETHERTYPE_PROBE && is_raw_probe(data, end) && !beside)
		return FRAME_PROBE;
	return FRAME_OTHER;
}

_Static_assert(MAX_HEADERS + 2 * 4 < 256, "f->upper is a byte");

#endif
