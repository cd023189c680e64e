/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The pin word: an endpoint of each side, generation, state and last-seen time in 64 bits, so that refresh,
 * replacement and reclaim are one compare-and-swap each (docs/ARCHITECTURE.md, affinity rule 1).
 *
 *   63    62..61  60..58  57..48       47..42  41..32  31..0
 *   dead  FIN     state   generation   outer   slot    last seen, ms (wraps after 49 days; ages are differences)
 *
 * The slot is the inner endpoint; the generation is the slot's. A tombstone keeps those that the session had.
 *
 * All functions are pure: word in, word or verdict out.
 */
#ifndef CATENARY_PIN_H
#define CATENARY_PIN_H

#include "key.h"

#define PIN_DEAD (1ULL << 63)
#define PIN_FIN_SHIFT 61
#define GENERATION_MASK 0x3ffu

/* Which side a packet came from; the value is its FIN bit. */
#define SIDE_CLIENT 1
#define SIDE_SERVER 2

INLINE __u64 pin_word(__u32 outer, __u32 slot, __u32 generation, __u32 state, __u32 now)
{
	return (__u64)(state & 7) << 58 | (__u64)(generation & GENERATION_MASK) << 48 | (__u64)(outer & 63) << 42 |
	       (__u64)(slot & 0x3ff) << 32 | now;
}

/* One load, whatever the compiler thinks: other CPUs change the word meanwhile. */
INLINE __u64 pin_read(const struct pin *pin) { return *(const volatile __u64 *)&pin->word; }

INLINE __u32 pin_slot(__u64 word) { return (word >> 32) & 0x3ff; }
INLINE __u32 pin_outer(__u64 word) { return (word >> 42) & 63; }
INLINE __u32 pin_generation(__u64 word) { return (word >> 48) & GENERATION_MASK; }
INLINE __u32 pin_state(__u64 word) { return (word >> 58) & 7; }
INLINE __u32 pin_fins(__u64 word) { return (word >> PIN_FIN_SHIFT) & 3; }

/* The same, now this load balancer's own. */
INLINE __u64 pin_own(__u64 word) { return word & ~(63ULL << 42); }

/* Was `word` seen later than `other`? */
INLINE int pin_later(__u64 word, __u64 other) { return (__s32)((__u32)word - (__u32)other) > 0; }

/*
 * Write down that a pin is over. The number is 0 before the rest changes, and told after it: who finds the same one
 * before and after a copy has a row that was whole all the while (dataplane/ring.py). By exchanges, for BPF has no
 * other barrier; they order what is written before and after them.
 */
INLINE void write_ended(struct ended *row, __u32 number, const struct session_key *key, __u64 word, const struct pin *pin,
			const struct origin *origin, __u32 now, __u32 why)
{
	__atomic_exchange_n(&row->number, 0, __ATOMIC_SEQ_CST);
	row->key = *key;
	row->pin.word = word;
	row->pin.bytes = pin->bytes;
	row->pin.packets = pin->packets;
	row->pin.origin = *origin;
	row->at_ms = now;
	row->why = why;
	__atomic_exchange_n(&row->number, number, __ATOMIC_SEQ_CST);
}

/* What a pin begins with. */
struct start {
	__u64 word;
	__u64 bytes;
	__u32 packets;
	__u32 now;
	__u32 cause;
	__u32 policy;
	__u64 other; /* that p2c did not take: its load, generation (16 bits) and slot (16), as one value: stacks are small */
};

/* The origin of a pin that begins so, by the present table and the load of its slot. */
INLINE struct origin origin_from(const struct start *s, const struct place_table *t, __u32 load)
{
	struct origin origin = { s->now,   t ? t->epoch : 0, load,     s->other >> 32,
				 s->other, s->other >> 16,    s->cause, s->policy, 0 };
	return origin;
}

/* Age in ms. Another CPU may have written a moment that is ahead of ours: that is age 0, not 49 days. */
INLINE __u32 pin_age(__u64 word, __u32 now)
{
	__s32 age = (__s32)(now - (__u32)word);
	return age < 0 ? 0 : (__u32)age;
}

/*
 * T = tau + lease + 2 transit: how long the master holds a pin, and the slave a hint (rule 5). An answer took a transit
 * to become the lease; the ask that follows tau after the lease's last packet takes another. A closing word tells
 * when closing began, and packets up to 2 D after that leave no trace (`pin_next`): T counts from the last one.
 */
INLINE int pin_expired(__u64 word, __u32 now, const struct config *c)
{
	__u32 state = pin_state(word);
	__u32 tau = c->tau_ms[state < PIN_STATES ? state : PIN_OTHER];

	if (state == PIN_CLOSING)
		tau += 2 * c->transit_ms;
	return pin_age(word, now) >= tau + c->lease_ms + 2 * c->transit_ms;
}

/* The slave may use it without asking. */
INLINE int lease_valid(__u64 word, __u32 now, const struct config *c)
{
	return pin_age(word, now) < c->lease_ms;
}

/* A pure SYN opens a session; SYN-ACK only answers one. */
INLINE int opens(__u8 flags) { return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN; }

/*
 * Is a pin of the master's a session that p2c weighs? Not one that ends; and who asked for whose address is nobody's
 * session: new ones would shun the chain that it asked through.
 */
INLINE int weighs(__u64 word) { return pin_state(word) != PIN_CLOSING && pin_state(word) != PIN_NEIGHBOUR; }

/*
 * A connection that was reset is over until a SYN opens the next one on its key, or until the walk takes the tombstone
 * away: nobody else asks whether it is expired, nor what became of its chain.
 */
INLINE int is_tombstone(__u64 word) { return (word & (PIN_DEAD | 7ULL << 58)) == (__u64)PIN_RESET << 58; }

INLINE int revives(__u8 flags) { return opens(flags) && !(flags & TCP_RST); }

/* State of a key's first packet. TCP that we meet in the middle is taken for established. */
INLINE __u32 first_state(const struct frame *f)
{
	switch (f->key.kind) {
	case PROTO_TCP:
		if (f->tcp_flags & TCP_RST)
			return PIN_CLOSING;
		return opens(f->tcp_flags) ? PIN_OPENING : PIN_ESTABLISHED;
	case PROTO_UDP:
		return PIN_UDP;
	case KIND_ARP:
	case KIND_ND:
		return PIN_NEIGHBOUR;
	case KIND_ADDRESSES:
	case KIND_CLIENT:
		/* Whatever the key stands for may be an idle TCP session. */
		return PIN_ESTABLISHED;
	}
	return PIN_OTHER;
}

/* Closed by a RST at most 2 D ago, and not by FINs both ways. */
INLINE int was_reset_soon(__u64 word, __u32 now, const struct config *c)
{
	return pin_state(word) == PIN_CLOSING && pin_fins(word) != (SIDE_CLIENT | SIDE_SERVER) &&
	       pin_age(word, now) <= 2 * c->transit_ms;
}

/*
 * The master's word after a packet of its session. `flags` are TCP's (0: not TCP, or not to be believed),
 * `side` is where it came from.
 *
 * Closing keeps the moment at which it began: a packet later than 2 D after it shows that the session lives
 * (RFC 6146, 3.5.2.2), so a forged RST cuts nothing. Another RST shows nothing, nor does a FIN sent again. After
 * a FIN both ways only a SYN opens it again: what comes late is sent again. It still holds the pin, for it may
 * have renewed the slave's lease, which must never outlive the pin.
 *
 * After a SYN the server side is not heard until the client's ACK shows the new handshake: a FIN, RST or ACK of
 * its may be the last session's. A refused connection ends by the opening timeout. A SYN on an established pin
 * may be a late copy of its own, or forged: it takes nothing from the pin's life; nor does one soon after a RST, which
 * may be forged, too.
 */
INLINE __u64 pin_next(__u64 word, __u32 now, __u8 flags, __u32 side, const struct config *c)
{
	__u32 state = pin_state(word), fins = pin_fins(word);

	if (state >= PIN_OPENING && state <= PIN_REOPENING) {
		if (opens(flags)) {
			state = state == PIN_ESTABLISHED || state == PIN_REOPENING || was_reset_soon(word, now, c) ?
					PIN_REOPENING :
					PIN_OPENING;
			fins = 0;
		} else if (state == PIN_CLOSING) {
			if (pin_age(word, now) <= 2 * c->transit_ms)
				return word;
			if (fins != (SIDE_CLIENT | SIDE_SERVER) && !(flags & TCP_RST) &&
			    !(flags & TCP_FIN && fins & side)) {
				state = PIN_ESTABLISHED;
				fins = flags & TCP_FIN ? side : 0;
			}
		} else if (state == PIN_ESTABLISHED || side == SIDE_CLIENT) {
			if (flags & TCP_ACK)
				state = PIN_ESTABLISHED;
			if (flags & TCP_FIN)
				fins |= side;
			if (flags & TCP_RST || fins == (SIDE_CLIENT | SIDE_SERVER))
				state = PIN_CLOSING;
		}
	}
	return pin_word(pin_outer(word), pin_slot(word), pin_generation(word), state, now) |
	       (__u64)fins << PIN_FIN_SHIFT;
}

/*
 * The slave's word after a packet that proves the lease: a forward one, or the server's own that is back from the
 * master. `fresh` is what it were as the key's first packet. It closes as the master's does, by a RST or by FINs both ways: a half-closed session may rest, and this is
 * what a master that lost its table copies (rule 8). The last ACK leaves it closing. A SYN takes nothing from its life.
 */
INLINE __u64 lease_next(__u64 word, __u64 fresh, __u8 flags, __u32 side, const struct config *c)
{
	__u32 state = pin_state(fresh), before = pin_state(word), fins = opens(flags) ? 0 : pin_fins(word);

	if (flags & TCP_FIN)
		fins |= side;
	if (flags & TCP_RST || fins == (SIDE_CLIENT | SIDE_SERVER))
		state = PIN_CLOSING;
	else if (state == PIN_OPENING && (before == PIN_ESTABLISHED || before == PIN_REOPENING))
		state = PIN_REOPENING;
	else if (state == PIN_ESTABLISHED && before == PIN_CLOSING &&
		 pin_age(word, (__u32)fresh) <= 2 * c->transit_ms)
		state = PIN_CLOSING;
	return (fresh & ~(7ULL << 58)) | (__u64)state << 58 | (__u64)fins << PIN_FIN_SHIFT;
}

/*
 * Nearly all packets neither open nor end anything, which leaves just the moment to write. `pin_after` and `lease_after`
 * look for that first, at the first try of a compare-and-swap: what loses a race may take the long way. That a leaf may
 * have done by functions which it keeps apart (`PARSE_IP` of parse.h says why).
 */
#ifndef PIN_NEXT
#define PIN_NEXT pin_next
#define LEASE_NEXT lease_next
#endif

INLINE __u64 pin_after(__u64 word, __u32 now, __u8 flags, __u32 side, const struct config *c)
{
	__u32 above = word >> 58; /* state, FINs, dead */

	if (!(flags & (TCP_SYN | TCP_FIN | TCP_RST)) && (above == PIN_ESTABLISHED || above == PIN_UDP))
		return (word >> 32 << 32) | now;
	return PIN_NEXT(word, now, flags, side, c);
}

INLINE __u64 lease_after(__u64 word, __u64 fresh, __u8 flags, __u32 side, const struct config *c)
{
	if (!(flags & (TCP_SYN | TCP_FIN | TCP_RST)) && word >> 58 == fresh >> 58)
		return fresh;
	return LEASE_NEXT(word, fresh, flags, side, c);
}

/* The slave's word after a FIN that the server sends by its lease, which that does not prove again. */
INLINE __u64 lease_fin(__u64 word)
{
	if (pin_state(word) != PIN_ESTABLISHED)
		return word;
	word |= (__u64)SIDE_SERVER << PIN_FIN_SHIFT;
	return pin_fins(word) == SIDE_SERVER ? word : (word & ~(7ULL << 58)) | (__u64)PIN_CLOSING << 58;
}

#endif
