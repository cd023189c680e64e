/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The core with the simplest leaf that can be: for tests, for the fuzzer and for `catenary replay`.
 *
 * One thread, tables without locks, and the clock is an argument. lb_adapter/core/check.py compiles and calls
 * this page.
 */
#include <linux/types.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
#include "pin.h"
#include "probe.h"
#include "reset.h"

#define EXPORT __attribute__((visibility("default")))

struct entry {
	struct session_key key;
	struct pin pin;
	__u32 used;
};

#define ENDS 4096 /* rows of sessions that ended, as a power of two */
#define ROOM 1024 /* for fragments: a small table of sessions is asked for, a small table of these never */

/* A hash table with linear probing, twice as large as its limit. */
struct store {
	struct entry *entries;
	__u32 size;
	__u32 used;
	__u32 limit;
};

/* lb_adapter/core/check.py declares the same, up to `stores`. */
struct check {
	struct config config;
	struct slot slots[MAX_SLOTS];
	struct vid vids[4096];
	struct place_table table;
	struct outer_table outers;
	__u64 loads[MAX_SLOTS];
	__u64 reasons[64];
	__u64 traffic[TRAFFICS];
	struct store stores[3];
	__u32 ended_count;
	struct ended ended[ENDS];
};

struct env {
	struct config *c;
	__u32 now;
	__u32 no_slot;
	__u32 outer;
	__u32 from_inner;
	__u32 traffic;
	__u32 packets; /* that the frame stands for */
	__u64 bytes;
	__u64 other;
	struct check *check;
};

INLINE struct start start_of(const struct env *e, __u64 word, __u32 cause);

enum store_of { PINS4, PINS6, FRAGMENTS };

/*
 * Another CPU, at the worst moment: what it does in the next `times` steps of its kind.
 * SWAPS: it writes `word` (and the next time one that differs) just before our compare-and-swap.
 * INSERTS: it inserts `word` just before our insertion.
 * TAKES_AWAY: it (the walk) takes the entry away that stood in the way of our insertion.
 */
enum rival { NOBODY, SWAPS, INSERTS, TAKES_AWAY };

static struct {
	enum rival does;
	__u32 times;
	__u64 word;
} rival;

static int rival_does(enum rival what)
{
	return rival.does == what && rival.times && rival.times--;
}

static struct entry *seek(struct store *s, const struct session_key *key)
{
	__u32 at = (hash_key(key) >> 32) % s->size;

	while (s->entries[at].used && memcmp(&s->entries[at].key, key, sizeof(*key)))
		at = (at + 1) % s->size;
	return &s->entries[at];
}

static int add(struct store *s, const struct session_key *key, const struct pin *pin)
{
	struct entry *entry = seek(s, key);

	if (entry->used || s->used >= s->limit)
		return -1;
	entry->key = *key;
	entry->pin = *pin;
	entry->used = 1;
	s->used++;
	return 0;
}

static struct store *pins_of(struct check *check, const struct session_key *key)
{
	struct ipv4_key small;
	struct session_key full;

	if (!shrink_key(key, &small))
		return &check->stores[PINS6];
	/* The small form must lose nothing: a key that does not come back whole is a bug, and shows as one. */
	expand_key(&small, &full);
	return memcmp(&full, key, sizeof(full)) ? NULL : &check->stores[PINS4];
}

INLINE struct pin *leaf_find(struct env *e, const struct session_key *key)
{
	struct entry *entry = seek(pins_of(e->check, key), key);

	return entry->used ? &entry->pin : NULL;
}

INLINE void leaf_key(struct env *e, const struct session_key *key) {}

INLINE __u64 leaf_word(struct env *e, const struct pin *pin) { return pin_read(pin); }

/* What lies in the place of a pin that begins so. */
static struct pin pin_from(struct env *e, __u64 word, __u32 cause)
{
	const struct start s = start_of(e, word, cause);
	__u32 load = e->check->loads[pin_slot(word)];

	return (struct pin){ word, s.bytes, s.packets, 0, origin_from(&s, &e->check->table, load) };
}

INLINE int leaf_insert(struct env *e, const struct session_key *key, __u64 word, __u32 cause)
{
	struct pin fresh = pin_from(e, word, cause);

	if (rival_does(TAKES_AWAY))
		return -1;
	if (rival_does(INSERTS))
		add(pins_of(e->check, key), key, &(struct pin){ rival.word });
	return add(pins_of(e->check, key), key, &fresh);
}

INLINE void leaf_begin(struct env *e, struct pin *pin, __u64 word, __u32 cause)
{
	__u64 now = pin_read(pin); /* stays: a lease that goes on with another chain is not as it were new */

	*pin = pin_from(e, word, cause);
	pin->word = now;
}

INLINE void leaf_over(struct env *e, const struct session_key *key, struct pin *pin, __u64 word, __u32 why)
{
	__u32 at = e->check->ended_count++;

	write_ended(&e->check->ended[at % ENDS], at + 1, key, word, pin, &pin->origin, e->now, why);
}

INLINE __u64 leaf_swap(struct pin *pin, __u64 old, __u64 new)
{
	if (rival_does(SWAPS))
		pin->word = rival.word++;
	return __sync_val_compare_and_swap(&pin->word, old, new);
}

INLINE __u64 leaf_fragment(struct env *e, const struct session_key *key)
{
	struct entry *entry = seek(&e->check->stores[FRAGMENTS], key);

	return entry->used ? entry->pin.word : 0;
}

INLINE void leaf_note_fragment(struct env *e, const struct session_key *key, __u64 word)
{
	struct store *s = &e->check->stores[FRAGMENTS];

	if (add(s, key, &(struct pin){ word }) && seek(s, key)->used)
		seek(s, key)->pin.word = word;
}

INLINE const struct slot *leaf_slot(struct env *e, __u32 slot) { return &e->check->slots[slot]; }

INLINE const struct place_table *leaf_table(struct env *e) { return &e->check->table; }

INLINE __u32 leaf_outer(struct env *e, __u64 hash) { return e->check->outers.entries[outer_index(hash)]; }

INLINE void leaf_count(struct env *e, __u32 reason) { e->check->reasons[reason]++; }

INLINE __u32 leaf_live(struct env *e, __u32 slot) { return e->check->loads[slot]; }

INLINE void leaf_overflow(struct env *e) { e->c->overflow = OVERFLOW_FULL; }

INLINE void leaf_new_session(struct env *e, __u64 word)
{
	if (!weighs(word))
		return;
	e->check->loads[pin_slot(word)]++;
	e->check->traffic[e->traffic]++;
}

INLINE void leaf_ended(struct env *e, __u32 slot)
{
	if (e->check->loads[slot])
		e->check->loads[slot]--;
}

INLINE void leaf_resumed(struct env *e, __u32 slot) { e->check->loads[slot]++; }

/* Orders are counted by the caller alone. */
INLINE void leaf_swept(struct env *e, __u32 slot, int reset) {}

#include "splice.h"
#include "upkeep.h"

EXPORT struct check *check_new(__u32 limit)
{
	struct check *check = calloc(1, sizeof(*check));

	rival.does = NOBODY;
	if (!check)
		return NULL;
	for (int i = 0; i < 3; i++) {
		struct store *s = &check->stores[i];

		s->limit = i == FRAGMENTS && limit < ROOM ? ROOM : limit;
		s->size = 2 * s->limit + 1;
		s->entries = calloc(s->size, sizeof(*s->entries));
		if (!s->entries)
			return NULL;
	}
	return check;
}

EXPORT void check_free(struct check *check)
{
	for (int i = 0; i < 3; i++)
		free(check->stores[i].entries);
	free(check);
}

/* Forget all sessions, fragments and counts; the set-up stays. */
EXPORT void check_clear(struct check *check)
{
	for (int i = 0; i < 3; i++) {
		memset(check->stores[i].entries, 0, check->stores[i].size * sizeof(struct entry));
		check->stores[i].used = 0;
	}
	memset(check->loads, 0, sizeof(check->loads));
	memset(check->reasons, 0, sizeof(check->reasons));
	memset(check->traffic, 0, sizeof(check->traffic));
	check->config.overflow = check->config.take_over = 0;
	check->ended_count = 0;
}

EXPORT int check_parse(const __u8 *frame, __u32 length, __u16 beside, __u32 affinity, int forward, struct frame *f)
{
	struct source source = { frame, frame + length };

	return coarsen(f, parse_frame(&source, frame, frame + length, beside, f), affinity, forward);
}

static __u32 push(__u8 *frame, __u32 length, __u16 vid)
{
	memmove(frame + 16, frame + 12, length - 12);
	frame[12] = ETHERTYPE_VLAN >> 8;
	frame[13] = ETHERTYPE_VLAN & 0xff;
	frame[14] = vid >> 8;
	frame[15] = vid & 0xff;
	return length + 4;
}

/* `slot`: the endpoint that a plain interface of the inner side is, or -1: the tag says it. */
static struct verdict decide(struct env *e, int inner, int slot, __u8 *frame, __u32 *length, __u16 *beside,
			     struct frame *f)
{
	struct check *check = e->check;
	struct source source = { frame, NULL };
	struct vid meaning;
	__u16 own = 0;
	int class;

	if (inner && slot < 0) {
		own = *beside & 0x0fff;
		if (!*beside && *length >= 18 && load16(frame + 12) == ETHERTYPE_VLAN) {
			own = load16(frame + 14) & 0x0fff;
			*length -= 4;
			memmove(frame + 12, frame + 16, *length - 12);
		}
		*beside = 0;
		if (!own)
			return drop_for(drop_untagged);
	}
	source.end = frame + *length;
	e->bytes = *length;
	e->packets = 1;
	class = parse_frame(&source, frame, source.end, *beside, f);
	if (inner && slot >= 0)
		return decide_inner(e, f, class, VID_CHAIN, slot);
	meaning = check->vids[inner ? own : f->key.vlan[0]];
	if (inner)
		return decide_inner(e, f, class, meaning.kind, meaning.slot);
	return decide_outer(e, f, class, f->key.vlan[0] && meaning.kind != VID_UNKNOWN);
}

/*
 * One frame through the splice, in place: `frame` has room for two more tags. `beside` is as in parse_frame; a tag
 * that lies there comes into the frame. `endpoint` is where it came in: of the outer side, or a plain one of the
 * inner side; -1: its tag says where. Returns the frame's length when it is sent.
 */
EXPORT __u32 check_frame(struct check *check, int inner, int endpoint, __u8 *frame, __u32 length, __u16 beside,
			 __u32 now, struct verdict *verdict)
{
	struct env e = { .c = &check->config, .now = now, .no_slot = drop_no_chain, .check = check,
			 .other = NO_SLOT };
	struct frame f;

	e.outer = inner || endpoint < 0 ? 0 : endpoint;
	*verdict = decide(&e, inner, endpoint, frame, &length, &beside, &f);
	if (verdict->reason == session_reset)
		length = turn_into_reset(frame, frame + length, f.upper);
	if (verdict->reason == probe_turned)
		turn_probe(frame);
	leaf_count(&e, verdict->reason);
	if (verdict->port == PORT_NONE)
		return 0;
	if (beside)
		length = push(frame, length, beside & 0x0fff);
	if (verdict->vid)
		length = push(frame, length, verdict->vid);
	return length;
}

/* The word of a session's pin (or, if `fragment`, of a fragment's key), 0 if there is none. */
EXPORT __u64 check_word(struct check *check, const struct session_key *key, int fragment)
{
	struct store *s = fragment ? &check->stores[FRAGMENTS] : pins_of(check, key);
	struct entry *entry = seek(s, key);

	return entry->used ? entry->pin.word : 0;
}

/* The whole pin of a session, NULL if there is none. */
EXPORT const struct pin *check_pin(struct check *check, const struct session_key *key)
{
	struct entry *entry = seek(pins_of(check, key), key);

	return entry->used ? &entry->pin : NULL;
}

/* The row of the session that ended as number `number`, counted from 1; NULL if so many did not. */
EXPORT const struct ended *check_ended(struct check *check, __u32 number)
{
	return number <= check->ended_count ? &check->ended[(number - 1) % ENDS] : NULL;
}

/* A pin of the other load balancer's, as the stream brings it. */
EXPORT void check_take_in(struct check *check, const struct session_key *key, __u64 word, __u32 now)
{
	struct env e = { .c = &check->config, .now = now, .check = check, .other = NO_SLOT };

	take_in(&e, key, word);
}

/* As a CPU in the middle of the walk leaves it: with the dead mark, and not deleted yet. */
EXPORT void check_mark_dead(struct check *check, const struct session_key *key)
{
	struct entry *entry = seek(pins_of(check, key), key);

	entry->pin.word |= PIN_DEAD;
}

/* What another CPU is to do from now on; `does` is an enum rival. */
EXPORT void check_rival(int does, __u32 times, __u64 word)
{
	rival.does = does;
	rival.times = times;
	rival.word = word;
}

/* Carry out an order on all pins. */
EXPORT void check_sweep(struct check *check, struct sweep *order, __u32 now)
{
	struct env e = { .c = &check->config, .now = now, .check = check };

	for (int i = PINS4; i <= PINS6; i++) {
		struct store *s = &check->stores[i], old = *s;

		s->entries = calloc(s->size, sizeof(*s->entries));
		s->used = 0;
		for (__u32 at = 0; at < old.size; at++) {
			struct entry *entry = &old.entries[at];

			if (entry->used && !sweep_pin(&e, &entry->pin, &entry->key, order))
				add(s, &entry->key, &entry->pin);
		}
		free(old.entries);
	}
}

/* Reclaim what is not in force, and count what is anew. */
EXPORT void check_walk(struct check *check, __u32 now)
{
	struct env e = { .c = &check->config, .now = now, .check = check };
	static struct walk_result rows[MAX_SLOTS];

	memset(rows, 0, sizeof(rows));
	for (int i = PINS4; i <= PINS6; i++) {
		struct store *s = &check->stores[i], old = *s;

		s->entries = calloc(s->size, sizeof(*s->entries));
		s->used = 0;
		for (__u32 at = 0; at < old.size; at++) {
			struct entry *entry = &old.entries[at];
			__u64 word = entry->pin.word;

			if (entry->used && !walk_pin(&e, &entry->pin, word, &entry->key, &rows[walk_row(word)]))
				add(s, &entry->key, &entry->pin);
		}
		free(old.entries);
	}
	for (__u32 slot = 0; slot < MAX_SLOTS; slot++)
		check->loads[slot] = rows[slot].live;
}
