/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * upkeep: what the daemon does to pins beside the packets. The walk counts those in force and takes expired ones
 * away; an order resets sessions, moves them, or lets go of them; the stream brings the other load balancer's. Each is
 * one compare-and-swap: a packet that comes meanwhile wins.
 */
#ifndef CATENARY_UPKEEP_H
#define CATENARY_UPKEEP_H

#include "place.h"

/*
 * What a pin becomes by the word that the other load balancer has for its key. Of two words of the other's the later one
 * counts. What packets of our own have shown stays, but for its age: a master that has copied its slave's table takes
 * the keys for its own that only the slave's packets keep alive. A closing word's age is the moment that closing began.
 */
INLINE __u64 merged(struct env *e, __u64 old, __u64 word)
{
	if (!in_force(e, old))
		return word;
	if (!pin_later(word, old))
		return old;
	if (is_foreign(e, old))
		return word;
	if (pin_state(old) == PIN_CLOSING || pin_slot(old) != pin_slot(word))
		return old;
	return (old & ~0xffffffffULL) | (__u32)word;
}

/* Take a pin of the other load balancer's in (rule 2). A closed chain learns nothing. */
INLINE void take_in(struct env *e, const struct session_key *key, __u64 word)
{
	const struct slot *s = open_slot(e, pin_slot(word));
	struct pin *pin;
	__u64 old, next;

	if (!s || s->state == SLOT_CLOSED || is_tombstone(word) || !in_force(e, word) ||
	    !leaf_insert(e, key, word, CAUSE_TAKEN_IN))
		return;
	pin = leaf_find(e, key);
	if (!pin)
		return; /* no room: it comes again */
	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		old = leaf_word(e, pin);
		if (old & PIN_DEAD || is_tombstone(old))
			return;
		next = merged(e, old, word);
		if (next == old)
			return;
		if (leaf_swap(pin, old, next) == old) {
			if (in_force(e, old))
				return; /* a later word of the same session */
			tell_over(e, key, pin, old, ENDED_REPLACED);
			leaf_begin(e, pin, word, CAUSE_TAKEN_IN);
			return;
		}
	}
}

/*
 * May the walk take away this pin, in overflow and while room is short? Only one that the hash would place where it
 * is, so that its key gets the same answer without it, and only a half-open one (a SYN flood). With several outer
 * endpoints none is: the one that it came from would be lost. A pin does not tell which end is the client's, so the
 * classifier must judge the key alike whichever it is.
 */
INLINE int evictable(struct env *e, const struct session_key *key, __u64 word)
{
	return e->c->overflow == OVERFLOW_FULL && e->c->miss == MISS_PLACE && e->c->outers < 2 &&
	       pin_state(word) == PIN_OPENING && !is_foreign(e, word) &&
	       plain_slot(e, key, 0) == pin_slot(word) && plain_slot(e, key, 1) == pin_slot(word);
}

/* What a pin is to the walk; from WALK_EVICTED on it goes. */
enum walked_as { WALK_OWN = 0, WALK_FOREIGN = 1, WALK_TOMBSTONE = 2, WALK_EVICTED = 3, WALK_OVER = 4 };

INLINE int walked_as(struct env *e, const struct session_key *key, __u64 word)
{
	if (word & PIN_DEAD)
		return WALK_OVER;
	if (is_tombstone(word))
		return pin_expired(word, e->now, e->c) ? WALK_OVER : WALK_TOMBSTONE;
	if (!in_force(e, word))
		return WALK_OVER;
	if (evictable(e, key, word))
		return WALK_EVICTED;
	return is_foreign(e, word) ? WALK_FOREIGN : WALK_OWN;
}

/* The row of the walk's result that a pin is counted in. */
INLINE __u32 walk_row(__u64 word) { return is_tombstone(word) ? 0 : pin_slot(word); }

/* Walk one pin, whose word was just now `word`; `r` is its row. 1 if it is dead now, and to be deleted. */
INLINE int walk_pin(struct env *e, struct pin *pin, __u64 word, const struct session_key *key, struct walk_result *r)
{
	int as = walked_as(e, key, word);

	/* First the mark, then the deletion: a packet that refreshed it since we looked wins, and keeps it. */
	if (as >= WALK_EVICTED && !(word & PIN_DEAD)) {
		if (leaf_swap(pin, word, word | PIN_DEAD) != word)
			return 0;
		tell_over(e, key, pin, word, as == WALK_EVICTED              ? ENDED_EVICTED :
					     pin_state(word) == PIN_CLOSING ? ENDED_CLOSED :
									      ENDED_EXPIRED);
	}
	switch (as) {
	case WALK_OWN:
		r->pins++;
		r->states[pin_state(word)]++;
		if (e->c->miss == MISS_PLACE ? weighs(word) : lease_valid(word, e->now, e->c))
			r->live++;
		return 0;
	case WALK_FOREIGN:
		r->foreign++;
		return 0;
	case WALK_TOMBSTONE:
		r->tombstones++;
		return 0;
	case WALK_EVICTED:
		leaf_count(e, evicted);
		return 1;
	}
	r->expired++;
	return 1;
}

/*
 * What an order makes of a pin: the word itself if it is not meant, a tombstone, a pin of another slot, or one with the
 * dead mark, to be deleted. A closing pin's word is silent about packets up to 2 D after it (`pin_next`), the slave's
 * is not (`lease_next`).
 */
INLINE __u64 sweep_word(struct env *e, const struct session_key *key, __u64 word, const struct sweep *order)
{
	int silent = pin_state(word) == PIN_CLOSING && e->c->miss == MISS_PLACE;
	__u32 quiet = order->idle_ms + (silent ? 2 * e->c->transit_ms : 0);

	if (order->mode == SWEEP_FORGET)
		return is_tombstone(word) ? word | PIN_DEAD : word;
	if (word & PIN_DEAD || is_tombstone(word) || !in_force(e, word))
		return word;
	if (order->slot != NO_SLOT && (order->slot != pin_slot(word) || order->generation != pin_generation(word)))
		return word;
	if (order->one && !same_session(key, &order->key))
		return word;
	if (order->idle_ms && pin_age(word, e->now) < quiet)
		return word;
	if (order->mode == SWEEP_RESET && key->kind == PROTO_TCP)
		return pin_word(pin_outer(word), pin_slot(word), pin_generation(word), PIN_RESET, e->now);
	if (order->mode == SWEEP_MOVE)
		return (word & ~pin_word(63, 0x3ff, GENERATION_MASK, 0, 0)) |
		       pin_word(pin_outer(word), order->to_slot, order->to_generation, 0, 0);
	return word | PIN_DEAD;
}

/* Who asked for whose address is nobody's session; the other load balancer counts its own. */
INLINE void count_swept(struct env *e, __u64 word, int reset, struct sweep *order)
{
	if (pin_state(word) == PIN_NEIGHBOUR || is_foreign(e, word) || is_tombstone(word))
		return;
	if (reset)
		order->reset++;
	else
		order->moved++;
	leaf_count(e, reset ? ordered_reset : ordered_move);
	leaf_swept(e, pin_slot(word), reset);
}

/* A pin goes on in another slot, as if it began there. */
INLINE void tell_moved(struct env *e, struct pin *pin, __u64 word, __u64 next)
{
	tell_other(e, pin_slot(word), pin_generation(word), leaf_live(e, pin_slot(word)));
	leaf_begin(e, pin, next, CAUSE_MOVED);
}

/*
 * Carry out an order on one pin. 1 if it is dead now, and to be deleted. A packet that changes it meanwhile makes it
 * young: then it is judged again.
 */
INLINE int sweep_pin(struct env *e, struct pin *pin, const struct session_key *key, struct sweep *order)
{
	__u64 word, next;

	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		word = pin_read(pin);
		next = sweep_word(e, key, word, order);
		if (next == word)
			return 0;
		if (leaf_swap(pin, word, next) != word)
			continue;
		tell_over(e, key, pin, word, is_tombstone(next)         ? ENDED_RESET :
					     order->mode == SWEEP_MOVE ? ENDED_MOVED :
									  ENDED_LET_GO);
		if (order->mode == SWEEP_MOVE)
			tell_moved(e, pin, word, next);
		if (weighs(word) && !is_foreign(e, word) && !is_tombstone(word)) {
			leaf_ended(e, pin_slot(word));
			if (order->mode == SWEEP_MOVE)
				leaf_new_session(e, next);
		}
		count_swept(e, word, is_tombstone(next), order);
		return !!(next & PIN_DEAD);
	}
	return 0;
}

#endif
