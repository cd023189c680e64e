/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * place: from a key to an endpoint of each side, by its pin or by choosing one.
 *
 * The session table as the rules of affinity see it. Where the tables lie is the leaf's business: before this page
 * is included it defines `struct env` (with at least `c`, `now`, `no_slot`, `outer`, `from_inner` and `traffic`; `bytes`
 * and `packets` of the frame; and `other` of struct start, NO_SLOT at first) and the functions named
 * below with the prefix `leaf_`.
 */
#ifndef CATENARY_PLACE_H
#define CATENARY_PLACE_H

#include "classify.h"
#include "pin.h"

#define CAS_TRIES 4
/* Where a frame came from, for `from_inner`: false if from outside. The bypass path brings asks and answers. */
enum from { FROM_OUTER = 0, FROM_CHAIN = 1, FROM_BYPASS = 2 };

#define FRAGMENT_MS 2000 /* how long a first fragment speaks for the later ones */

/*
 * The leaf:
 *   void leaf_key(env, key)                      what follows is about this key
 *   struct pin *leaf_find(env, key)              a pin, valid until the packet is done; NULL if there is none
 *   __u64 leaf_word(env, pin)                    the word of what was found; dead if it is another key's by now
 *   int leaf_insert(env, key, word, cause)       insert if absent: 0, or not 0 (it is there, or no room)
 *   void leaf_begin(env, pin, word, cause)       a pin began anew in its place: write what it begins with, but for the word
 *   void leaf_over(env, key, pin, word, why)     note for people that this pin, whose word it was, is over
 *   __u64 leaf_swap(pin, old, new)               compare-and-swap; the value that was there
 *   __u64 leaf_fragment(env, key)                the word of a fragment's key, or 0
 *   void leaf_note_fragment(env, key, word)
 *   const struct slot *leaf_slot(env, slot)      never NULL for slot < MAX_SLOTS
 *   const struct place_table *leaf_table(env)    the present one, or NULL. Read it once for each choice: two
 *                                                look-ups may see two epochs
 *   __u32 leaf_outer(env, hash)                  the outer side's table, for a key that came in by the inner side
 *   void leaf_count(env, reason); void leaf_ended(env, slot); void leaf_resumed(env, slot)
 *   void leaf_new_session(env, word)             a pin that began, if it `weighs`; also counts `traffic`
 *   void leaf_swept(env, slot, reset)            an order reset a session of this slot, or moved it
 *   void leaf_overflow(env)                      enter overflow (rule 7)
 *   __u32 leaf_live(env, slot)                   sessions of a slot, as p2c weighs them
 */

INLINE const struct slot *open_slot(struct env *e, __u32 slot)
{
	const struct slot *s = slot < MAX_SLOTS ? leaf_slot(e, slot) : 0;

	return s && s->state != SLOT_FREE ? s : 0;
}

/*
 * Is this pin the other load balancer's? The stream between the two brought it, or, where chains rewrite, an ask made
 * it: no packet of its session has been seen here yet, neither a client's nor one out of a chain (rule 2).
 */
INLINE int is_foreign(struct env *e, __u64 word) { return e->c->outers < 2 && pin_outer(word) == FOREIGN; }

/* A packet of a known session. */
INLINE void note_packet(struct env *e, struct pin *pin)
{
	pin->bytes += e->bytes;
	pin->packets += e->packets;
}

INLINE struct start start_of(const struct env *e, __u64 word, __u32 cause)
{
	struct start s = { word,	 e->bytes, e->packets,	       e->now, cause, e->c->policy,
			   e->other };
	return s;
}

INLINE void tell_other(struct env *e, __u32 slot, __u32 generation, __u32 load)
{
	e->other = (__u64)load << 32 | (generation & 0xffff) << 16 | (slot & 0xffff);
}

/* A pin is over: those of the other load balancer's are told there, and what a tombstone was, when it became one. */
INLINE void tell_over(struct env *e, const struct session_key *key, struct pin *pin, __u64 word, __u32 why)
{
	if (!is_foreign(e, word) && !is_tombstone(word))
		leaf_over(e, key, pin, word, why);
}

/* A pin of another generation names a chain that is gone: it is as good as expired. */
INLINE int in_force(struct env *e, __u64 word)
{
	const struct slot *s = open_slot(e, pin_slot(word));

	return s && s->generation == pin_generation(word) && !pin_expired(word, e->now, e->c);
}

/* A SYN for a chain that takes no new sessions: if the session before it closed, it may be placed anew. */
INLINE int may_move(struct env *e, __u64 word, __u8 flags)
{
	const struct slot *s;

	if (!opens(flags))
		return 0;
	s = open_slot(e, pin_slot(word));
	return s && (s->state != SLOT_ACTIVE || !s->weight);
}

/*
 * The master does so if the pin is closed and was quiet for 2 D (rule 5): else a session that uses its key again
 * and again would keep a removed chain alive. Closing's word has the moment at which closing began, and packets
 * up to 2 D after it leave no trace there.
 */
INLINE int gives_way(struct env *e, __u64 word, __u8 flags)
{
	return pin_state(word) == PIN_CLOSING && pin_age(word, e->now) > 4 * e->c->transit_ms &&
	       may_move(e, word, flags);
}

/* Several chains, or several outer endpoints, may ask and answer one question of ARP or ND: that is no crossing. */
INLINE int is_neighbour(const struct frame *f) { return f->key.kind == KIND_ARP || f->key.kind == KIND_ND; }

/*
 * The outer endpoint of a pin: that is where a frame from inside goes. One that came from another outer endpoint
 * contradicts the pin.
 */
INLINE void note_outer(struct env *e, const struct frame *f, __u64 word)
{
	if (e->c->outers < 2)
		return;
	if (e->from_inner)
		e->outer = pin_outer(word);
	else if (pin_outer(word) != e->outer && !is_neighbour(f))
		leaf_count(e, affinity_mismatch);
}

/* The frame met a tombstone: it goes nowhere, and is never placed. */
INLINE __u32 meet_tombstone(struct env *e)
{
	e->no_slot = drop_reset;
	return NO_SLOT;
}

INLINE int met_tombstone(const struct env *e) { return e->no_slot == drop_reset; }

/* Is there nothing against placing the frame's key? */
INLINE int may_place(const struct env *e) { return e->no_slot == drop_no_chain; }

/*
 * A key that this side knows from the other one only, asked about when its chain is closed. Were it answered, a
 * drained chain would go on; and no other chain made that key (rule 2).
 */
INLINE int is_stranded(struct env *e, __u64 word)
{
	const struct slot *s = open_slot(e, pin_slot(word));

	return e->from_inner == FROM_BYPASS && is_foreign(e, word) && s && s->state == SLOT_CLOSED;
}

/* Is the key's low end the client's? What comes from inside comes from the server, or is its packet that asks. */
INLINE int client_is_low(const struct env *e, const struct frame *f) { return f->from_low ^ !!e->from_inner; }

/* What a key gets by itself, with a pin and without one. */
INLINE __u32 plain_slot(struct env *e, const struct session_key *key, int client_low)
{
	struct advice a = {};

	CONSULT(e, key, client_low, &a);
	return a.slot;
}

/* Of two slots of the table, the one with fewer live sessions for its weight (power of two choices). */
INLINE __u32 better_of(struct env *e, __u32 a, __u32 b)
{
	const struct slot *sa = open_slot(e, a), *sb = open_slot(e, b);
	__u32 live_a, live_b;

	if (a == b || !sb)
		return a;
	if (!sa)
		return b;
	live_a = leaf_live(e, a);
	live_b = leaf_live(e, b);
	if ((__u64)live_a * sb->placed <= (__u64)live_b * sa->placed) {
		tell_other(e, b, sb->generation, live_b);
		return a;
	}
	tell_other(e, a, sa->generation, live_a);
	return b;
}

/*
 * The chain of a new session, or NO_SLOT; the bypass for what the classifier does not match. In overflow the plain
 * hash alone may answer, whatever the policy: a key must get one answer with and without a pin (rule 7).
 */
INLINE __u32 choose(struct env *e, const struct frame *f)
{
	struct advice a = {};

	CONSULT(e, &f->key, client_is_low(e, f), &a);
	e->traffic = a.traffic;
	if (e->c->overflow) {
		leaf_count(e, placed_in_overflow);
		return a.slot;
	}
	return e->c->policy == POLICY_P2C ? better_of(e, a.slot, a.other) : a.slot;
}

/* The word of a key's first packet. Where chains rewrite, an ask alone makes no key this side's own (rule 2). */
INLINE __u64 first_word(struct env *e, const struct frame *f, __u32 slot, __u32 generation)
{
	__u32 outer = e->c->rewrites && e->from_inner == FROM_BYPASS ? FOREIGN : e->outer;

	return pin_word(outer, slot, generation, first_state(f), e->now);
}

INLINE __u32 cause_of(const struct env *e, __u32 reason)
{
	if (reason == session_learned)
		return CAUSE_LEARNED;
	if (reason == hint_honoured)
		return CAUSE_HINTED;
	if (e->c->overflow)
		return CAUSE_OVERFLOW;
	return e->from_inner == FROM_BYPASS ? CAUSE_ASKED : CAUSE_PLACED;
}

/*
 * Write key -> slot unless a pin in force is there, and say which slot holds now. An expired pin is replaced
 * in place: delete-and-insert would leave a moment in which a second packet of the key is placed on its own.
 */
INLINE __u32 assign(struct env *e, struct frame *f, __u32 slot, __u32 reason)
{
	const struct slot *s = open_slot(e, slot);
	struct pin *pin = 0;
	__u64 word, fresh;
	__u32 cause;

	if (!s)
		return NO_SLOT;
	if (e->from_inner && e->c->outers > 1)
		e->outer = leaf_outer(e, hash_key(&f->key));
	fresh = first_word(e, f, slot, s->generation);
	cause = cause_of(e, reason);
	/* Twice: the walk may take an expired pin away between the two steps, and that is not a full table. */
	for (int i = 0; i < 2 && !pin; i++) {
		if (!leaf_insert(e, &f->key, fresh, cause)) {
			leaf_count(e, reason);
			leaf_new_session(e, fresh);
			return slot;
		}
		pin = leaf_find(e, &f->key);
	}
	if (!pin) {
		/*
		 * No room. Only the plain answer agrees with a later packet that finds no pin either, and only as long
		 * as no policy chooses otherwise: so this is overflow, from now on and for every CPU.
		 */
		leaf_overflow(e);
		leaf_count(e, pin_table_full);
		if (e->c->refuse_full) {
			e->no_slot = drop_table_full;
			return NO_SLOT;
		}
		return reason == session_learned ? slot : plain_slot(e, &f->key, client_is_low(e, f));
	}
	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		word = leaf_word(e, pin);
		if (word & PIN_DEAD) {
			e->no_slot = drop_dead_pin;
			return NO_SLOT;
		}
		if (is_tombstone(word)) {
			if (!revives(f->tcp_flags))
				return meet_tombstone(e);
		} else if (in_force(e, word) && !(reason == session_placed && gives_way(e, word, f->tcp_flags))) {
			leaf_count(e, insert_race_lost);
			note_outer(e, f, word);
			note_packet(e, pin);
			return pin_slot(word);
		}
		if (leaf_swap(pin, word, fresh) == word) {
			tell_over(e, &f->key, pin, word, ENDED_REPLACED);
			leaf_begin(e, pin, fresh, cause);
			leaf_count(e, session_revived);
			leaf_count(e, reason);
			leaf_new_session(e, fresh);
			return slot;
		}
	}
	return NO_SLOT;
}

/*
 * Does a SYN open the next connection in the chain of the one that was reset? For 2 D it does: the slave, told first,
 * may have asked about this SYN or a copy of it before the reset came here, and what was answered then is the slave's
 * lease. A closed chain teaches no lease; what comes out of a chain has crossed that one, and says so itself.
 */
INLINE int reopens(struct env *e, __u64 word, __u8 flags)
{
	const struct slot *s = open_slot(e, pin_slot(word));

	return e->from_inner != FROM_CHAIN && revives(flags) && pin_age(word, e->now) <= 2 * e->c->transit_ms && s &&
	       s->generation == pin_generation(word) && s->state != SLOT_CLOSED;
}

/*
 * A packet found a tombstone. Only a SYN goes on, to be placed anew: in the `same` chain, if that is told. A packet that
 * is overtaken by the reset while it refreshes its pin goes on, as if it had come before.
 */
INLINE __u32 at_tombstone(struct env *e, struct pin *pin, __u64 word, __u8 flags, int only_look, __u32 *same)
{
	if (only_look)
		return meet_tombstone(e);
	if (reopens(e, word, flags))
		*same = pin_slot(word);
	if (revives(flags))
		return NO_SLOT;
	leaf_swap(pin, word, PIN_NEXT(word, e->now, 0, SIDE_CLIENT, e->c));
	return meet_tombstone(e);
}

/*
 * Look up a pin in force and refresh it, unless the frame only looks up; NO_SLOT if there is none. `same` is the slot
 * that a SYN is to be placed in if any (`at_tombstone`), else it stays as it is.
 */
INLINE __u32 refresh(struct env *e, struct frame *f, __u8 flags, __u32 side, int only_look, __u32 *same)
{
	struct pin *pin = leaf_find(e, &f->key);
	__u64 word, next;

	if (!pin)
		return NO_SLOT;
	word = leaf_word(e, pin);
	if (is_tombstone(word))
		return at_tombstone(e, pin, word, flags, only_look, same);
	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		word = leaf_word(e, pin);
		if (word & PIN_DEAD || !in_force(e, word) || (side == SIDE_CLIENT && gives_way(e, word, flags)))
			return NO_SLOT;
		if (is_stranded(e, word)) {
			e->no_slot = drop_closed;
			return NO_SLOT;
		}
		if (only_look)
			break;
		next = i ? PIN_NEXT(word, e->now, flags, side, e->c) : pin_after(word, e->now, flags, side, e->c);
		if (e->from_inner != FROM_BYPASS && is_foreign(e, word))
			next = pin_own(next);
		if (next == word)
			break;
		if (leaf_swap(pin, word, next) == word) {
			if (pin_state(next) == PIN_CLOSING && pin_state(word) != PIN_CLOSING)
				leaf_ended(e, pin_slot(word));
			else if (pin_state(word) == PIN_CLOSING && pin_state(next) != PIN_CLOSING)
				leaf_resumed(e, pin_slot(word)); /* the next connection on its key, mostly */
			break;
		}
		/* Another packet refreshed it meanwhile: try again, for a FIN must not be lost. */
	}
	if (!only_look)
		note_packet(e, pin);
	note_outer(e, f, word);
	return pin_slot(word);
}

/* A later fragment goes where its first one went; before that, nobody may guess. */
INLINE __u32 fragment_slot(struct env *e, struct frame *f)
{
	__u64 word = leaf_fragment(e, &f->fragment);
	const struct slot *s = open_slot(e, pin_slot(word));

	if (!word || !s || s->generation != pin_generation(word) || pin_age(word, e->now) >= FRAGMENT_MS)
		return NO_SLOT;
	note_outer(e, f, word);
	return pin_slot(word);
}

INLINE void note_first_fragment(struct env *e, struct frame *f, __u32 slot)
{
	const struct slot *s;

	/* First what costs nothing: few frames are fragments, and looking up a slot is not free. */
	if (!f->fragment.kind)
		return;
	s = open_slot(e, slot);
	if (s)
		leaf_note_fragment(e, &f->fragment, pin_word(e->outer, slot, s->generation, PIN_OTHER, e->now));
}

/* Placed in the middle of a connection soon after a take-over: what only the lost table knew (rule 8). */
INLINE void count_orphan(struct env *e, const struct frame *f)
{
	if (e->c->take_over == TAKE_OVER_WATCH && f->key.kind == PROTO_TCP && !opens(f->tcp_flags) &&
	    !(f->tcp_flags & TCP_RST))
		leaf_count(e, orphaned);
}

/*
 * What decides where a new session goes: the chain of its tombstone, a hint, or the choice. A hint counts only while
 * its chain is open, and never in overflow.
 */
INLINE __u32 wanted(struct env *e, const struct frame *f, __u32 same, __u32 hint, __u32 *reason)
{
	const struct slot *s = open_slot(e, hint);

	*reason = session_placed;
	if (same != NO_SLOT)
		return same;
	if (hint != NO_SLOT && e->c->overflow) {
		leaf_count(e, hint_ignored);
	} else if (s && s->state != SLOT_CLOSED) {
		*reason = hint_honoured;
		return hint;
	} else if (hint != NO_SLOT) {
		leaf_count(e, hint_refused);
	}
	return choose(e, f);
}

/*
 * Master: the chain of a frame, by its pin or by placing it; what only looks up is never placed. `hint` is NO_SLOT, or
 * what an ask says of a key without a pin.
 */
INLINE __u32 place(struct env *e, struct frame *f, int class, __u8 flags, __u32 side, __u32 hint)
{
	__u32 slot, same = NO_SLOT, reason;

	if (class == FRAME_FRAGMENT) {
		e->no_slot = drop_fragment_unknown;
		return fragment_slot(e, f);
	}
	slot = refresh(e, f, flags, side, class == FRAME_ERROR, &same);
	if (class == FRAME_ERROR) {
		if (!met_tombstone(e))
			e->no_slot = drop_error_unknown;
		return slot;
	}
	if (slot == NO_SLOT && may_place(e)) {
		slot = wanted(e, f, same, hint, &reason);
		if (slot != NO_SLOT)
			slot = assign(e, f, slot, reason);
		if (slot != NO_SLOT && reason == session_placed)
			count_orphan(e, f);
	} else if (hint != NO_SLOT && slot != hint) {
		leaf_count(e, hint_refused);
	}
	note_first_fragment(e, f, slot);
	return slot;
}

#endif
