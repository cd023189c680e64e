/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A session's key and its forms: sorted, coarse, small, hashed. core/parse.h makes it from a frame.
 *
 * Pure: no globals, no libc, no helper calls.
 */
#ifndef CATENARY_KEY_H
#define CATENARY_KEY_H

#include "abi.h"

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#endif

/* Before a loop of few turns: the BPF verifier likes it flat. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define PROTO_TCP 6
#define PROTO_UDP 17
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define MAPPED 0xffff0000ULL /* bytes 8..11 of ::ffff:a.b.c.d as a word of a little-endian host */

enum frame_class {
	FRAME_SESSION,  /* `key` is filled in, from the session's own header */
	FRAME_ERROR,    /* `key` is that of the packet quoted in an ICMP error: it is only looked up */
	FRAME_FRAGMENT, /* a later fragment: `fragment` is filled in, and is only looked up */
	FRAME_OTHER,    /* no session: for the designated chain */
	FRAME_BAD,      /* to be dropped for `reason` */
	FRAME_PROBE,    /* a master's raw probe of a chain, or the answer to it */
};

struct frame {
	struct session_key key;
	struct session_key fragment; /* of a first or later fragment; fragment.kind is 0 if it is none */
	__u8 tcp_flags;              /* 0 unless TCP */
	__u8 upper;                  /* where the upper-layer header begins, from the start of the IP header */
	__u8 error;                  /* it is an ICMP error */
	__u8 from_low;               /* the frame's source is the key's low end (client affinity needs it) */
	__u16 reason;
};

/* Network byte order as it lies in memory, without a dependence on the host's. */
INLINE __u16 raw16(const __u8 *p)
{
	__u16 value;
	__builtin_memcpy(&value, p, 2);
	return value;
}

INLINE __u64 raw64(const __u8 *p)
{
	__u64 value;
	__builtin_memcpy(&value, p, 8);
	return value;
}

INLINE void copy_ipv6(__u64 *to, const __u8 *from)
{
	to[0] = raw64(from);
	to[1] = raw64(from + 8);
}

/* Is the low end above the high one? Compared as bytes in network order, address first. */
INLINE int out_of_order(const struct session_key *key)
{
	__u64 low0 = __builtin_bswap64(key->low_addr[0]), high0 = __builtin_bswap64(key->high_addr[0]);
	__u64 low1 = __builtin_bswap64(key->low_addr[1]), high1 = __builtin_bswap64(key->high_addr[1]);

	if (low0 != high0)
		return low0 > high0;
	if (low1 != high1)
		return low1 > high1;
	return __builtin_bswap16(key->low_port) > __builtin_bswap16(key->high_port);
}

/* Swap the ends of the key if they are not in order. */
INLINE void sort_ends(struct frame *f)
{
	struct session_key *key = &f->key;
	__u64 addr0 = key->low_addr[0], addr1 = key->low_addr[1];
	__u16 port = key->low_port;

	f->from_low = !out_of_order(key);
	if (f->from_low)
		return;
	key->low_addr[0] = key->high_addr[0];
	key->low_addr[1] = key->high_addr[1];
	key->high_addr[0] = addr0;
	key->high_addr[1] = addr1;
	key->low_port = key->high_port;
	key->high_port = port;
}

/* ::ffff:a.b.c.d (RFC 4291), as it lies in memory. */
INLINE void map_ipv4(__u64 *to, const __u8 *from)
{
	__u32 address;

	__builtin_memcpy(&address, from, 4);
	to[0] = 0;
	to[1] = MAPPED | (__u64)address << 32;
}

/*
 * Make the key as coarse as the segment asks. `forward`: the frame goes from client to server. Coarse keys
 * have no TCP state, and all fragments have one, so nothing of a fragment need be remembered.
 */
INLINE int coarsen(struct frame *f, int class, __u32 affinity, int forward)
{
	struct session_key *key = &f->key;

	if (affinity == AFFINITY_SESSION || key->kind >= KIND_ARP || class >= FRAME_OTHER)
		return class;
	if (class == FRAME_FRAGMENT) {
		class = FRAME_SESSION;
		sort_ends(f);
	}
	f->fragment.kind = 0;
	f->tcp_flags = 0;
	key->low_port = key->high_port = 0;
	if (affinity == AFFINITY_ADDRESSES) {
		key->kind = KIND_ADDRESSES;
		return class;
	}
	if (f->from_low != forward)
		copy_ipv6(key->low_addr, (const __u8 *)key->high_addr);
	key->high_addr[0] = key->high_addr[1] = 0;
	key->kind = KIND_CLIENT;
	return class;
}

/*
 * The small form of an IPv4 key, if it has one: both addresses mapped IPv4 and a kind of 8 bits. Where it has
 * none, the full key is the key: no session has both.
 */
INLINE int shrink_key(const struct session_key *key, struct ipv4_key *small)
{
	if (key->low_addr[0] || key->high_addr[0] || (__u32)key->low_addr[1] != MAPPED ||
	    (__u32)key->high_addr[1] != MAPPED || key->kind > 255)
		return 0;
	small->low_addr = key->low_addr[1] >> 32;
	small->high_addr = key->high_addr[1] >> 32;
	small->low_port = key->low_port;
	small->high_port = key->high_port;
	small->kind_tags = (__u32)key->kind << 24 | (__u32)key->vlan[1] << 12 | key->vlan[0];
	return 1;
}

INLINE int same_session(const struct session_key *a, const struct session_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;
	__u64 differ = 0;

	UNROLL
	for (int i = 0; i < (int)(sizeof(*a) / 8); i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/* The full key again, of its small form. */
INLINE void expand_key(const struct ipv4_key *small, struct session_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->low_addr[1] = MAPPED | (__u64)small->low_addr << 32;
	key->high_addr[1] = MAPPED | (__u64)small->high_addr << 32;
	key->low_port = small->low_port;
	key->high_port = small->high_port;
	key->kind = small->kind_tags >> 24;
	key->vlan[0] = small->kind_tags & 0xfff;
	key->vlan[1] = small->kind_tags >> 12 & 0xfff;
}

/* 64-bit hash of a key; SessionKey.hash64 in catenary/session.py is its twin. */
INLINE __u64 hash_key(const struct session_key *key)
{
	__u64 value = 0x9E3779B97F4A7C15ULL;
	__u32 word;

	UNROLL
	for (int i = 0; i < (int)(sizeof(*key) / 4); i++) {
		__builtin_memcpy(&word, (const __u8 *)key + 4 * i, 4);
		value = (value ^ word) * 0xFF51AFD7ED558CCDULL;
		value ^= value >> 32;
	}
	return value;
}

/* Tells keys apart, but for one pair in 2^31: a sum of products, of which none waits for another. Never 0. */
INLINE __u32 key_check(const struct session_key *key)
{
	__u64 sum = 0, by = 1, word;

	UNROLL
	for (int i = 0; i < (int)(sizeof(*key) / 8); i++) {
		__builtin_memcpy(&word, (const __u8 *)key + 8 * i, 8);
		by *= 0xFF51AFD7ED558CCDULL;
		sum += word * by;
	}
	return sum >> 32 | 1;
}

/* The second of the two lanes that p2c chooses from: as good as independent of the first. */
INLINE __u64 second_lane(__u64 hash)
{
	hash *= 0x9E3779B97F4A7C15ULL;
	return hash ^ hash >> 29;
}

/* Entry of the Maglev table: the hash's upper half scaled to the table, without a division. */
INLINE __u32 table_index(__u64 hash) { return (hash >> 32) * TABLE_SIZE >> 32; }

/* Entry of the outer side's table: from bits that neither lane above is made of. */
INLINE __u32 outer_index(__u64 hash) { return (second_lane(hash) & 0xffffffff) * OUTER_TABLE >> 32; }

_Static_assert(sizeof(struct session_key) == 48, "Python packs 48 bytes");

#endif
