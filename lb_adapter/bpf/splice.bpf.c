// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The eBPF data plane: a splice between the outer port and the tagged endpoints of the inner port.
 *
 * Two programs at tc ingress, `outer` and `inner`, serve both roles. They parse, have core/splice.h decide, and
 * carry the verdict out. Every frame leaves by a redirect or is dropped with a counter; nothing reaches the
 * host's own stack. Two more are run from user space: `walk` counts live pins and reclaims expired ones, `sweep`
 * ends sessions by order.
 *
 * skb->cb[0..2] carry (reason, VLAN ID pushed, interface) of the last frame: only a test run reads them.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct frame;
struct source {
	struct __sk_buff *skb;
};
/* The common case in place, all else by a function that the verifier checks once. */
#define PARSE_IP(source, offset, v6, quoted, f)                                                                   \
	((v6) || (quoted) ? parse_ip_at((source)->skb, f, offset, (v6) | (quoted) << 1) :                         \
			    parse_ip((void *)(long)(source)->skb->data + (offset), (void *)(long)(source)->skb->data_end, \
				     (source)->skb->len - (offset), 0, 0, f))
int parse_ip_at(struct __sk_buff *skb, struct frame *f, __u32 offset, __u32 how);

struct session_key;
struct advice;
#define CONSULT(e, key, client_low, a) consult_now(key, client_low, a)
int consult_now(const struct session_key *key, int client_low, struct advice *a);

#include "parse.h"
#include "pin.h"
#include "reset.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_OFFSET 400 /* of an IP header: link layer, and all before a quoted packet */
#define HEADERS 544 /* bytes made linear when what is linear does not hold all headers */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct vid);
} vids SEC(".maps");

/* IPv4 sessions have a map of their own, with keys of 16 bytes: the common case stays small. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1000000);
	__type(key, struct ipv4_key);
	__type(value, struct pin);
} pins4 SEC(".maps");

/* All other keys. Not allocated beforehand: most networks have few. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1000000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct session_key);
	__type(value, struct pin);
} pins6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct session_key);
	__type(value, __u64);
} fragments SEC(".maps");

/* Sessions that ended, the oldest overwritten first. Only the daemon reads it: it maps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENDED);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ended);
} ended SEC(".maps");

/* How many there were, modulo 2^32. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ended_count SEC(".maps");

/* Sessions of each slot as p2c weighs them: counted up here, corrected by every walk. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} loads SEC(".maps");

/* Endpoints that are whole interfaces, by index (`plain` in struct config). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SLOTS + MAX_OUTERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct vid);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outer_table);
} outers SEC(".maps");

struct table_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct place_table);
} first_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct table_map);
} table SEC(".maps") = { .values = { [0] = &first_table } };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct chain_counters);
} chains SEC(".maps");

/* New sessions by what the classifier said of them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TRAFFICS);
	__type(key, __u32);
	__type(value, __u64);
} traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct walk_result);
} walked SEC(".maps");

/* Room to make a RST in: a program's stack is small. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reset);
} answer SEC(".maps");

/* The order that `sweep` carries out, and what it did. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweep);
} order SEC(".maps");

/* Pins of the other load balancer's that `take_in_staged` takes in; rows whose word is 0 are empty. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct pin_record);
} staged SEC(".maps");

/* Python's own notes beside the table. The two interfaces as they were, outer first: detaching restores them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct port_before);
} ports SEC(".maps");

/* A restarted daemon reads it to go on with growing epochs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} epoch SEC(".maps");

/* A program has a stack of 512 bytes, with what is called from it. */
struct env {
	struct config *c;
	__u32 now;     /* ms, monotonic */
	__u32 no_slot; /* the reason to drop for, if there turns out to be no slot */
	__u32 outer;   /* endpoint of the outer side that the frame came from, or goes to */
	__u16 from_inner;
	__u16 traffic; /* what the classifier said */
	__u32 check;   /* of the key that all is about */
	__u32 packets; /* that the frame stands for */
	__u64 bytes;
	__u64 other;
};

INLINE struct start start_of(const struct env *e, __u64 word, __u32 cause);

/* All of a pin but its word and its check. */
INLINE void write_start(struct pin *pin, const struct start *start)
{
	__u32 zero = 0, slot = pin_slot(start->word);
	void *present = bpf_map_lookup_elem(&table, &zero);
	const struct place_table *t = present ? bpf_map_lookup_elem(present, &zero) : NULL;
	__u64 *load = bpf_map_lookup_elem(&loads, &slot);

	pin->bytes = start->bytes;
	pin->packets = start->packets;
	pin->origin = origin_from(start, t, load ? *load : 0);
}

INLINE void leaf_count(struct env *e, __u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&reasons, &reason);

	if (counter)
		(*counter)++;
}

INLINE void leaf_key(struct env *e, const struct session_key *key) { e->check = key_check(key); }

INLINE struct pin *leaf_find(struct env *e, const struct session_key *key)
{
	struct ipv4_key small;

	return shrink_key(key, &small) ? bpf_map_lookup_elem(&pins4, &small) : bpf_map_lookup_elem(&pins6, key);
}

/*
 * The kernel gives a deleted element to the next key at once, while a packet on another CPU may still hold it. The
 * walk spoils the check before it deletes, so a word of the next key's is never seen with the check of this one.
 */
INLINE __u64 leaf_word(struct env *e, const struct pin *pin)
{
	__u64 word = pin_read(pin);

	return *(const volatile __u32 *)&pin->check == e->check ? word : PIN_DEAD;
}

/* A pin whose word is dead is about to be deleted. */
INLINE void spoil(struct pin *pin) { *(volatile __u32 *)&pin->check = 0; }

/* Global, as the next ones, so that the verifier checks it once and on its own. */
__noinline int insert_pin(const struct session_key *key, const struct start *start)
{
	struct pin fresh;
	struct ipv4_key small;

	if (!key || !start)
		return -1;
	fresh.word = start->word;
	fresh.check = key_check(key);
	write_start(&fresh, start);
	return shrink_key(key, &small) ? bpf_map_update_elem(&pins4, &small, &fresh, BPF_NOEXIST) :
					 bpf_map_update_elem(&pins6, key, &fresh, BPF_NOEXIST);
}

/* What is handed to a global function is not known to the verifier any more: so it gets copies. */
INLINE int leaf_insert(struct env *e, const struct session_key *key, __u64 word, __u32 cause)
{
	struct start start = start_of(e, word, cause);
	struct session_key copy = *key;

	return insert_pin(&copy, &start);
}

INLINE __u64 leaf_swap(struct pin *pin, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(&pin->word, old, new);
}

__noinline int begin_pin(struct pin *pin, const struct start *start)
{
	if (pin && start)
		write_start(pin, start);
	return 0;
}

INLINE void leaf_begin(struct env *e, struct pin *pin, __u64 word, __u32 cause)
{
	struct start start = start_of(e, word, cause);

	begin_pin(pin, &start);
}

__noinline int end_pin(const struct session_key *key, const struct pin *pin, __u64 word, __u32 now, __u32 why)
{
	__u32 zero = 0, at, *count = bpf_map_lookup_elem(&ended_count, &zero);
	struct ended *row;

	if (!key || !pin || !count)
		return 0;
	at = __sync_fetch_and_add(count, 1);
	zero = at % ENDED;
	row = bpf_map_lookup_elem(&ended, &zero);
	if (row)
		write_ended(row, at + 1, key, word, pin, &pin->origin, now, why);
	return 0;
}

INLINE void leaf_over(struct env *e, const struct session_key *key, struct pin *pin, __u64 word, __u32 why)
{
	struct session_key copy = *key;

	end_pin(&copy, pin, word, e->now, why);
}

INLINE __u64 leaf_fragment(struct env *e, const struct session_key *key)
{
	__u64 *word = bpf_map_lookup_elem(&fragments, key);

	return word ? *word : 0;
}

INLINE void leaf_note_fragment(struct env *e, const struct session_key *key, __u64 word)
{
	bpf_map_update_elem(&fragments, key, &word, BPF_ANY);
}

INLINE const struct slot *leaf_slot(struct env *e, __u32 slot) { return bpf_map_lookup_elem(&slots, &slot); }

INLINE const struct place_table *leaf_table(struct env *e)
{
	__u32 zero = 0;
	void *now = bpf_map_lookup_elem(&table, &zero);

	return now ? bpf_map_lookup_elem(now, &zero) : NULL;
}

INLINE __u32 leaf_outer(struct env *e, __u64 hash)
{
	__u32 zero = 0;
	struct outer_table *t = bpf_map_lookup_elem(&outers, &zero);

	return t ? t->entries[outer_index(hash)] : 0;
}

INLINE __u32 leaf_live(struct env *e, __u32 slot)
{
	__u64 *load = bpf_map_lookup_elem(&loads, &slot);

	return load ? *load : 0;
}

INLINE void leaf_overflow(struct env *e) { e->c->overflow = OVERFLOW_FULL; }

/* Global, so that its branches are nobody else's: the verifier would walk them wherever a session may begin. */
__noinline int count_session(__u32 slot, __u32 kind)
{
	struct chain_counters *chain = bpf_map_lookup_elem(&chains, &slot);
	__u64 *load = bpf_map_lookup_elem(&loads, &slot), *counter = bpf_map_lookup_elem(&traffic, &kind);

	if (chain)
		chain->new_sessions++;
	if (counter)
		(*counter)++;
	if (load)
		__sync_fetch_and_add(load, 1);
	return 0;
}

INLINE void leaf_new_session(struct env *e, __u32 slot) { count_session(slot, e->traffic); }

INLINE void leaf_ended(struct env *e, __u32 slot)
{
	__u64 *load = bpf_map_lookup_elem(&loads, &slot);

	/* The walk may have corrected it meanwhile: below zero is for the next walk to mend, so stay above. */
	if (load && *load)
		__sync_fetch_and_add(load, -1);
}

INLINE void leaf_swept(struct env *e, __u32 slot, int reset)
{
	struct chain_counters *chain = bpf_map_lookup_elem(&chains, &slot);

	if (!chain)
		return;
	if (reset)
		chain->reset++;
	else
		chain->moved++;
}

#include "splice.h"

/* Global, too: the verifier walks through the rules once, and not wherever a chain is chosen. */
__noinline int consult_now(const struct session_key *key, int client_low, struct advice *a)
{
	if (key && a)
		consult(leaf_table(NULL), key, client_low, a);
	return 0;
}

/*
 * Global, so that the verifier checks it once and on its own. It finds the packet again from the skb: a global
 * function takes no packet pointers.
 */
__noinline int parse_ip_at(struct __sk_buff *skb, struct frame *f, __u32 offset, __u32 how)
{
	const __u8 *data = (void *)(long)skb->data;

	if (!f || offset > MAX_OFFSET)
		return FRAME_BAD;
	return parse_ip(data + offset, (void *)(long)skb->data_end, skb->len - offset, how & 1, how & 2, f);
}

/* Parse the frame as it is now, the outermost tag possibly beside it in the skb. */
INLINE int parse_linear(struct __sk_buff *skb, struct frame *f)
{
	struct source source = { skb };

	return parse_frame(&source, (void *)(long)skb->data, (void *)(long)skb->data_end,
			   skb->vlan_present ? (skb->vlan_tci & 0x0fff) | TAG_BESIDE : 0, f);
}

/*
 * A GSO frame is linear just to the end of its usual headers, and making it more so costs as much as all the
 * rest: so parse what is there first. In a loop, which has the code once and no function's stack.
 */
INLINE int parse_skb(struct __sk_buff *skb, struct frame *f)
{
	int class;

	_Pragma("clang loop unroll(disable)")
	for (int pulled = 0;; pulled = 1) {
		class = parse_linear(skb, f);
		if (class != FRAME_BAD || pulled || skb->data_end - skb->data >= skb->len)
			return class;
		bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	}
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

/* emit: carry a verdict out. `upper` is where the frame's upper-layer header begins, from its IP header. */
INLINE int emit(struct __sk_buff *skb, struct env *e, const struct verdict *v, __u32 upper)
{
	__u16 reason = v->reason;

	if (reason == session_reset && answer_reset(skb, upper))
		reason = drop_internal;
	else if (v->port != PORT_NONE && v->vid && bpf_skb_vlan_push(skb, bpf_htons(ETHERTYPE_VLAN), v->vid))
		reason = drop_internal;
	leaf_count(e, reason);
	skb->cb[0] = reason;
	skb->cb[1] = v->vid;
	skb->cb[2] = v->ifindex;
	if (v->port == PORT_NONE || reason == drop_internal)
		return TC_ACT_SHOT;
	if (v->slot != NO_SLOT)
		count_chain(e, v);
	return bpf_redirect(v->ifindex, 0);
}

extern unsigned int CONFIG_HZ __kconfig __weak; /* 0: this kernel does not tell (catenary/libbpf.py) */

/*
 * Monotonic ms, in steps of a tick (1 to 10 ms), which timeouts of seconds never see. Reading jiffies is one load,
 * while every clock is a call. The verifier knows CONFIG_HZ and drops all other branches; at a rate that has no whole
 * ms a tick, or is not told, there is the clock.
 */
INLINE __u32 now_ms(void)
{
	switch (CONFIG_HZ) {
	case 1000:
		return bpf_jiffies64();
	case 250:
		return bpf_jiffies64() * 4;
	case 100:
		return bpf_jiffies64() * 10;
	}
	return bpf_ktime_get_ns() / 1000000;
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
	return emit(skb, &e, &v, f.upper);
}

/* The VLAN ID of the outermost tag, 0 if there is none. */
INLINE __u32 outermost_tag(struct __sk_buff *skb)
{
	__u8 head[16];

	if (skb->vlan_present)
		return skb->vlan_tci & 0x0fff;
	/* In line only in a test run: the kernel moves a tag beside the frame before tc sees it. */
	if (bpf_skb_load_bytes(skb, 0, head, 16) || load16(head + 12) != ETHERTYPE_VLAN)
		return 0;
	return load16(head + 14) & 0x0fff;
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
	return emit(skb, &e, &v, f.upper);
}

/* The clock that pins age by, for user space. */
SEC("syscall")
int clock(void *unused) { return now_ms(); }

/* One pin of the walk; 1 if it is to be deleted. */
INLINE int walk_one(struct pin *pin, const struct session_key *key, struct env *e)
{
	__u64 word = pin_read(pin);
	__u32 at = walk_row(word);
	struct walk_result *r = bpf_map_lookup_elem(&walked, &at);

	return r && walk_pin(e, pin, word, key, r);
}

static long walk4(void *map, struct ipv4_key *small, struct pin *pin, struct env *e)
{
	struct session_key key;

	expand_key(small, &key);
	if (walk_one(pin, &key, e)) {
		spoil(pin);
		bpf_map_delete_elem(map, small);
	}
	return 0;
}

static long walk6(void *map, struct session_key *key, struct pin *pin, struct env *e)
{
	struct session_key copy = *key; /* no global function takes a key in its map */

	if (walk_one(pin, &copy, e)) {
		spoil(pin);
		bpf_map_delete_elem(map, key);
	}
	return 0;
}

SEC("syscall")
int walk(void *unused)
{
	struct env e = { .now = now_ms() };
	__u32 zero = 0;

	e.c = bpf_map_lookup_elem(&config, &zero);
	if (!e.c)
		return -1;
	bpf_for_each_map_elem(&pins4, walk4, &e, 0);
	bpf_for_each_map_elem(&pins6, walk6, &e, 0);
	return 0;
}

/* What a sweep has at hand; `done` is the map's row. */
struct sweeping {
	struct env e;
	struct sweep *done;
};

static long sweep4(void *map, struct ipv4_key *small, struct pin *pin, struct sweeping *s)
{
	struct session_key key;

	expand_key(small, &key);
	if (sweep_pin(&s->e, pin, &key, s->done)) {
		spoil(pin);
		bpf_map_delete_elem(map, small);
	}
	return 0;
}

static long sweep6(void *map, struct session_key *key, struct pin *pin, struct sweeping *s)
{
	if (sweep_pin(&s->e, pin, key, s->done)) {
		spoil(pin);
		bpf_map_delete_elem(map, key);
	}
	return 0;
}

SEC("syscall")
int sweep(void *unused)
{
	struct sweeping s = { .e = { .now = now_ms() } };
	__u32 zero = 0;

	s.e.c = bpf_map_lookup_elem(&config, &zero);
	s.done = bpf_map_lookup_elem(&order, &zero);
	if (!s.e.c || !s.done)
		return -1;
	bpf_for_each_map_elem(&pins4, sweep4, &s, 0);
	bpf_for_each_map_elem(&pins6, sweep6, &s, 0);
	return 0;
}

static long take_in_one(void *map, __u32 *index, struct pin_record *record, struct env *e)
{
	if (record->word) {
		leaf_key(e, &record->key);
		take_in(e, &record->key, record->word);
	}
	return 0;
}

SEC("syscall")
int take_in_staged(void *unused)
{
	struct env e = { .now = now_ms(), .other = NO_SLOT };
	__u32 zero = 0;

	e.c = bpf_map_lookup_elem(&config, &zero);
	if (!e.c)
		return -1;
	bpf_for_each_map_elem(&staged, take_in_one, &e, 0);
	return 0;
}
