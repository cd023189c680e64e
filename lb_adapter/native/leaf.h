/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The leaf of core/place.h for user space: session tables, fragments and counters in a segment.
 *
 * Look-up takes no lock: the pin word of an entry is its flag, 0 while it is free, and its key does not change
 * while the word is neither 0 nor CLAIMED. Insertion holds the lock of the key's home bucket, so one key is
 * inserted once. Only the walk frees entries: it sets the dead mark, waits until no thread can still look at them,
 * and frees those that are dead still.
 */
#ifndef CATENARY_LEAF_H
#define CATENARY_LEAF_H

#include <sched.h>

#include "segment.h"
#include "parse.h"
#include "pin.h"
#include "probe.h"

#define PROBES 16
#define CLAIMED (~0ULL) /* the word of an entry whose key is being written */
#define UNUSED __attribute__((unused))

struct env {
	struct config *c;
	__u32 now;     /* ms, monotonic */
	__u32 no_slot; /* the reason to drop for, if there turns out to be no slot */
	__u32 outer;   /* endpoint of the outer side: these data planes have one */
	__u32 from_inner;
	__u32 traffic; /* what the classifier said */
	__u32 packets; /* that the frame stands for */
	__u64 bytes;
	__u64 other;
	struct segment *s;
	struct thread_area *mine;
	const struct place_table *table; /* one for a whole batch: a packet sees no mixture */
	const struct session_key *hashed; /* the key whose small form and hash are below, if any */
	__u64 hash;
	__u64 small[2];
	int is_small;
	struct pin *present; /* what the insertion just before found in its place */
};

INLINE struct start start_of(const struct env *e, __u64 word, __u32 cause);

INLINE __u64 mix(__u64 value, __u64 word)
{
	value = (value ^ word) * 0xFF51AFD7ED558CCDULL;
	return value ^ value >> 32;
}

INLINE __u64 hash_words(const __u64 *key, __u32 words, __u64 seed)
{
	for (__u32 i = 0; i < words; i++)
		seed = mix(seed, key[i]);
	return seed;
}

INLINE __u32 home_of(const struct table *t, __u64 hash) { return (hash >> 32) * t->buckets >> 32; }

INLINE struct bucket *bucket_at(struct segment *s, const struct table *t, struct shape shape, __u32 index)
{
	return at(s, t->buckets_at + (__u64)index * shape.bytes);
}

INLINE __u64 *entry_at(struct bucket *b, struct shape shape, __u32 way)
{
	return (__u64 *)(b + 1) + way * (KEY + shape.words);
}

/* The origin of an entry, which may be of either table: the other one's buckets come first in the segment. */
INLINE struct origin *origin_of(struct segment *s, const void *entry)
{
	__u64 offset = (const char *)entry - (const char *)s;
	int large = offset >= s->v6.buckets_at;
	const struct table *t = large ? &s->v6 : &s->v4;
	struct shape shape = large ? SHAPE6 : SHAPE4;
	__u64 within = offset - t->buckets_at;
	__u64 way = (within % shape.bytes - sizeof(struct bucket)) / ((KEY + shape.words) * 8);

	return (struct origin *)at(s, t->origins_at) + within / shape.bytes * shape.ways + way;
}

INLINE __u32 next_bucket(const struct table *t, __u32 index) { return index + 1 == t->buckets ? 0 : index + 1; }

INLINE void lock(__u32 *word)
{
	for (int spins = 0; __atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE); spins++)
		if (spins > 100)
			sched_yield();
}

INLINE void unlock(__u32 *word) { __atomic_store_n(word, 0, __ATOMIC_RELEASE); }

INLINE void count_in_chunk(struct segment *s, struct table *t, __u32 index, __s32 step)
{
	__atomic_add_fetch((__u32 *)at(s, t->chunks_at) + index / CHUNK, step, __ATOMIC_RELAXED);
}

INLINE int same_key(const __u64 *a, const __u64 *b, __u32 words)
{
	__u64 differ = 0;

	for (__u32 i = 0; i < words; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

/*
 * The entry of a key, or NULL: no dead one, for it may be freed and be another key's at the next moment. Without
 * branches inside the bucket: which entry it is would be guessed wrong more often than not.
 */
INLINE __u64 *table_find(struct segment *s, struct table *t, struct shape shape, const __u64 *key, __u64 hash)
{
	__u32 index = home_of(t, hash);

	for (__u32 probe = 0; probe < PROBES; probe++) {
		struct bucket *b = bucket_at(s, t, shape, index);
		__u32 found = 0;

		UNROLL
		for (__u32 way = 0; way < shape.ways; way++) {
			__u64 *e = entry_at(b, shape, way), word = __atomic_load_n(e, __ATOMIC_ACQUIRE);

			found |= (__u32)((word - 1 < PIN_DEAD - 1) & same_key(e + KEY, key, shape.words)) << way;
		}
		if (found)
			return entry_at(b, shape, __builtin_ctz(found));
		if (!__atomic_load_n(&b->overflow, __ATOMIC_ACQUIRE))
			break;
		index = next_bucket(t, index);
	}
	return NULL;
}

/* A dead entry of a key whose home bucket is locked, so that nobody frees it; NULL if there is none. */
INLINE __u64 *table_find_dead(struct segment *s, struct table *t, struct shape shape, const __u64 *key, __u32 index)
{
	for (__u32 probe = 0; probe < PROBES; probe++) {
		struct bucket *b = bucket_at(s, t, shape, index);

		for (__u32 way = 0; way < shape.ways; way++) {
			__u64 *e = entry_at(b, shape, way), word = __atomic_load_n(e, __ATOMIC_ACQUIRE);

			/* The second look: an entry that was freed while we compared was another key's. */
			if (word & PIN_DEAD && word != CLAIMED && same_key(e + KEY, key, shape.words) &&
			    __atomic_load_n(e, __ATOMIC_ACQUIRE) == word)
				return e;
		}
		if (!__atomic_load_n(&b->overflow, __ATOMIC_ACQUIRE))
			break;
		index = next_bucket(t, index);
	}
	return NULL;
}

/* `step` the overflow of the buckets from `home` to before `last`: what belongs to them lies behind them. */
INLINE void step_overflow(struct segment *s, struct table *t, struct shape shape, __u32 home, __u32 last,
			  __s32 step)
{
	for (; home != last; home = next_bucket(t, home)) {
		count_in_chunk(s, t, home, step);
		__atomic_add_fetch(&bucket_at(s, t, shape, home)->overflow, step, __ATOMIC_ACQ_REL);
	}
}

/* Give an entry the counts and the origin of a session that begins with this frame. */
INLINE void begin_entry(struct env *env, __u64 *entry, const struct start *start)
{
	__u32 slot = pin_slot(start->word), load = __atomic_load_n(&env->s->loads[slot], __ATOMIC_RELAXED);
	struct pin *pin = (struct pin *)entry;

	pin->bytes = start->bytes;
	pin->packets = start->packets;
	*origin_of(env->s, entry) = origin_from(start, env->table, load);
}

/* With the home bucket locked and the key absent: write it into the first free entry. 0, or -1: no room. */
INLINE int table_claim(struct env *env, struct table *t, struct shape shape, const __u64 *key, __u32 home,
		       const struct start *start)
{
	struct segment *s = env->s;
	__u32 index = home;

	if (__atomic_load_n(&t->used, __ATOMIC_RELAXED) >= s->pins)
		return -1;
	for (__u32 probe = 0; probe < PROBES; probe++, index = next_bucket(t, index)) {
		struct bucket *b = bucket_at(s, t, shape, index);

		for (__u32 way = 0; way < shape.ways; way++) {
			__u64 *e = entry_at(b, shape, way), empty = 0;

			if (__atomic_load_n(e, __ATOMIC_RELAXED))
				continue;
			/* Counted before it is there: what the walk skips is empty for certain. */
			count_in_chunk(s, t, index, 1);
			if (!__atomic_compare_exchange_n(e, &empty, CLAIMED, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
				count_in_chunk(s, t, index, -1);
				continue;
			}
			memcpy(e + KEY, key, shape.words * 8);
			begin_entry(env, e, start);
			step_overflow(s, t, shape, home, index, 1);
			__atomic_add_fetch(&t->used, 1, __ATOMIC_RELAXED);
			__atomic_store_n(e, start->word, __ATOMIC_RELEASE);
			return 0;
		}
	}
	return -1;
}

/* Insert if absent: 0; 1 if it is there, with its entry in `present`; -1 if there is no room. */
INLINE int table_insert(struct env *env, struct table *t, struct shape shape, const __u64 *key, __u64 hash,
			const struct start *start, __u64 **present)
{
	struct segment *s = env->s;
	__u32 home = home_of(t, hash);
	struct bucket *b = bucket_at(s, t, shape, home);
	__u64 *dead;
	int result;

	lock(&b->lock);
	*present = table_find(s, t, shape, key, hash);
	if (*present) {
		result = 1;
	} else if ((dead = table_find_dead(s, t, shape, key, home))) {
		/* The walk frees it under this same lock, so it is ours: dead is as good as absent. */
		begin_entry(env, dead, start);
		__atomic_store_n(dead, start->word, __ATOMIC_RELEASE);
		result = 0;
	} else {
		result = table_claim(env, t, shape, key, home, start);
	}
	unlock(&b->lock);
	return result;
}

/* Note the small form and the hash of a key, and ask for its bucket: look-ups come later in the batch. */
INLINE void prepare_key(struct env *e, const struct session_key *key)
{
	struct ipv4_key small;

	e->is_small = shrink_key(key, &small);
	if (e->is_small) {
		/* As the struct lies in memory, but put together in registers: it is read again at once. */
		e->small[0] = (__u64)small.high_addr << 32 | small.low_addr;
		e->small[1] = (__u64)small.kind_tags << 32 | (__u32)small.high_port << 16 | small.low_port;
		e->hash = hash_words(e->small, SHAPE4.words, e->s->seed);
	} else {
		e->hash = hash_words((const __u64 *)key, SHAPE6.words, e->s->seed);
	}
	e->hashed = key;
}

INLINE void prefetch_bucket(struct env *e)
{
	const char *b = e->is_small ? (char *)bucket_at(e->s, &e->s->v4, SHAPE4, home_of(&e->s->v4, e->hash)) :
				      (char *)bucket_at(e->s, &e->s->v6, SHAPE6, home_of(&e->s->v6, e->hash));

	__builtin_prefetch(b, 1);
	__builtin_prefetch(b + LINE, 1);
}

INLINE void leaf_count(struct env *e, __u32 reason)
{
	if (reason < REASONS)
		e->mine->reasons[reason]++;
}

INLINE struct pin *leaf_find(struct env *e, const struct session_key *key)
{
	struct pin *pin = e->present;
	__u64 *entry;

	/* Found by the insertion just before: the walk can't free it before this batch ends. */
	e->present = NULL;
	if (pin)
		return pin;
	if (e->hashed != key)
		prepare_key(e, key);
	entry = e->is_small ? table_find(e->s, &e->s->v4, SHAPE4, e->small, e->hash) :
			      table_find(e->s, &e->s->v6, SHAPE6, (const __u64 *)key, e->hash);
	return (struct pin *)entry;
}

INLINE void leaf_key(UNUSED struct env *e, UNUSED const struct session_key *key) {}

/* The walk frees no entry before all threads have let go of it. */
INLINE __u64 leaf_word(UNUSED struct env *e, const struct pin *pin) { return pin_read(pin); }

INLINE int leaf_insert(struct env *e, const struct session_key *key, __u64 word, __u32 cause)
{
	const struct start start = start_of(e, word, cause);
	__u64 *present = NULL;
	int result;

	if (e->hashed != key)
		prepare_key(e, key);
	result = e->is_small ? table_insert(e, &e->s->v4, SHAPE4, e->small, e->hash, &start, &present) :
			       table_insert(e, &e->s->v6, SHAPE6, (const __u64 *)key, e->hash, &start, &present);
	e->present = (struct pin *)present;
	return result;
}

INLINE __u64 leaf_swap(struct pin *pin, __u64 old, __u64 new)
{
	__atomic_compare_exchange_n(&pin->word, &old, new, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	return old;
}

INLINE void leaf_begin(struct env *e, struct pin *pin, __u64 word, __u32 cause)
{
	const struct start start = start_of(e, word, cause);

	begin_entry(e, &pin->word, &start);
}

INLINE void leaf_over(struct env *e, const struct session_key *key, struct pin *pin, __u64 word, __u32 why)
{
	__u32 number = __atomic_fetch_add(&e->s->ended_count, 1, __ATOMIC_RELAXED);
	struct ended *row = (struct ended *)at(e->s, e->s->ended_at) + number % ENDED;

	write_ended(row, number + 1, key, word, pin, origin_of(e->s, pin), e->now, why);
}

INLINE struct fragment_set *fragment_set(struct env *e, const struct session_key *key)
{
	__u64 hash = hash_words((const __u64 *)key, SHAPE6.words, e->s->seed);

	return (struct fragment_set *)at(e->s, e->s->fragments_at) + (hash >> 32) % FRAGMENT_SETS;
}

INLINE __u64 leaf_fragment(struct env *e, const struct session_key *key)
{
	struct fragment_set *set = fragment_set(e, key);
	__u64 word = 0;

	lock(&set->lock);
	for (int i = 0; i < FRAGMENT_WAYS; i++)
		if (!memcmp(&set->way[i].key, key, sizeof(*key)))
			word = set->way[i].word;
	unlock(&set->lock);
	return word;
}

/* In the place of the same key, or else of the oldest. */
INLINE void leaf_note_fragment(struct env *e, const struct session_key *key, __u64 word)
{
	struct fragment_set *set = fragment_set(e, key);
	int chosen = 0;

	lock(&set->lock);
	for (int i = 0; i < FRAGMENT_WAYS; i++) {
		if (!memcmp(&set->way[i].key, key, sizeof(*key))) {
			chosen = i;
			break;
		}
		if (!set->way[i].word || (set->way[chosen].word && pin_age(set->way[i].word, e->now) >
									   pin_age(set->way[chosen].word, e->now)))
			chosen = i;
	}
	set->way[chosen].key = *key;
	set->way[chosen].word = word;
	unlock(&set->lock);
}

INLINE const struct slot *leaf_slot(struct env *e, __u32 slot) { return &e->s->slots[slot]; }

INLINE const struct place_table *leaf_table(struct env *e) { return e->table; }

INLINE __u32 leaf_outer(struct env *e UNUSED, __u64 hash UNUSED) { return 0; }

INLINE __u32 leaf_live(struct env *e, __u32 slot)
{
	return slot < MAX_SLOTS ? __atomic_load_n(&e->s->loads[slot], __ATOMIC_RELAXED) : 0;
}

INLINE void leaf_overflow(struct env *e) { e->c->overflow = OVERFLOW_FULL; }

INLINE void leaf_new_session(struct env *e, __u64 word)
{
	__u32 slot = pin_slot(word);

	if (!weighs(word))
		return;
	e->mine->chains[slot].new_sessions++;
	e->mine->traffic[e->traffic % TRAFFICS]++;
	__atomic_add_fetch(&e->s->loads[slot], 1, __ATOMIC_RELAXED);
}

INLINE void leaf_ended(struct env *e, __u32 slot)
{
	/* The walk may have corrected it meanwhile: below zero is for the next walk to mend, so stay above. */
	if (slot < MAX_SLOTS && __atomic_load_n(&e->s->loads[slot], __ATOMIC_RELAXED))
		__atomic_sub_fetch(&e->s->loads[slot], 1, __ATOMIC_RELAXED);
}

INLINE void leaf_resumed(struct env *e, __u32 slot)
{
	if (slot < MAX_SLOTS)
		__atomic_add_fetch(&e->s->loads[slot], 1, __ATOMIC_RELAXED);
}

/* In the first thread's area, as the walk counts. */
INLINE void leaf_swept(struct env *e, __u32 slot, int reset)
{
	struct chain_counters *chain = &e->mine->chains[slot];

	if (reset)
		chain->reset++;
	else
		chain->moved++;
}

#include "splice.h"

/* An environment for thread `thread`; between batch_begin and batch_end. */
INLINE struct env env_of(struct segment *s, __u32 thread)
{
	struct env e = { .c = &s->config, .s = s, .mine = thread_area(s, thread), .other = NO_SLOT };

	e.now = now_ms();
	e.table = &s->placed[__atomic_load_n(&s->present, __ATOMIC_ACQUIRE) & 1];
	return e;
}

#endif
