/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Pins in and out of the session tables, for a load balancer that copies its peer's (affinity rule 8).
 *
 * Out: by the daemon, beside the worker's packets and without a lock. In: by the worker, for only it takes locks.
 */
#ifndef CATENARY_COPY_H
#define CATENARY_COPY_H

#include "walk.h"

#define STEADY_TRIES 100

/* Read one entry as it was at one moment. 0: there is none, or it never was the same for long enough. */
INLINE int export_entry(struct segment *s, struct shape shape, const __u64 *entry, struct session_record *record)
{
	const struct pin *pin = (const struct pin *)entry;

	for (int i = 0; i < STEADY_TRIES; i++) {
		__u64 word = __atomic_load_n(entry, __ATOMIC_ACQUIRE);

		/* A dead one is about to be freed. */
		if (!word || word & PIN_DEAD)
			return 0;
		entry_key(entry, shape, &record->key);
		record->pin.bytes = pin->bytes;
		record->pin.packets = pin->packets;
		record->pin.origin = *origin_of(s, entry);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		record->pin.word = __atomic_load_n(entry, __ATOMIC_RELAXED);
		/* Freed and taken by another key meanwhile, it would have another word; refreshed, too: look again. */
		if (record->pin.word == word)
			return 1;
	}
	return 0;
}

INLINE __u32 export_table(struct segment *s, struct table *t, struct shape shape, __u64 *bucket,
			  struct session_record *records, __u32 most)
{
	const __u32 *chunks = at(s, t->chunks_at);
	__u32 count = 0;

	while (*bucket < t->buckets && count + shape.ways <= most) {
		if (*bucket % CHUNK == 0 && !__atomic_load_n(chunks + *bucket / CHUNK, __ATOMIC_ACQUIRE)) {
			*bucket = *bucket + CHUNK < t->buckets ? *bucket + CHUNK : t->buckets;
			continue;
		}
		for (__u32 way = 0; way < shape.ways; way++)
			count += export_entry(s, shape, entry_at(bucket_at(s, t, shape, *bucket), shape, way),
					      &records[count]);
		(*bucket)++;
	}
	return count;
}

/*
 * Up to `most` records (8 at least) from `*cursor` on, which begins at 0 and counts the buckets of both tables. 0: that
 * was all.
 */
static inline __u32 export_pins(struct segment *s, __u64 *cursor, struct session_record *records, __u32 most)
{
	__u64 all = (__u64)s->v4.buckets + s->v6.buckets, bucket;
	__u32 count = 0;

	while (!count && *cursor < all) {
		if (*cursor < s->v4.buckets) {
			count = export_table(s, &s->v4, SHAPE4, cursor, records, most);
		} else {
			bucket = *cursor - s->v4.buckets;
			count = export_table(s, &s->v6, SHAPE6, &bucket, records, most);
			*cursor = bucket + s->v4.buckets;
		}
	}
	return count;
}

/* Take the staged pins in, or write them in place of what is there: how many, for those that find no room are left out. */
static inline __u32 insert_staged(struct segment *s)
{
	__u32 written = 0;

	for (__u32 i = 0; i < s->staged.count; i++) {
		const struct pin_record *record = &s->staged.records[i];
		struct env e = env_of(s, 0);
		struct pin *pin;
		__u64 word;

		if (s->staged.take_in) {
			take_in(&e, &record->key, record->word);
			continue;
		}
		if (!leaf_insert(&e, &record->key, record->word, CAUSE_COPIED)) {
			written++;
			continue;
		}
		pin = leaf_find(&e, &record->key);
		do {
			word = pin ? pin_read(pin) : 0;
		} while (pin && !(word & PIN_DEAD) && leaf_swap(pin, word, record->word) != word);
		if (pin && !(word & PIN_DEAD)) {
			leaf_begin(&e, pin, record->word, CAUSE_COPIED);
			written++;
		}
	}
	return written;
}

#endif
