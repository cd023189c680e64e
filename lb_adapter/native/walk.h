/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The walk over the session tables: count what is in force, reclaim what is not. The same meaning as `walk` in
 * bpf/walk.h. One at a time, in the worker, beside its packets.
 */
#ifndef CATENARY_WALK_H
#define CATENARY_WALK_H

#include "leaf.h"
#include "upkeep.h"

#define WALK_PATIENCE 2000 /* ms that a thread may take for one batch */

/* The full key of an entry. */
INLINE void entry_key(const __u64 *entry, struct shape shape, struct session_key *key)
{
	if (shape.words == SHAPE4.words)
		expand_key((const struct ipv4_key *)(entry + KEY), key);
	else
		memcpy(key, entry + KEY, sizeof(*key));
}

/* Walk one entry; 1 if it is dead now. */
INLINE int walk_entry(struct env *e, struct shape shape, __u64 *entry)
{
	__u64 word = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
	struct session_key key;

	if (!word || word == CLAIMED)
		return 0;
	entry_key(entry, shape, &key);
	return walk_pin(e, (struct pin *)entry, word, &key, &e->s->walked[walk_row(word) % MAX_SLOTS]);
}

/* Carry out an order on one entry; 1 if it is dead now. */
INLINE int sweep_entry(struct env *e, struct shape shape, __u64 *entry, struct sweep *order)
{
	__u64 word = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
	struct session_key key;

	if (!word || word & PIN_DEAD)
		return 0;
	entry_key(entry, shape, &key);
	return sweep_pin(e, (struct pin *)entry, &key, order);
}

/* Free an entry that is dead still: a new session of its key may have taken it over. */
INLINE void free_entry(struct segment *s, struct table *t, struct shape shape, __u32 index, __u64 *entry)
{
	__u64 word = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
	struct bucket *home;
	__u32 belongs;

	if (!(word & PIN_DEAD) || word == CLAIMED)
		return;
	belongs = home_of(t, hash_words(entry + KEY, shape.words, s->seed));
	home = bucket_at(s, t, shape, belongs);
	lock(&home->lock);
	if (__atomic_compare_exchange_n(entry, &word, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		step_overflow(s, t, shape, belongs, index, -1);
		__atomic_sub_fetch(&t->used, 1, __ATOMIC_RELAXED);
		count_in_chunk(s, t, index, -1);
	}
	unlock(&home->lock);
}

/* Go over a table: carry out `order`, or, if that is NULL, walk. */
INLINE int walk_table(struct env *e, struct table *t, struct shape shape, struct sweep *order)
{
	struct segment *s = e->s;

	for (__u32 first = 0; first < t->buckets; first += CHUNK) {
		__u32 last = first + CHUNK < t->buckets ? first + CHUNK : t->buckets, dead = 0;

		if (!__atomic_load_n((__u32 *)at(s, t->chunks_at) + first / CHUNK, __ATOMIC_ACQUIRE))
			continue;
		for (__u32 i = first; i < last; i++)
			for (__u32 way = 0; way < shape.ways; way++) {
				__u64 *entry = entry_at(bucket_at(s, t, shape, i), shape, way);

				dead += order ? sweep_entry(e, shape, entry, order) : walk_entry(e, shape, entry);
			}
		if (!dead)
			continue;
		/* Nobody may still hold an entry that he found before it was marked. */
		if (quiesce(s, WALK_PATIENCE))
			return -1;
		for (__u32 i = first; i < last; i++)
			for (__u32 way = 0; way < shape.ways; way++)
				free_entry(s, t, shape, i, entry_at(bucket_at(s, t, shape, i), shape, way));
	}
	return 0;
}

/* Walk both tables; the results are in s->walked. -1 if a thread is stuck, and the walk was given up. */
static inline int walk(struct segment *s)
{
	/* Evictions are counted in the first thread's area: they are rare, and a count lost to a race is no harm. */
	struct env e = env_of(s, 0);

	memset(s->walked, 0, sizeof(s->walked));
	if (walk_table(&e, &s->v4, SHAPE4, NULL) || walk_table(&e, &s->v6, SHAPE6, NULL))
		return -1;
	return 0;
}

/* End sessions by the order in the segment. -1 if a thread is stuck: what is marked is freed by the next walk. */
static inline int sweep(struct segment *s)
{
	struct env e = env_of(s, 0);

	return walk_table(&e, &s->v4, SHAPE4, &s->order) || walk_table(&e, &s->v6, SHAPE6, &s->order) ? -1 : 0;
}

/* What a worker that died in the middle of something left behind: locks, claims, sums. */
INLINE void mend_table(struct segment *s, struct table *t, struct shape shape)
{
	__u32 *chunks = at(s, t->chunks_at);
	__u64 *entry;

	t->used = 0;
	for (__u32 i = 0; i < t->buckets; i++) {
		if (!chunks[i / CHUNK])
			continue;
		*bucket_at(s, t, shape, i) = (struct bucket){ 0, 0 };
	}
	for (__u32 i = 0; i < t->buckets; i++) {
		if (!chunks[i / CHUNK])
			continue;
		for (__u32 way = 0; way < shape.ways; way++) {
			entry = entry_at(bucket_at(s, t, shape, i), shape, way);
			if (*entry == CLAIMED)
				*entry = 0;
			if (!*entry)
				continue;
			t->used++;
			step_overflow(s, t, shape, home_of(t, hash_words(entry + KEY, shape.words, s->seed)), i, 1);
		}
	}
	/* Anew from what is there. The sums were never too small, so nothing was skipped above. */
	for (__u32 first = 0; first < t->buckets; first += CHUNK) {
		__u32 sum = 0;

		for (__u32 i = first; chunks[first / CHUNK] && i < first + CHUNK && i < t->buckets; i++) {
			sum += bucket_at(s, t, shape, i)->overflow;
			for (__u32 way = 0; way < shape.ways; way++)
				sum += !!*entry_at(bucket_at(s, t, shape, i), shape, way);
		}
		chunks[first / CHUNK] = sum;
	}
}

static inline void mend(struct segment *s)
{
	struct fragment_set *sets = at(s, s->fragments_at);

	mend_table(s, &s->v4, SHAPE4);
	mend_table(s, &s->v6, SHAPE6);
	for (int i = 0; i < FRAGMENT_SETS; i++)
		if (sets[i].lock)
			sets[i].lock = 0;
	for (__u32 i = 0; i < s->threads; i++)
		thread_area(s, i)->epoch = 0;
}

#endif
