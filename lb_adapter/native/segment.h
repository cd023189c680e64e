/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The tables of a user-space splice in one segment of shared memory: the worker's threads and the daemon map
 * the same pages, each where it likes, so there are offsets here and no pointers.
 *
 *   struct segment | IPv4 buckets, their chunks and origins | all other buckets and theirs | fragments |
 *   sessions that ended | one area a thread
 *
 * Who writes what: the daemon the configuration, slots, VLAN IDs and the spare place table; the worker's threads
 * the sessions and, each alone, their own area. Only the worker takes locks, so a daemon's death leaves none.
 */
#ifndef CATENARY_SEGMENT_H
#define CATENARY_SEGMENT_H

#include <linux/types.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "abi.h"

#define SEGMENT_MAGIC 0x637472796c656166ULL
#define MAX_THREADS 64
#define LINE 64                /* of the cache */
#define CHUNK 1024             /* buckets that the walk skips together when they are empty */
#define FRAGMENT_SETS 4096     /* of FRAGMENT_WAYS entries */
#define FRAGMENT_WAYS 4

/*
 * A bucket: a header word, then `ways` entries, each the first KEY words of a struct pin, and `words` of key. What packets
 * of known sessions never touch, the origins, lies apart.
 */
struct shape {
	__u32 words;
	__u32 ways;
	__u32 bytes;
};

#define KEY 3 /* where an entry's key begins, in words */
#define SHAPE4 ((struct shape){ 2, 3, 128 })
#define SHAPE6 ((struct shape){ 6, 3, 256 })

struct bucket {
	__u32 lock;
	__u32 overflow; /* keys that belong here and lie in a later bucket, for want of room */
};

struct table {
	__u64 buckets_at;
	__u64 chunks_at; /* __u32 a chunk: entries and overflows in it */
	__u64 origins_at; /* struct origin an entry */
	__u32 buckets;
	__u32 used;
};

struct fragment_set {
	__u32 lock;
	__u32 zero;
	struct {
		struct session_key key;
		__u64 word;
	} way[FRAGMENT_WAYS];
	__u64 pad[3];
};

/* Of one thread alone; the daemon only reads, but for zeroing a chain's counters when its generation begins. */
struct thread_area {
	__u32 epoch; /* of the batch that it is working on; 0 between batches */
	__u32 zero[15];
	__u64 reasons[REASONS];
	__u64 traffic[TRAFFICS];
	struct chain_counters chains[MAX_SLOTS];
} __attribute__((aligned(LINE)));

struct segment {
	__u64 magic;
	__u64 bytes;
	__u64 seed;      /* of the session tables' hash: nobody outside can aim at one bucket */
	__u32 abi;
	__u32 threads;
	__u32 pins;      /* capacity of each session table */
	__u32 plane;     /* Python's number of the data plane that it was made for */
	__u32 chain_set; /* Python's note: the chain set's epoch */
	__u64 fragments_at;
	__u64 ended_at;  /* struct ended, ENDED of them */
	__u64 threads_at;
	__u32 ended_count; /* sessions that ended, modulo 2^32 */
	struct table v4;
	struct table v6;
	struct port_before ports[2]; /* Python's note: the interfaces as they were */
	struct config config __attribute__((aligned(LINE)));
	__u32 epoch __attribute__((aligned(LINE))); /* grows whenever somebody waits for the threads */
	__u32 present;   /* which of `placed` is in force */
	__u64 loads[MAX_SLOTS] __attribute__((aligned(LINE)));
	struct slot slots[MAX_SLOTS] __attribute__((aligned(LINE)));
	struct vid vids[4096];
	struct walk_result walked[MAX_SLOTS];
	struct sweep order;
	struct probed probes[MAX_SLOTS];
	struct place_table placed[2] __attribute__((aligned(LINE)));
	struct staged staged;
};

/* Changes with whatever lies in a segment, so that a daemon adopts no worker that it would misread. */
#define SEGMENT_MIX(sum, part) (((sum) ^ (__u32)(part)) * 16777619u)
#define SEGMENT_ABI                                                                                         \
	SEGMENT_MIX(SEGMENT_MIX(SEGMENT_MIX(SEGMENT_MIX(SEGMENT_MIX(2166136261u, sizeof(struct segment)),   \
							sizeof(struct thread_area)),                        \
					    sizeof(struct config)), /* in a gap of its own: the sum does not show it */ \
				sizeof(struct ended) << 8 | KEY),                                           \
		    REASONS << 8 | PIN_STATES)

static inline void *at(struct segment *s, __u64 offset) { return (char *)s + offset; }

static inline struct thread_area *thread_area(struct segment *s, __u32 thread)
{
	return (struct thread_area *)at(s, s->threads_at) + thread;
}

/* The monotonic clock in ms, in steps of a tick (1 to 10 ms): timeouts of seconds never see them. */
static inline __u32 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (__u32)(t.tv_sec * 1000ULL + t.tv_nsec / 1000000);
}

static inline __u64 segment_room(__u64 *end, __u64 bytes)
{
	__u64 begin = (*end + 4095) & ~4095ULL;

	*end = begin + bytes;
	return begin;
}

static inline void segment_table(struct table *t, __u64 *end, struct shape shape, __u32 pins)
{
	/* Half full at capacity, so that few buckets overflow. */
	t->buckets = pins / 3 * 2 + 16;
	t->buckets_at = segment_room(end, (__u64)t->buckets * shape.bytes);
	t->chunks_at = segment_room(end, (t->buckets / CHUNK + 1) * sizeof(__u32));
	t->origins_at = segment_room(end, (__u64)t->buckets * shape.ways * sizeof(struct origin));
}

/* Lay out a header for these sizes. `s->bytes` is what the whole segment takes. */
static inline void segment_plan(struct segment *s, __u32 pins, __u32 threads)
{
	__u64 end = sizeof(*s);

	memset(s, 0, sizeof(*s));
	s->pins = pins;
	s->threads = threads;
	segment_table(&s->v4, &end, SHAPE4, pins);
	segment_table(&s->v6, &end, SHAPE6, pins);
	s->fragments_at = segment_room(&end, FRAGMENT_SETS * sizeof(struct fragment_set));
	s->ended_at = segment_room(&end, ENDED * sizeof(struct ended));
	s->threads_at = segment_room(&end, threads * sizeof(struct thread_area));
	s->bytes = (end + 4095) & ~4095ULL;
	s->abi = SEGMENT_ABI;
	s->epoch = 1;
	for (int i = 0; i < 2; i++) {
		s->placed[i].designated = s->placed[i].bypass = NO_SLOT;
		memset(s->placed[i].entries, 0xff, sizeof(s->placed[i].entries));
	}
	s->magic = SEGMENT_MAGIC;
}

/* A thread says that it begins a batch: what it reads from here on is not taken away under it. */
static inline void batch_begin(struct segment *s, struct thread_area *mine)
{
	__atomic_store_n(&mine->epoch, __atomic_load_n(&s->epoch, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
	/* The store before every read of the batch: else a writer could miss us. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void batch_end(struct thread_area *mine) { __atomic_store_n(&mine->epoch, 0, __ATOMIC_RELEASE); }

#define SHORT_NAPS 50 /* of 20 us, before those of 1 ms: most batches end within */

/*
 * Wait until every thread has ended the batch that it is in now. 0, or -1 if one still has not after naps of
 * `timeout` ms: then it is stuck or dead. Naps are counted, not time: a machine that stalls stalls whoever waits, too.
 */
static inline int quiesce(struct segment *s, __u32 timeout)
{
	__u32 epoch = __atomic_add_fetch(&s->epoch, 1, __ATOMIC_SEQ_CST), seen, naps = 0;
	struct timespec pause = { 0, 20000 };

	for (__u32 i = 0; i < s->threads; i++) {
		for (;;) {
			seen = __atomic_load_n(&thread_area(s, i)->epoch, __ATOMIC_SEQ_CST);
			if (!seen || (__s32)(seen - epoch) >= 0)
				break;
			if (naps++ >= SHORT_NAPS + timeout)
				return -1;
			pause.tv_nsec = naps <= SHORT_NAPS ? 20000 : 1000000;
			nanosleep(&pause, NULL);
		}
	}
	return 0;
}

_Static_assert(sizeof(struct fragment_set) == 256, "a fragment set fills its lines");

#endif
