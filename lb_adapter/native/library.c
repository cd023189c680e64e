// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What the daemon and the tests call: the segment's parts by name, and the same code that the worker runs. */
#define _GNU_SOURCE
#include "copy.h"
#include "packet.h"
#include "walk.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT __u64 segment_bytes(__u32 pins, __u32 threads)
{
	static struct segment plan; /* as large as the header: no thing for a stack */

	segment_plan(&plan, pins, threads);
	return plan.bytes;
}

EXPORT void segment_format(struct segment *s, __u32 pins, __u32 threads, __u64 seed, __u32 plane)
{
	segment_plan(s, pins, threads);
	s->seed = seed;
	s->plane = plane;
}

/* 0 if this is a segment of this release, of this size. */
EXPORT int segment_check(const struct segment *s, __u64 bytes)
{
	return s->magic != SEGMENT_MAGIC || s->abi != SEGMENT_ABI || s->bytes != bytes;
}

EXPORT __u32 segment_pins(const struct segment *s) { return s->pins; }
EXPORT __u32 segment_threads(const struct segment *s) { return s->threads; }
EXPORT __u32 segment_plane(const struct segment *s) { return s->plane; }
EXPORT __u32 *segment_chain_set(struct segment *s) { return &s->chain_set; }
EXPORT struct config *segment_config(struct segment *s) { return &s->config; }
EXPORT struct port_before *segment_ports(struct segment *s) { return s->ports; }
EXPORT struct slot *segment_slots(struct segment *s) { return s->slots; }
EXPORT struct vid *segment_vids(struct segment *s) { return s->vids; }
EXPORT struct walk_result *segment_walked(struct segment *s) { return s->walked; }
EXPORT __u64 *segment_reasons(struct segment *s, __u32 thread) { return thread_area(s, thread)->reasons; }
EXPORT __u64 *segment_traffic(struct segment *s, __u32 thread) { return thread_area(s, thread)->traffic; }
EXPORT struct chain_counters *segment_chains(struct segment *s, __u32 thread) { return thread_area(s, thread)->chains; }

EXPORT struct place_table *segment_placed(struct segment *s) { return &s->placed[s->present & 1]; }

/* The place table that is not in force. */
EXPORT struct place_table *segment_spare(struct segment *s) { return &s->placed[!(s->present & 1)]; }

/* Put the spare table in force, and wait until no thread uses the old one. -1: one did not leave it in time. */
EXPORT int segment_switch(struct segment *s, __u32 timeout)
{
	__atomic_store_n(&s->present, !(s->present & 1), __ATOMIC_SEQ_CST);
	return quiesce(s, timeout);
}

EXPORT struct sweep *segment_order(struct segment *s) { return &s->order; }
EXPORT int segment_walk(struct segment *s) { return walk(s); }
EXPORT int segment_sweep(struct segment *s) { return sweep(s); }
EXPORT void segment_mend(struct segment *s) { mend(s); }
EXPORT __u32 segment_used(struct segment *s, int v6) { return v6 ? s->v6.used : s->v4.used; }

EXPORT __u64 segment_live(struct segment *s, __u32 slot) { return __atomic_load_n(&s->loads[slot], __ATOMIC_RELAXED); }

EXPORT __u64 *segment_loads(struct segment *s) { return s->loads; }

/* A load that a walk found wrong (dataplane/drift.py). Sessions may have ended since: it stays above zero. */
EXPORT void segment_mend_load(struct segment *s, __u32 slot, __s64 by)
{
	__u64 load = __atomic_load_n(&s->loads[slot], __ATOMIC_RELAXED), mended;

	do
		mended = (__s64)load + by > 0 ? load + by : 0;
	while (!__atomic_compare_exchange_n(&s->loads[slot], &load, mended, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

EXPORT struct probed *segment_probes(struct segment *s) { return s->probes; }

EXPORT __u32 segment_now(void) { return now_ms(); }
EXPORT struct staged *segment_staged(struct segment *s) { return &s->staged; }
EXPORT __u32 segment_insert(struct segment *s) { return insert_staged(s); }

EXPORT struct ended *segment_ended(struct segment *s) { return at(s, s->ended_at); }

EXPORT __u32 segment_export(struct segment *s, __u64 *cursor, struct session_record *records, __u32 most)
{
	return export_pins(s, cursor, records, most);
}

/* The pin word of a key, 0 if there is none. */
EXPORT __u64 pin_find(struct segment *s, const struct session_key *key)
{
	struct env e = env_of(s, 0);
	struct pin *pin = leaf_find(&e, key);

	return pin ? pin_read(pin) : 0;
}

/* The whole pin of a key; 0 if there is none. */
EXPORT int pin_show(struct segment *s, const struct session_key *key, struct session_record *record)
{
	struct env e = env_of(s, 0);
	__u64 *entry = (__u64 *)leaf_find(&e, key);

	return entry && export_entry(s, e.is_small ? SHAPE4 : SHAPE6, entry, record);
}

/* Put a word in the place of that of a key which is there. */
EXPORT void pin_set(struct segment *s, const struct session_key *key, __u64 word)
{
	struct env e = env_of(s, 0);
	struct pin *pin = leaf_find(&e, key);

	if (pin)
		pin->word = word;
}

/* Insert `count` keys, all with `word`, as thread `thread`; the number of those that were absent. */
EXPORT __u32 pin_insert(struct segment *s, __u32 thread, const struct session_key *keys, __u32 count, __u64 word)
{
	__u32 won = 0;

	for (__u32 i = 0; i < count; i++) {
		struct env e = env_of(s, thread);

		batch_begin(s, e.mine);
		won += !leaf_insert(&e, &keys[i], word, CAUSE_PLACED);
		batch_end(e.mine);
	}
	return won;
}

/*
 * One frame of `length` bytes at `buffer + HEADROOM` through the splice. `tpid` and `tci` are those of a tag
 * beside it, 0 if there is none; `vnet` may be NULL. Returns where in the buffer the frame begins now.
 */
EXPORT __u32 splice_frame(struct segment *s, int from, __u8 *buffer, __u32 *length, __u16 tpid, __u16 tci,
			  struct virtio_net_hdr *vnet, __u16 verdict[5])
{
	struct packet p = { .data = buffer + HEADROOM, .length = *length, .tpid = tpid, .tci = tci, .vnet = vnet };

	splice_batch(s, 0, &p, 1, from);
	*length = p.length;
	verdict[0] = p.verdict.port;
	verdict[1] = p.verdict.vid;
	verdict[2] = p.verdict.reason;
	verdict[3] = p.verdict.slot;
	verdict[4] = p.verdict.reverse;
	return p.data - buffer;
}

INLINE __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/*
 * `rounds` batches of `batch` packets of random sessions, or of one after the other with `in_order`: `frame` with its
 * source address and source port replaced. What each batch took, in ns, goes to `taken`; making it is not counted.
 */
EXPORT void splice_time(struct segment *s, const __u8 *frame, __u32 length, __u32 sessions, __u32 rounds, __u32 batch,
			int in_order, __u32 *taken)
{
	static __u8 buffers[BATCH][2048 + LINE]; /* not all in one set of the cache */
	struct packet packets[BATCH];
	__u64 begin, random = 88172645463325252ULL, next = 0;

	for (__u32 round = 0; round < rounds; round++) {
		for (__u32 i = 0; i < batch; i++) {
			__u32 session;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			session = in_order ? next++ % sessions : (random >> 32) * sessions >> 32;
			memcpy(buffers[i] + HEADROOM, frame, length);
			store16(buffers[i] + HEADROOM + 28, session >> 16);
			store16(buffers[i] + HEADROOM + 34, session & 0xffff);
			packets[i] = (struct packet){ .data = buffers[i] + HEADROOM, .length = length };
		}
		begin = now_ns();
		splice_batch(s, 0, packets, batch, PORT_OUTER);
		taken[round] = now_ns() - begin;
	}
}
