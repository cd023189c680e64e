/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * place: from a parsed frame and the place where it came in, to a verdict.
 *
 * A splice joins two sides of endpoints. The rules of affinity are here, once for all data planes. Where the tables
 * lie is the leaf's business: before this page is included it defines `struct env` (with at least `c`, `now`,
 * `no_slot`, `outer` and `from_inner`) and the functions named below with the prefix `leaf_`. Nothing here touches a
 * frame.
 */
#ifndef CATENARY_SPLICE_H
#define CATENARY_SPLICE_H

#include "key.h"
#include "pin.h"

#define CAS_TRIES 4
#define FRAGMENT_MS 2000 /* how long a first fragment speaks for the later ones */

enum port { PORT_NONE = 0, PORT_OUTER = 1, PORT_INNER = 2 };

/*
 * Send the frame out of `port`, by `ifindex` where a port is several interfaces, tagged with `vid` unless that is 0;
 * PORT_NONE drops it. Count `reason`.
 */
struct verdict {
	__u16 port;
	__u16 vid;
	__u16 reason;
	__u16 slot;      /* whose traffic it is, or NO_SLOT */
	__u16 reverse;
	__u16 outer;     /* the outer endpoint that it goes to, if any */
	__u32 ifindex;
};

/*
 * The leaf:
 *   struct pin *leaf_find(env, key)              a pin, valid until the packet is done; NULL if there is none
 *   int leaf_insert(env, key, word)              insert if absent: 0, or not 0 (it is there, or no room)
 *   __u64 leaf_swap(pin, old, new)               compare-and-swap; the value that was there
 *   __u64 leaf_fragment(env, key)                the word of a fragment's key, or 0
 *   void leaf_note_fragment(env, key, word)
 *   const struct slot *leaf_slot(env, slot)      never NULL for slot < MAX_SLOTS
 *   const struct place_table *leaf_table(env)    the present one, or NULL. Read it once for each choice: two
 *                                                look-ups may see two epochs
 *   __u32 leaf_outer(env, hash)                  the outer side's table, for a key that came in by the inner side
 *   void leaf_count(env, reason); void leaf_new_session(env, slot); void leaf_ended(env, slot)
 *   void leaf_overflow(env)                      enter overflow (rule 7)
 *   __u32 leaf_live(env, slot)                   sessions of a slot, as p2c weighs them
 */

INLINE const struct slot *open_slot(struct env *e, __u32 slot)
{
	const struct slot *s = slot < MAX_SLOTS ? leaf_slot(e, slot) : 0;

	return s && s->state != SLOT_FREE ? s : 0;
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

INLINE struct verdict drop_for(__u16 reason)
{
	struct verdict v = { PORT_NONE, 0, reason, NO_SLOT, 0, 0, 0 };
	return v;
}

/* Into an endpoint of the inner side. */
INLINE struct verdict send_inner(struct env *e, const struct slot *s, __u16 reason, __u32 slot, int reverse)
{
	struct verdict v = { PORT_INNER, s->tx, reason, (__u16)slot, (__u16)reverse, 0,
			     s->ifindex ? s->ifindex : e->c->inner_ifindex };
	return v;
}

/* Over the bypass path to the other end: an ask, or the `rx` of an endpoint as a hint or an answer. */
INLINE struct verdict send_bypass(struct env *e, __u16 vid, __u16 reason)
{
	struct verdict v = { PORT_INNER, vid, reason, NO_SLOT, 1, 0, e->c->inner_ifindex };
	return v;
}

INLINE struct verdict send_outer(struct env *e, __u16 reason, __u32 slot, int reverse)
{
	struct verdict v = { PORT_OUTER, 0, reason, (__u16)slot, (__u16)reverse, (__u16)e->outer,
			     e->c->outer_ifindex[e->outer % MAX_OUTERS] };
	return v;
}

/*
 * The outer endpoint of a pin: that is where a frame from inside goes. One that came from another outer endpoint
 * contradicts the pin.
 */
INLINE void note_outer(struct env *e, __u64 word)
{
	if (e->from_inner)
		e->outer = pin_outer(word);
	else if (pin_outer(word) != e->outer)
		leaf_count(e, affinity_mismatch);
}

/* The table's answer for a hash. */
INLINE __u32 entry_of(const struct place_table *t, __u64 hash)
{
	return t ? t->entries[table_index(hash)] : NO_SLOT;
}

/* Of two slots of the table, the one with fewer live sessions for its weight (power of two choices). */
INLINE __u32 better_of(struct env *e, __u32 a, __u32 b)
{
	const struct slot *sa = open_slot(e, a), *sb = open_slot(e, b);

	if (a == b || !sb)
		return a;
	if (!sa)
		return b;
	return (__u64)leaf_live(e, a) * sb->placed <= (__u64)leaf_live(e, b) * sa->placed ? a : b;
}

/*
 * The chain of a new session, or NO_SLOT. In overflow the plain hash alone may answer, whatever the policy: a
 * key must get one answer with and without a pin (rule 7).
 */
INLINE __u32 choose(struct env *e, const struct session_key *key)
{
	__u64 hash = hash_key(key);
	const struct place_table *t = leaf_table(e);
	__u32 slot = entry_of(t, hash);

	if (e->c->overflow) {
		leaf_count(e, placed_in_overflow);
		return slot;
	}
	if (e->c->policy == POLICY_P2C)
		return better_of(e, slot, entry_of(t, second_lane(hash)));
	return slot;
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

	if (!s)
		return NO_SLOT;
	if (e->from_inner && e->c->outers > 1)
		e->outer = leaf_outer(e, hash_key(&f->key));
	fresh = pin_word(e->outer, slot, s->generation, first_state(f), e->now);
	/* Twice: the walk may take an expired pin away between the two steps, and that is not a full table. */
	for (int i = 0; i < 2 && !pin; i++) {
		if (!leaf_insert(e, &f->key, fresh)) {
			leaf_count(e, reason);
			leaf_new_session(e, slot);
			return slot;
		}
		pin = leaf_find(e, &f->key);
	}
	if (!pin) {
		/*
		 * No room. Only the plain hash agrees with a later packet that finds no pin either, and only as long
		 * as no policy chooses otherwise: so this is overflow, from now on and for every CPU.
		 */
		leaf_overflow(e);
		leaf_count(e, pin_table_full);
		if (e->c->refuse_full) {
			e->no_slot = drop_table_full;
			return NO_SLOT;
		}
		return reason == session_learned ? slot : entry_of(leaf_table(e), hash_key(&f->key));
	}
	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		word = pin_read(pin);
		if (word & PIN_DEAD) {
			e->no_slot = drop_dead_pin;
			return NO_SLOT;
		}
		if (in_force(e, word) && !(reason == session_placed && gives_way(e, word, f->tcp_flags))) {
			leaf_count(e, insert_race_lost);
			note_outer(e, word);
			return pin_slot(word);
		}
		if (leaf_swap(pin, word, fresh) == word) {
			leaf_count(e, session_revived);
			leaf_count(e, reason);
			leaf_new_session(e, slot);
			return slot;
		}
	}
	return NO_SLOT;
}

/* Look up a pin in force and refresh it, unless the frame only looks up; NO_SLOT if there is none. */
INLINE __u32 refresh(struct env *e, struct frame *f, __u8 flags, __u32 side, int only_look)
{
	struct pin *pin = leaf_find(e, &f->key);
	__u64 word, next;

	if (!pin)
		return NO_SLOT;
	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		word = pin_read(pin);
		if (word & PIN_DEAD || !in_force(e, word) || (side == SIDE_CLIENT && gives_way(e, word, flags)))
			return NO_SLOT;
		if (only_look)
			break;
		next = pin_next(word, e->now, flags, side, e->c);
		if (next == word)
			break;
		if (leaf_swap(pin, word, next) == word) {
			if (pin_state(next) == PIN_CLOSING && pin_state(word) != PIN_CLOSING)
				leaf_ended(e, pin_slot(word));
			break;
		}
		/* Another packet refreshed it meanwhile: try again, for a FIN must not be lost. */
	}
	note_outer(e, word);
	return pin_slot(word);
}

/* A later fragment goes where its first one went; before that, nobody may guess. */
INLINE __u32 fragment_slot(struct env *e, struct frame *f)
{
	__u64 word = leaf_fragment(e, &f->fragment);
	const struct slot *s = open_slot(e, pin_slot(word));

	if (!word || !s || s->generation != pin_generation(word) || pin_age(word, e->now) >= FRAGMENT_MS)
		return NO_SLOT;
	note_outer(e, word);
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

/* Master: the chain of a frame, by its pin or by placing it. What only looks up is never placed. */
INLINE __u32 place(struct env *e, struct frame *f, int class, __u8 flags, __u32 side)
{
	__u32 slot;

	if (class == FRAME_FRAGMENT) {
		e->no_slot = drop_fragment_unknown;
		return fragment_slot(e, f);
	}
	slot = refresh(e, f, flags, side, class == FRAME_ERROR);
	if (class == FRAME_ERROR) {
		e->no_slot = drop_error_unknown;
		return slot;
	}
	if (slot == NO_SLOT) {
		slot = choose(e, &f->key);
		if (slot != NO_SLOT)
			slot = assign(e, f, slot, session_placed);
	}
	note_first_fragment(e, f, slot);
	return slot;
}

/*
 * May the walk take away this pin, in overflow? Only one that the hash would place where it is, so that its key
 * gets the same answer without it, and only a half-open one (a SYN flood).
 */
INLINE int evictable(struct env *e, const struct session_key *key, __u64 word)
{
	return e->c->overflow && e->c->miss == MISS_PLACE && pin_state(word) == PIN_OPENING &&
	       entry_of(leaf_table(e), hash_key(key)) == pin_slot(word);
}

INLINE void count_class(struct env *e, int class)
{
	if (class == FRAME_ERROR)
		leaf_count(e, error_hit);
	else if (class == FRAME_FRAGMENT)
		leaf_count(e, fragment_hit);
}

INLINE struct verdict master_outer(struct env *e, struct frame *f, int class)
{
	__u32 slot = place(e, f, class, f->tcp_flags, SIDE_CLIENT);
	const struct slot *s = open_slot(e, slot);

	if (!s)
		return drop_for(e->no_slot);
	count_class(e, class);
	return send_inner(e, s, to_chain, slot, 0);
}

/*
 * Master, with several outer endpoints: where to with a frame from inside that has no key of its own, or why not (0
 * is no reason to drop).
 */
INLINE __u16 find_outer(struct env *e, struct frame *f, int class)
{
	if (class == FRAME_FRAGMENT)
		return fragment_slot(e, f) == NO_SLOT ? drop_fragment_unknown : 0;
	if (class == FRAME_ERROR)
		return refresh(e, f, 0, SIDE_SERVER, 1) == NO_SLOT ? drop_error_unknown : 0;
	return 0;
}

/* Master: reverse traffic out of a chain. Its tag teaches keys that are not known, and never moves a pin. */
INLINE struct verdict master_from_chain(struct env *e, struct frame *f, int class, __u32 slot)
{
	const struct slot *s = open_slot(e, slot);
	__u16 reason;
	__u32 known;

	if (class != FRAME_SESSION && e->c->outers > 1) {
		reason = find_outer(e, f, class);
		if (reason)
			return drop_for(reason);
	}
	if (class == FRAME_SESSION) {
		known = refresh(e, f, f->tcp_flags, SIDE_SERVER, 0);
		if (known == NO_SLOT && s) {
			if (s->state == SLOT_CLOSED)
				leaf_count(e, closed_not_learned);
			else
				known = assign(e, f, slot, session_learned);
			/* Without a pin where one is due, its answer would be placed anew. */
			if (known == NO_SLOT && e->no_slot != drop_no_chain)
				return drop_for(e->no_slot);
		}
		/* Several chains may answer one ARP or ND question: that is no crossing. */
		if (known != NO_SLOT && known != slot && f->key.kind != KIND_ARP && f->key.kind != KIND_ND)
			leaf_count(e, affinity_mismatch);
		if (e->c->outers > 1)
			note_first_fragment(e, f, slot);
	}
	return send_outer(e, class == FRAME_OTHER ? designated : to_outer, slot, 1);
}

/*
 * Master: a packet that the slave could not place. Its own FIN or RST changes nothing yet: it has not been
 * through the chain. Its SYN does: the client's SYN at the same time must find the session there. A hint counts only for a key without a pin, only while its chain is open, and never in
 * overflow.
 */
INLINE struct verdict master_asked(struct env *e, struct frame *f, int class, int hinted, __u32 hint)
{
	const struct slot *s;
	__u32 slot = NO_SLOT;

	f->tcp_flags &= ~(TCP_FIN | TCP_RST);
	if (hinted && class == FRAME_SESSION) {
		slot = refresh(e, f, f->tcp_flags, SIDE_SERVER, 0);
		s = open_slot(e, hint);
		if (slot == NO_SLOT && e->c->overflow)
			leaf_count(e, hint_ignored);
		else if (slot == NO_SLOT && s && s->state != SLOT_CLOSED)
			slot = assign(e, f, hint, hint_honoured);
		else if (slot != hint)
			leaf_count(e, hint_refused);
		note_first_fragment(e, f, slot);
	}
	if (slot == NO_SLOT && e->no_slot == drop_no_chain)
		slot = place(e, f, class, f->tcp_flags, SIDE_SERVER);
	s = open_slot(e, slot);
	if (!s)
		return drop_for(e->no_slot);
	count_class(e, class);
	return send_bypass(e, s->rx, ask_answered);
}

/*
 * Slave: may a lease in force decide for this packet? A server's SYN that may be placed anew asks the master: both
 * sides may open a session at once, and the client's SYN may have been.
 */
INLINE int lease_decides(struct env *e, __u64 word, __u8 flags)
{
	return lease_valid(word, e->now, e->c) && !may_move(e, word, flags);
}

/* Slave: write a lease; one that decides is kept if `overwrite` is false. The slot that holds now. */
INLINE __u32 lease(struct env *e, struct frame *f, __u32 slot, int overwrite)
{
	const struct slot *s = open_slot(e, slot);
	__u64 word, next, fresh;
	struct pin *pin;

	if (!s)
		return slot;
	fresh = pin_word(0, slot, s->generation, first_state(f), e->now);
	if (!leaf_insert(e, &f->key, fresh)) {
		leaf_count(e, overwrite ? session_learned : answer_taken);
		return slot;
	}
	pin = leaf_find(e, &f->key);
	if (!pin) {
		/* No lease without room: the next server packet asks, and gets the same answer. */
		leaf_count(e, pin_table_full);
		return slot;
	}
	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		word = pin_read(pin);
		if (word & PIN_DEAD)
			return slot;
		if (in_force(e, word) && lease_decides(e, word, f->tcp_flags)) {
			if (!overwrite) {
				leaf_count(e, answer_late);
				return pin_slot(word);
			}
			/* The master may have placed a closed session anew, before this side knew that its chain leaves. */
			if (pin_slot(word) != slot && f->key.kind != KIND_ARP && f->key.kind != KIND_ND &&
			    !(opens(f->tcp_flags) && pin_state(word) == PIN_CLOSING))
				leaf_count(e, affinity_mismatch);
		}
		next = lease_next(word, slot, s->generation, e->now, f, e->c);
		if (next == word || leaf_swap(pin, word, next) == word) {
			leaf_count(e, overwrite ? lease_renewed : answer_taken);
			return slot;
		}
	}
	return slot;
}

/*
 * Slave: only a lease may decide. Without one the packet itself asks the master, over the bypass path; the
 * tag of a lapsed lease goes along as a hint, if its chain is still the same one.
 */
INLINE struct verdict slave_outer(struct env *e, struct frame *f, int class)
{
	const struct slot *s = 0;
	struct pin *pin;
	__u64 word = 0;
	__u32 slot;

	if (class == FRAME_FRAGMENT) {
		slot = fragment_slot(e, f);
		s = open_slot(e, slot);
		if (s) {
			leaf_count(e, fragment_hit);
			return send_inner(e, s, to_chain, slot, 1);
		}
	} else {
		pin = leaf_find(e, &f->key);
		word = pin ? pin_read(pin) : 0;
		slot = pin_slot(word);
		s = open_slot(e, slot);
		if (pin && s && !(word & PIN_DEAD) && in_force(e, word)) {
			if (lease_decides(e, word, f->tcp_flags)) {
				note_first_fragment(e, f, slot);
				count_class(e, class);
				return send_inner(e, s, to_chain, slot, 1);
			}
			if (s->state != SLOT_CLOSED && class == FRAME_SESSION && !may_move(e, word, f->tcp_flags))
				return send_bypass(e, s->rx, hint_sent);
		}
	}
	if (!e->c->ask_vid)
		return drop_for(drop_not_ready);
	return send_bypass(e, e->c->ask_vid, ask_sent);
}

/* Slave: forward traffic out of a chain. The master put the tag on, so the tag is the truth. */
INLINE struct verdict slave_from_chain(struct env *e, struct frame *f, int class, __u32 slot)
{
	if (class == FRAME_SESSION)
		lease(e, f, slot, 1);
	return send_outer(e, class == FRAME_OTHER ? designated : to_outer, slot, 0);
}

/* Slave: its own packet is back from the master with the chain's tag. An answer never asks again. */
INLINE struct verdict slave_answered(struct env *e, struct frame *f, int class, __u32 slot)
{
	const struct slot *s;

	if (class == FRAME_SESSION) {
		slot = lease(e, f, slot, 0);
		note_first_fragment(e, f, slot);
	}
	s = open_slot(e, slot);
	if (!s)
		return drop_for(drop_no_chain);
	count_class(e, class);
	return send_inner(e, s, to_chain, slot, 1);
}

/* What is no session goes by the designated chain, the same one for all. */
INLINE struct verdict by_designated(struct env *e, int reverse)
{
	const struct place_table *t = leaf_table(e);
	__u32 slot = t ? t->designated : NO_SLOT;
	const struct slot *s = open_slot(e, slot);

	if (!s)
		return drop_for(drop_no_chain);
	return send_inner(e, s, designated, slot, reverse);
}

/* A frame from the outer port. `own_tag`: it carries one of the segment's own IDs, so it went round a loop. */
INLINE struct verdict decide_outer(struct env *e, struct frame *f, int class, int own_tag)
{
	int slave = e->c->miss == MISS_ASK;

	if (own_tag)
		return drop_for(drop_own_tag);
	class = coarsen(f, class, e->c->affinity, !slave);
	if (class == FRAME_BAD)
		return drop_for(f->reason);
	if (class == FRAME_OTHER)
		return by_designated(e, slave);
	return slave ? slave_outer(e, f, class) : master_outer(e, f, class);
}

/* A frame from the inner port, its own tag popped; `kind` and `slot` are what that tag meant. */
INLINE struct verdict decide_inner(struct env *e, struct frame *f, int class, __u32 kind, __u32 slot)
{
	int slave = e->c->miss == MISS_ASK;

	e->from_inner = 1;
	if (kind != VID_CHAIN && kind != VID_HINT && kind != VID_ASK && kind != VID_ANSWER)
		return drop_for(drop_unknown_tag);
	class = coarsen(f, class, e->c->affinity, slave && kind == VID_CHAIN);
	if (class == FRAME_BAD)
		return drop_for(f->reason);
	if (kind == VID_CHAIN)
		return slave ? slave_from_chain(e, f, class, slot) : master_from_chain(e, f, class, slot);
	/* What is no session is never asked about. */
	if (class == FRAME_OTHER)
		return drop_for(drop_malformed);
	if (kind == VID_ANSWER)
		return slave_answered(e, f, class, slot);
	return master_asked(e, f, class, kind == VID_HINT, slot);
}

#endif
