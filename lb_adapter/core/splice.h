/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a parsed frame and the place where it came in, to a verdict: the decisions of both roles.
 *
 * A splice joins two sides of endpoints. The rules of affinity are here and in place.h, once for all data planes;
 * what the leaf must define before this page is included is said there. Nothing here touches a frame.
 */
#ifndef CATENARY_SPLICE_H
#define CATENARY_SPLICE_H

#include "place.h"
#include "probe.h"

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

INLINE void count_class(struct env *e, int class)
{
	if (class == FRAME_ERROR)
		leaf_count(e, error_hit);
	else if (class == FRAME_FRAGMENT)
		leaf_count(e, fragment_hit);
}

/*
 * Is a frame that is not sent on to be answered? If it met a tombstone: its sender learns so by a RST, and so do both
 * ends, each at its next packet. A RST itself has no answer, nor have an ICMP error and a first fragment.
 */
INLINE int answered(struct env *e, const struct frame *f, int class, __u8 flags)
{
	return met_tombstone(e) && class == FRAME_SESSION && !f->fragment.kind && !(flags & TCP_RST);
}

INLINE struct verdict master_outer(struct env *e, struct frame *f, int class)
{
	__u32 slot = place(e, f, class, f->tcp_flags, SIDE_CLIENT, NO_SLOT);
	const struct slot *s = open_slot(e, slot);

	if (!s && answered(e, f, class, f->tcp_flags))
		return send_outer(e, session_reset, NO_SLOT, 0);
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
	__u32 none = NO_SLOT;

	if (class == FRAME_FRAGMENT)
		return fragment_slot(e, f) == NO_SLOT ? drop_fragment_unknown : 0;
	if (class == FRAME_ERROR)
		return refresh(e, f, 0, SIDE_SERVER, 1, &none) != NO_SLOT ? 0 : met_tombstone(e) ? drop_reset : drop_error_unknown;
	return 0;
}

/* Master: reverse traffic out of a chain. Its tag teaches keys that are not known, and never moves a pin. */
INLINE struct verdict master_from_chain(struct env *e, struct frame *f, int class, __u32 slot)
{
	const struct slot *s = open_slot(e, slot);
	__u16 reason;
	__u32 known, none = NO_SLOT;

	if (class != FRAME_SESSION && e->c->outers > 1) {
		reason = find_outer(e, f, class);
		if (reason)
			return drop_for(reason);
	}
	if (class == FRAME_SESSION) {
		known = refresh(e, f, f->tcp_flags, SIDE_SERVER, 0, &none);
		if (known == NO_SLOT && s && !met_tombstone(e)) {
			if (s->state == SLOT_CLOSED)
				leaf_count(e, closed_not_learned);
			else
				known = assign(e, f, slot, session_learned);
			/* Without a pin where one is due, its answer would be placed anew. */
			if (known == NO_SLOT && e->no_slot != drop_no_chain && !met_tombstone(e))
				return drop_for(e->no_slot);
		}
		/* The RST goes forward through the chain: its NFs learn, too, that the connection is over. */
		if (s && answered(e, f, class, f->tcp_flags))
			return send_inner(e, s, session_reset, NO_SLOT, 0);
		if (met_tombstone(e))
			return drop_for(drop_reset);
		/* Several chains may answer one ARP or ND question: that is no crossing. */
		if (known != NO_SLOT && known != slot && !is_neighbour(f))
			leaf_count(e, affinity_mismatch);
		if (e->c->outers > 1)
			note_first_fragment(e, f, slot);
	}
	return send_outer(e, class == FRAME_OTHER ? designated : to_outer, slot, 1);
}

/*
 * Master: a packet that the slave could not place. Its own FIN or RST changes nothing yet: it has not been
 * through the chain. Its SYN does: the client's SYN at the same time must find the session there. A hint counts
 * only for a key without a pin, only while its chain is open, and never in overflow.
 */
INLINE struct verdict master_asked(struct env *e, struct frame *f, int class, int hinted, __u32 hint)
{
	const struct slot *s;
	__u32 slot;
	__u8 flags = f->tcp_flags;
	struct pin *pin;
	__u64 word;

	f->tcp_flags &= ~(TCP_FIN | TCP_RST);
	slot = place(e, f, class, f->tcp_flags, SIDE_SERVER, hinted && class == FRAME_SESSION ? hint : NO_SLOT);
	s = open_slot(e, slot);
	if (!s) {
		/* The slave has no tombstone: the RST goes to it through the session's own chain, if that is still there. */
		pin = answered(e, f, class, flags) ? leaf_find(e, &f->key) : 0;
		word = pin ? leaf_word(e, pin) : 0;
		s = open_slot(e, pin_slot(word));
		if (pin && s && s->generation == pin_generation(word))
			return send_inner(e, s, session_reset, NO_SLOT, 0);
		return drop_for(e->no_slot);
	}
	count_class(e, class);
	return send_bypass(e, s->rx, ask_answered);
}

/*
 * Slave: may a lease in force decide for this packet? Not for a SYN: both sides may open a session at once, and the
 * client's SYN may have been placed anew, by a chain set that this side has left behind or does not have yet.
 */
INLINE int lease_decides(struct env *e, __u64 word, __u8 flags)
{
	return lease_valid(word, e->now, e->c) && !opens(flags);
}

/* Slave: write a lease; one that decides is kept if `overwrite` is false. The slot that holds now. */
INLINE __u32 lease(struct env *e, struct frame *f, __u32 slot, int overwrite)
{
	const struct slot *s = open_slot(e, slot);
	__u32 cause = overwrite ? CAUSE_LEARNED : CAUSE_ANSWERED, side = overwrite ? SIDE_CLIENT : SIDE_SERVER;
	__u64 word, next, fresh;
	struct pin *pin;
	int closed, known, over = overwrite && f->tcp_flags & TCP_RST;

	if (!s)
		return slot;
	/* What is under way when a chain is closed: a lease would bring back what was let go, and hold `drained` up. */
	closed = s->state == SLOT_CLOSED;
	fresh = pin_word(0, slot, s->generation, first_state(f), e->now);
	pin = leaf_find(e, &f->key);
	if (!pin && !closed && !over) {
		if (!leaf_insert(e, &f->key, fresh, cause)) {
			leaf_count(e, overwrite ? session_learned : answer_taken);
			return slot;
		}
		pin = leaf_find(e, &f->key);
	}
	if (!pin) {
		/* No lease without room: the next server packet asks, and gets the same answer. */
		if (!over)
			leaf_count(e, closed ? closed_not_learned : pin_table_full);
		return slot;
	}
	UNROLL
	for (int i = 0; i < CAS_TRIES; i++) {
		word = leaf_word(e, pin);
		/* A RST out of another chain answers for the connection before this one, and teaches nothing. */
		if (word & PIN_DEAD || (over && pin_slot(word) != slot))
			return slot;
		known = !is_tombstone(word) && in_force(e, word);
		if (is_tombstone(word)) {
			/* What is still under way, and the master's RST: passed on, and taught nothing. */
			if (!revives(f->tcp_flags))
				return slot;
		} else if (known && lease_valid(word, e->now, e->c)) {
			if (!overwrite && lease_decides(e, word, f->tcp_flags)) {
				leaf_count(e, answer_late);
				note_packet(e, pin);
				return pin_slot(word);
			}
			/* The master may have placed anew a session that closed, or a SYN whose chain takes no sessions. */
			if (overwrite && pin_slot(word) != slot && !is_neighbour(f) &&
			    !(opens(f->tcp_flags) && pin_state(word) == PIN_CLOSING) &&
			    !may_move(e, word, f->tcp_flags))
				leaf_count(e, affinity_mismatch);
		}
		if (closed) {
			leaf_count(e, closed_not_learned);
			return slot;
		}
		next = i ? LEASE_NEXT(word, fresh, f->tcp_flags, side, e->c) :
			   lease_after(word, fresh, f->tcp_flags, side, e->c);
		if (next == word || leaf_swap(pin, word, next) == word) {
			leaf_count(e, overwrite ? lease_renewed : answer_taken);
			if (known && pin_slot(word) == slot) {
				note_packet(e, pin);
				return slot;
			}
			tell_over(e, &f->key, pin, word, ENDED_REPLACED);
			leaf_begin(e, pin, fresh, cause);
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
		word = pin ? leaf_word(e, pin) : 0;
		slot = pin_slot(word);
		s = open_slot(e, slot);
		if (pin && is_tombstone(word)) {
			if (!revives(f->tcp_flags)) {
				if (class == FRAME_SESSION)
					leaf_swap(pin, word, PIN_NEXT(word, e->now, 0, SIDE_SERVER, e->c));
				meet_tombstone(e);
				return answered(e, f, class, f->tcp_flags) ? send_outer(e, session_reset, NO_SLOT, 1) :
									     drop_for(drop_reset);
			}
		} else if (pin && s && !(word & PIN_DEAD) && in_force(e, word)) {
			if (lease_decides(e, word, f->tcp_flags)) {
				/* Once: a FIN that is still of interest is sent again. */
				if (class == FRAME_SESSION && f->tcp_flags & TCP_FIN)
					leaf_swap(pin, word, lease_fin(word));
				if (class == FRAME_SESSION)
					note_packet(e, pin);
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

/* A probe out of a chain goes back through it as its answer (slave), or has come back (master). */
INLINE struct verdict probe_from_chain(struct env *e, __u32 slot, int slave)
{
	const struct slot *s = open_slot(e, slot);
	struct verdict v;

	if (slave && s)
		return send_inner(e, s, probe_turned, slot, 1);
	v = drop_for(slave ? drop_no_chain : probe_returned);
	v.slot = slave ? NO_SLOT : (__u16)slot;
	return v;
}

/* A frame from the outer port. `own_tag`: it carries one of the segment's own IDs, so it went round a loop. */
INLINE struct verdict decide_outer(struct env *e, struct frame *f, int class, int own_tag)
{
	int slave = e->c->miss == MISS_ASK;

	e->traffic = TRAFFIC_ANY;
	if (own_tag)
		return drop_for(drop_own_tag);
	if (is_probe(e->c, f, class, e->bytes))
		return drop_for(drop_probe);
	class = coarsen(f, class, e->c->affinity, !slave);
	if (class == FRAME_BAD)
		return drop_for(f->reason);
	leaf_key(e, &f->key);
	if (class == FRAME_OTHER)
		return by_designated(e, slave);
	if (e->c->take_over == TAKE_OVER_HOLD)
		return drop_for(drop_take_over);
	return slave ? slave_outer(e, f, class) : master_outer(e, f, class);
}

/* A frame from the inner port, its own tag popped; `kind` and `slot` are what that tag meant. */
INLINE struct verdict decide_inner(struct env *e, struct frame *f, int class, __u32 kind, __u32 slot)
{
	int slave = e->c->miss == MISS_ASK;

	e->from_inner = kind == VID_CHAIN ? FROM_CHAIN : FROM_BYPASS;
	e->traffic = TRAFFIC_ANY;
	if (kind != VID_CHAIN && kind != VID_HINT && kind != VID_ASK && kind != VID_ANSWER)
		return drop_for(drop_unknown_tag);
	if (is_probe(e->c, f, class, e->bytes))
		return kind == VID_CHAIN ? probe_from_chain(e, slot, slave) : drop_for(drop_probe);
	class = coarsen(f, class, e->c->affinity, slave && kind == VID_CHAIN);
	if (class == FRAME_BAD)
		return drop_for(f->reason);
	leaf_key(e, &f->key);
	if (kind == VID_CHAIN)
		return slave ? slave_from_chain(e, f, class, slot) : master_from_chain(e, f, class, slot);
	/* What is no session is never asked about. */
	if (class == FRAME_OTHER)
		return drop_for(drop_malformed);
	if (kind == VID_ANSWER)
		return slave_answered(e, f, class, slot);
	if (e->c->take_over == TAKE_OVER_HOLD)
		return drop_for(drop_take_over);
	/* It is on its way into a chain: when it comes out of that it is counted. */
	e->bytes = e->packets = 0;
	return master_asked(e, f, class, kind == VID_HINT, slot);
}

#endif
