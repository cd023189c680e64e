// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The witness's tap: notes which session passed this port, which way, and how much of it.
 *
 * It stands at tc clsact of the switch-side end of a port: `ingress` sees what comes OUT of the device
 * (an NF, a load balancer), `egress` what goes INTO it. No packet is copied to user space, held or changed.
 * The verdict is always TC_ACT_UNSPEC: whatever else is attached there decides as if the tap were absent.
 *
 * The parser is the witness's own, on purpose: a judge that shares the accused's code shares its errors.
 *
 * Between two taps GSO and GRO may split and merge frames, so frames are not conserved; payload bytes and
 * packets without payload ("bare": SYN, pure ACK, FIN, RST) are. Those two are what the checker balances.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_PLACES 1024
#define MAX_TAGS 3
#define MAX_EXTENSIONS 8
#define LAZY_NS (1 << 20) /* the shared last-seen time is written about once a ms: less cache-line traffic */

enum { ETH_SIZE = 14, TAG_SIZE = 4, ETH_IPV4 = 0x0800, ETH_IPV6 = 0x86dd, ETH_CTAG = 0x8100, ETH_STAG = 0x88a8 };
enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58, SCTP = 132, HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };
enum { ECHO_REPLY = 0, ECHO = 8, ECHO_V6 = 128, ECHO_REPLY_V6 = 129 };
enum { FLAG_FIN = 0x01, FLAG_SYN = 0x02, FLAG_RST = 0x04, FLAG_ACK = 0x10 };
/* What the ends of a TCP session have sent; each may be shifted by one for the key's high end. */
enum { SENT_ACK = 1, SENT_FIN = 4, SENT_RST = 16 };
enum { INTO = 0, OUT_OF = 1 };

/* The layouts below are read by witness/recording.py; the asserts are its numbers. */
struct session {
	__be32 low[4], high[4]; /* IPv4 as ::ffff:a.b.c.d; (address, port) of low <= of high, as bytes */
	__be16 low_port, high_port;
	__u16 protocol, side; /* side: always 0, the checker's for NFs that rewrite keys */
};
struct origin { /* one incarnation of a session: what its number stands for */
	struct session key;
	__u64 first_ns;
};
struct current { /* the incarnation that a session key means now */
	__u64 word; /* number << 32 | initial sequence number: one word, so that it is replaced by one CAS */
	__u64 last_ns;
	__u64 sent; /* SENT_* bits of TCP: they tell which idle limit holds */
};
struct record_key {
	__u32 number;
	__u16 place;
	__u8 way;	/* INTO, OUT_OF */
	__u8 from_high; /* the sender is the key's high end */
};
struct record {
	__u64 first_ns, last_ns;
	__u64 loaded; /* frames with payload */
	__u64 bare;   /* packets without */
	__u64 bytes;  /* of L4 payload */
	__u8 first_flags, last_flags; /* of TCP, of the packets at first_ns and last_ns */
	__u8 spare[6];
};
struct total {
	__u64 frames, octets; /* octets: as skb->len, headers once per GSO frame */
	__u64 bytes;	      /* L4 payload of sessions */
	__u64 others;	      /* frames that belong to no session: ARP, ND, multicast, later fragments, ... */
};
struct place {
	__u16 id;
	__u16 outer; /* a load balancer's outer port: sessions begin there */
};
struct missed { /* what the witness did not see rightly: it must be 0 for a verdict to count */
	__u64 sessions_full, records_full, unparsed, unknown_place;
};
struct config {
	__u64 opening_ns, established_ns, closing_ns, udp_ns, other_ns; /* idle limits: a longer gap ends a session */
	__u32 max_sessions, next_number;
};
_Static_assert(sizeof(struct session) == 40, "SESSION");
_Static_assert(sizeof(struct origin) == 48, "ORIGIN");
_Static_assert(sizeof(struct record_key) == 8, "RECORD_KEY");
_Static_assert(sizeof(struct record) == 48, "RECORD");
_Static_assert(sizeof(struct total) == 32, "TOTAL");
_Static_assert(sizeof(struct place) == 4, "PLACE");
_Static_assert(sizeof(struct missed) == 32, "MISSED");
_Static_assert(sizeof(struct config) == 48, "CONFIG");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PLACES);
	__type(key, __u32); /* ifindex */
	__type(value, struct place);
} places SEC(".maps");

struct { /* sized by user space; grows as it is used */
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct session);
	__type(value, struct current);
} currents SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct origin);
} origins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct record_key);
	__type(value, struct record);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_PLACES * 2);
	__type(key, __u32);
	__type(value, struct total);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct missed);
} missed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} configs SEC(".maps");

enum kind { SESSION, OTHER, UNPARSED };

struct packet {
	struct session key;
	__u32 payload;
	__u32 isn; /* of a SYN without ACK */
	__u8 flags, from_high;
};

struct ends {
	__be32 source[4], target[4];
	__u32 at, left; /* where the L4 header begins, and bytes from there to the end of the IP packet */
	__u32 protocol;
};

#define LOAD(skb, at, into, size) (bpf_skb_load_bytes(skb, at, into, size) == 0)

static __always_inline enum kind parse_ipv4(struct __sk_buff *skb, __u32 at, struct ends *ends)
{
	struct { __u8 version_size, tos; __be16 length, id, fragment; __u8 ttl, protocol; __be16 sum; __be32 from, to; } ip;

	if (!LOAD(skb, at, &ip, sizeof(ip)))
		return UNPARSED;
	__u32 header = (ip.version_size & 0xf) * 4;
	__u32 length = bpf_ntohs(ip.length);
	if (!length) /* a GSO frame over 64 KB (BIG TCP) */
		length = skb->len - at;
	if (ip.version_size >> 4 != 4 || header < sizeof(ip) || length < header || at + length > skb->len)
		return UNPARSED;
	if (ip.fragment & bpf_htons(0x1fff)) /* no ports: it belongs to no session that can be named */
		return OTHER;
	ends->source[2] = ends->target[2] = bpf_htonl(0xffff);
	ends->source[3] = ip.from;
	ends->target[3] = ip.to;
	ends->protocol = ip.protocol;
	ends->at = at + header;
	ends->left = length - header;
	return SESSION;
}

static __always_inline enum kind parse_ipv6(struct __sk_buff *skb, __u32 at, struct ends *ends)
{
	struct { __be32 flow; __be16 length; __u8 next, hops; __be32 from[4], to[4]; } ip;
	struct { __u8 next, size; __be16 fragment; } extension;

	if (!LOAD(skb, at, &ip, sizeof(ip)))
		return UNPARSED;
	__u32 length = bpf_ntohs(ip.length);
	at += sizeof(ip);
	if (!length)
		length = skb->len - at;
	if (bpf_ntohl(ip.flow) >> 28 != 6 || at + length > skb->len)
		return UNPARSED;
	__builtin_memcpy(ends->source, ip.from, 16);
	__builtin_memcpy(ends->target, ip.to, 16);
	__u32 end = at + length;
	__u8 next = ip.next;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (next != HOP_BY_HOP && next != ROUTING && next != FRAGMENT && next != DESTINATION)
			break;
		if (!LOAD(skb, at, &extension, sizeof(extension)))
			return UNPARSED;
		if (next == FRAGMENT && extension.fragment & bpf_htons(0xfff8))
			return OTHER;
		at += next == FRAGMENT ? 8 : (extension.size + 1) * 8;
		next = extension.next;
	}
	if (at > end)
		return UNPARSED;
	ends->protocol = next;
	ends->at = at;
	ends->left = end - at;
	return SESSION;
}

/* TCP, UDP and SCTP have ports, an ICMP echo its identifier; of any other protocol the addresses are the session. */
static __always_inline enum kind parse_ports(struct __sk_buff *skb, const struct ends *ends, struct packet *packet,
					     __be16 *from, __be16 *to)
{
	struct { __be16 from, to; __be32 sequence, ack; __u8 offset, flags; } tcp;
	struct { __be16 from, to; } ports;
	struct { __u8 type, code; __be16 sum, id; } icmp;
	__u32 header = 0;

	*from = *to = 0;
	if (ends->protocol == TCP) {
		if (!LOAD(skb, ends->at, &tcp, sizeof(tcp)))
			return UNPARSED;
		header = (tcp.offset >> 4) * 4;
		if (header < 20)
			return UNPARSED;
		packet->flags = tcp.flags;
		packet->isn = bpf_ntohl(tcp.sequence);
		*from = tcp.from;
		*to = tcp.to;
	} else if (ends->protocol == UDP || ends->protocol == SCTP) {
		header = ends->protocol == UDP ? 8 : 12;
		if (ends->left < header || !LOAD(skb, ends->at, &ports, sizeof(ports)))
			return UNPARSED;
		*from = ports.from;
		*to = ports.to;
	} else if (ends->protocol == ICMP || ends->protocol == ICMPV6) {
		header = 8;
		if (ends->left < header || !LOAD(skb, ends->at, &icmp, sizeof(icmp)))
			return UNPARSED;
		if (ends->protocol == ICMP ? icmp.type != ECHO && icmp.type != ECHO_REPLY
					   : icmp.type != ECHO_V6 && icmp.type != ECHO_REPLY_V6)
			return OTHER;
		*from = *to = icmp.id;
	}
	if (ends->left < header)
		return UNPARSED;
	packet->payload = ends->left - header;
	return SESSION;
}

static __always_inline int above(const __be32 *a, const __be32 *b, __be16 a_port, __be16 b_port)
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (a[i] != b[i])
			return bpf_ntohl(a[i]) > bpf_ntohl(b[i]);
	return bpf_ntohs(a_port) > bpf_ntohs(b_port);
}

static __always_inline enum kind parse(struct __sk_buff *skb, struct packet *packet)
{
	struct { __u8 to[6], from[6]; __be16 type; } eth;
	struct { __be16 id, type; } tag;
	struct ends ends = {};
	__u32 at = ETH_SIZE;
	__be16 from, to;

	if (!LOAD(skb, 0, &eth, sizeof(eth)))
		return UNPARSED;
	__be16 type = eth.type;
	for (int i = 0; i < MAX_TAGS && (type == bpf_htons(ETH_CTAG) || type == bpf_htons(ETH_STAG)); i++) {
		if (!LOAD(skb, at, &tag, sizeof(tag)))
			return UNPARSED;
		type = tag.type;
		at += TAG_SIZE;
	}
	if (eth.to[0] & 1) /* to a group: no session */
		return OTHER;
	enum kind kind = OTHER;
	if (type == bpf_htons(ETH_IPV4))
		kind = parse_ipv4(skb, at, &ends);
	else if (type == bpf_htons(ETH_IPV6))
		kind = parse_ipv6(skb, at, &ends);
	if (kind != SESSION)
		return kind;
	kind = parse_ports(skb, &ends, packet, &from, &to);
	if (kind != SESSION)
		return kind;
	packet->from_high = above(ends.source, ends.target, from, to);
	__builtin_memcpy(packet->key.low, packet->from_high ? ends.target : ends.source, 16);
	__builtin_memcpy(packet->key.high, packet->from_high ? ends.source : ends.target, 16);
	packet->key.low_port = packet->from_high ? to : from;
	packet->key.high_port = packet->from_high ? from : to;
	packet->key.protocol = ends.protocol;
	return SESSION;
}

/* The number of a new incarnation, or 0 when there is no room for one more. */
static __always_inline __u32 new_number(struct config *config)
{
	if (config->next_number >= config->max_sessions - 1)
		return 0;
	__u32 number = __sync_fetch_and_add(&config->next_number, 1) + 1;
	return number < config->max_sessions ? number : 0;
}

static __always_inline void note_origin(__u32 number, const struct session *key, __u64 now)
{
	struct origin *origin = bpf_map_lookup_elem(&origins, &number);

	if (origin) {
		origin->key = *key;
		origin->first_ns = now;
	}
}

static __always_inline int is_closed(__u64 sent)
{
	return sent & (SENT_RST * 3) || (sent & (SENT_FIN * 3)) == SENT_FIN * 3;
}

static __always_inline __u64 idle_limit(const struct config *config, __u32 protocol, __u64 sent)
{
	if (protocol != TCP)
		return protocol == UDP ? config->udp_ns : config->other_ns;
	if (is_closed(sent))
		return config->closing_ns;
	return (sent & (SENT_ACK * 3)) == SENT_ACK * 3 ? config->established_ns : config->opening_ns;
}

static __always_inline void note_flags(struct current *current, const struct packet *packet)
{
	__u64 sent = 0;

	if (packet->flags & FLAG_ACK)
		sent |= SENT_ACK;
	if (packet->flags & FLAG_FIN)
		sent |= SENT_FIN;
	if (packet->flags & FLAG_RST)
		sent |= SENT_RST;
	sent <<= packet->from_high;
	if (sent & ~current->sent)
		__sync_fetch_and_or(&current->sent, sent);
}

/*
 * The incarnation that this packet belongs to, begun if need be; 0 when there is no room. `opening`: a SYN that
 * comes in at an outer port. SYNs elsewhere begin nothing: a proxying NF sends one of its own with another ISN.
 */
static __always_inline __u32 incarnation(struct config *config, const struct packet *packet, int opening, __u64 now)
{
	__u32 isn = opening ? packet->isn : 0;
	struct current *current = bpf_map_lookup_elem(&currents, &packet->key);

	if (!current) {
		struct current fresh = {.last_ns = now};
		__u32 number = new_number(config);
		if (!number)
			return 0;
		fresh.word = (__u64)number << 32 | isn;
		long error = bpf_map_update_elem(&currents, &packet->key, &fresh, BPF_NOEXIST);
		if (!error) {
			note_origin(number, &packet->key, now);
			return number;
		}
		current = bpf_map_lookup_elem(&currents, &packet->key); /* another CPU was first, or the map is full */
		return current ? current->word >> 32 : 0;
	}
	__u64 word = current->word, last = current->last_ns;
	int lapsed = now > last && now - last > idle_limit(config, packet->key.protocol, current->sent);
	if (now > last + LAZY_NS)
		current->last_ns = now;
	if (!lapsed && !(opening && (__u32)word != isn)) {
		if (packet->flags)
			note_flags(current, packet);
		return word >> 32;
	}
	__u32 number = new_number(config);
	if (!number)
		return 0;
	__u64 next = (__u64)number << 32 | isn;
	__u64 found = __sync_val_compare_and_swap(&current->word, word, next);
	if (found != word) /* another CPU began it: the same SYN sent twice, so the same incarnation */
		return found >> 32;
	/* A FIN or RST after a closed connection is that one's, sent again and again: nothing lives by it. */
	if (opening || !(packet->flags & (FLAG_FIN | FLAG_RST)) || !is_closed(current->sent))
		current->sent = 0;
	note_origin(number, &packet->key, now);
	return number;
}

static __always_inline int note(__u32 number, __u32 place, __u8 way, const struct packet *packet, __u64 now)
{
	struct record_key key = {.number = number, .place = place, .way = way, .from_high = packet->from_high};
	struct record *record = bpf_map_lookup_elem(&records, &key);

	if (!record) {
		struct record fresh = {.first_ns = now, .first_flags = packet->flags};
		bpf_map_update_elem(&records, &key, &fresh, BPF_NOEXIST);
		record = bpf_map_lookup_elem(&records, &key);
		if (!record)
			return -1;
	}
	record->last_ns = now;
	record->last_flags = packet->flags;
	if (packet->payload) {
		__sync_fetch_and_add(&record->loaded, 1);
		__sync_fetch_and_add(&record->bytes, packet->payload);
	} else {
		__sync_fetch_and_add(&record->bare, 1);
	}
	return 0;
}

static __always_inline int tap(struct __sk_buff *skb, __u8 way)
{
	__u32 zero = 0, ifindex = skb->ifindex;
	struct packet packet = {};
	struct missed *bad = bpf_map_lookup_elem(&missed, &zero);
	struct config *config = bpf_map_lookup_elem(&configs, &zero);
	struct place *place = bpf_map_lookup_elem(&places, &ifindex);

	if (!bad || !config)
		return TC_ACT_UNSPEC;
	__u32 slot = place ? place->id * 2 + way : 0;
	struct total *total = bpf_map_lookup_elem(&totals, &slot);
	if (!place || !total) {
		bad->unknown_place++;
		return TC_ACT_UNSPEC;
	}
	total->frames++;
	total->octets += skb->len;
	enum kind kind = parse(skb, &packet);
	if (kind == UNPARSED) {
		bad->unparsed++;
		return TC_ACT_UNSPEC;
	}
	if (kind == OTHER) {
		total->others++;
		return TC_ACT_UNSPEC;
	}
	total->bytes += packet.payload;
	__u64 now = bpf_ktime_get_ns();
	__u32 number = incarnation(config, &packet, place->outer && way == INTO && (packet.flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN, now);
	if (!number)
		bad->sessions_full++;
	else if (note(number, place->id, way, &packet, now))
		bad->records_full++;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tap_out_of(struct __sk_buff *skb)
{
	return tap(skb, OUT_OF);
}

SEC("tc")
int tap_into(struct __sk_buff *skb)
{
	return tap(skb, INTO);
}

char _license[] SEC("license") = "Dual BSD/GPL";
