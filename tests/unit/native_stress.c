// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Threads that place, refresh, close and revive sessions faster than they can live, beside a walk that never rests and
 * place tables that are switched: then no key may be in the table twice, and all sums must be right.
 *
 *   stress MILLISECONDS
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "packet.h"
#include "walk.h"

#define CARRIERS 4
#define ROOM 4096
#define KEYS 6000 /* more than there is room for */
#define FRAMES 32

static struct segment *segment;
static volatile int stop;

static const __u8 FRAME[54] = { 2, 0, 0,  0,  0,  1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6,    0,   0,
				10, 0, 0, 1, 10, 9, 0, 2, 0, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10 };

static void *carry(void *argument)
{
	static __thread __u8 buffers[FRAMES][HEADROOM + sizeof(FRAME)];
	static const __u8 flags[8] = { 0x02, 0x04, 0x11, 0x10, 0x10, 0x10, 0x10, 0x10 };
	long thread = (long)argument;
	__u64 random = 88172645463325252ULL + thread * 7919;
	struct packet packets[FRAMES];

	while (!stop) {
		for (int i = 0; i < FRAMES; i++) {
			__u8 *frame = buffers[i] + HEADROOM;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			memcpy(frame, FRAME, sizeof(FRAME));
			store16(frame + 34, (random >> 33) % KEYS);
			frame[47] = flags[random & 7];
			packets[i] = (struct packet){ .data = frame, .length = sizeof(FRAME) };
		}
		splice_batch(segment, thread, packets, FRAMES, PORT_OUTER);
	}
	return NULL;
}

static void set_up(void)
{
	static struct segment plan;

	segment_plan(&plan, ROOM, CARRIERS);
	segment = mmap(NULL, plan.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	segment_plan(segment, ROOM, CARRIERS);
	segment->config.policy = POLICY_P2C;
	segment->config.lease_ms = segment->config.transit_ms = 4;
	for (int i = 0; i < PIN_STATES; i++)
		segment->config.tau_ms[i] = 8;
	for (int i = 0; i < 3; i++)
		segment->slots[i] = (struct slot){ .tx = 2 + 2 * i, .rx = 3 + 2 * i, .generation = 1, .state = SLOT_ACTIVE,
						   .weight = 100, .placed = 100 };
	for (int i = 0; i < TABLE_SIZE; i++)
		segment->placed[0].entries[i] = segment->placed[1].entries[i] = i % 3;
}

static int by_key(const void *a, const void *b) { return memcmp(a, b, 16); }

/* How often the table contradicts itself. */
static int faults(void)
{
	static __u64 keys[2 * ROOM][2];
	struct table *t = &segment->v4;
	__u32 entries = 0, overflow = 0, displaced = 0, chunks = 0, wrong = 0;

	for (__u32 i = 0; i < t->buckets; i++) {
		struct bucket *b = bucket_at(segment, t, SHAPE4, i);

		wrong += b->lock;
		overflow += b->overflow;
		for (__u32 way = 0; way < SHAPE4.ways; way++) {
			__u64 *e = entry_at(b, SHAPE4, way);

			if (!*e)
				continue;
			wrong += *e == CLAIMED;
			displaced += (i + t->buckets - home_of(t, hash_words(e + KEY, 2, segment->seed))) % t->buckets;
			memcpy(keys[entries++], e + KEY, 16);
		}
	}
	for (__u32 i = 0; i <= t->buckets / CHUNK; i++)
		chunks += ((__u32 *)at(segment, t->chunks_at))[i];
	qsort(keys, entries, 16, by_key);
	for (__u32 i = 1; i < entries; i++)
		wrong += !by_key(keys[i - 1], keys[i]);
	wrong += entries != t->used;
	wrong += overflow != displaced;
	wrong += chunks != entries + overflow;
	printf("%u entries, %u displaced, %u faults\n", entries, displaced, wrong);
	return wrong;
}

int main(int argc, char **argv)
{
	__u32 begin = now_ms(), milliseconds = argc > 1 ? atoi(argv[1]) : 1000, walks = 0;
	pthread_t threads[CARRIERS];

	set_up();
	for (long i = 0; i < CARRIERS; i++)
		pthread_create(&threads[i], NULL, carry, (void *)i);
	while (now_ms() - begin < milliseconds) {
		if (walk(segment))
			return 2;
		if (++walks % 3)
			continue;
		__atomic_store_n(&segment->present, !segment->present, __ATOMIC_SEQ_CST);
		if (quiesce(segment, 60000))
			return 2;
		segment->config.overflow = 0; /* it was entered for want of room */
	}
	stop = 1;
	for (int i = 0; i < CARRIERS; i++)
		pthread_join(threads[i], NULL);
	return faults() != 0;
}
