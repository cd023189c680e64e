/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where the session table of core/place.h lies in the eBPF data plane: what it calls `leaf_`, by the maps. */
#ifndef CATENARY_BPF_LEAF_H
#define CATENARY_BPF_LEAF_H

#include "maps.h"

/* A program has a stack of 512 bytes, with what is called from it. */
struct env {
	struct config *c;
	__u32 now;     /* ms, monotonic */
	__u32 no_slot; /* the reason to drop for, if there turns out to be no slot */
	__u32 outer;   /* endpoint of the outer side that the frame came from, or goes to */
	__u16 from_inner;
	__u16 traffic; /* what the classifier said */
	__u32 check;   /* of the key that all is about */
	__u32 packets; /* that the frame stands for */
	__u64 bytes;
	__u64 other;
};

INLINE struct start start_of(const struct env *e, __u64 word, __u32 cause);

/* All of a pin but its word and its check. */
INLINE void write_start(struct pin *pin, const struct start *start)
{
	__u32 zero = 0, slot = pin_slot(start->word);
	void *present = bpf_map_lookup_elem(&table, &zero);
	const struct place_table *t = present ? bpf_map_lookup_elem(present, &zero) : NULL;
	__u64 *load = bpf_map_lookup_elem(&loads, &slot);

	pin->bytes = start->bytes;
	pin->packets = start->packets;
	pin->origin = origin_from(start, t, load ? *load : 0);
}

INLINE void leaf_count(struct env *e, __u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&reasons, &reason);

	if (counter)
		(*counter)++;
}

INLINE void leaf_key(struct env *e, const struct session_key *key) { e->check = key_check(key); }

INLINE struct pin *leaf_find(struct env *e, const struct session_key *key)
{
	struct ipv4_key small;

	return shrink_key(key, &small) ? bpf_map_lookup_elem(&pins4, &small) : bpf_map_lookup_elem(&pins6, key);
}

/*
 * The kernel gives a deleted element to the next key at once, while a packet on another CPU may still hold it. The
 * walk spoils the check before it deletes, so a word of the next key's is never seen with the check of this one.
 */
INLINE __u64 leaf_word(struct env *e, const struct pin *pin)
{
	__u64 word = pin_read(pin);

	return *(const volatile __u32 *)&pin->check == e->check ? word : PIN_DEAD;
}

/* A pin whose word is dead is about to be deleted. */
INLINE void spoil(struct pin *pin) { *(volatile __u32 *)&pin->check = 0; }

/* Global, as the next ones, so that the verifier checks it once and on its own. */
__noinline int insert_pin(const struct session_key *key, const struct start *start)
{
	struct pin fresh;
	struct ipv4_key small;

	if (!key || !start)
		return -1;
	fresh.word = start->word;
	fresh.check = key_check(key);
	write_start(&fresh, start);
	return shrink_key(key, &small) ? bpf_map_update_elem(&pins4, &small, &fresh, BPF_NOEXIST) :
					 bpf_map_update_elem(&pins6, key, &fresh, BPF_NOEXIST);
}

/* What is handed to a global function is not known to the verifier any more: so it gets copies. */
INLINE int leaf_insert(struct env *e, const struct session_key *key, __u64 word, __u32 cause)
{
	struct start start = start_of(e, word, cause);
	struct session_key copy = *key;

	return insert_pin(&copy, &start);
}

INLINE __u64 leaf_swap(struct pin *pin, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(&pin->word, old, new);
}

__noinline int begin_pin(struct pin *pin, const struct start *start)
{
	if (pin && start)
		write_start(pin, start);
	return 0;
}

INLINE void leaf_begin(struct env *e, struct pin *pin, __u64 word, __u32 cause)
{
	struct start start = start_of(e, word, cause);

	begin_pin(pin, &start);
}

__noinline int end_pin(const struct session_key *key, const struct pin *pin, __u64 word, __u32 now, __u32 why)
{
	__u32 zero = 0, at, *count = bpf_map_lookup_elem(&ended_count, &zero);
	struct ended *row;

	if (!key || !pin || !count)
		return 0;
	at = __sync_fetch_and_add(count, 1);
	zero = at % ENDED;
	row = bpf_map_lookup_elem(&ended, &zero);
	if (row)
		write_ended(row, at + 1, key, word, pin, &pin->origin, now, why);
	return 0;
}

INLINE void leaf_over(struct env *e, const struct session_key *key, struct pin *pin, __u64 word, __u32 why)
{
	struct session_key copy = *key;

	end_pin(&copy, pin, word, e->now, why);
}

INLINE __u64 leaf_fragment(struct env *e, const struct session_key *key)
{
	__u64 *word = bpf_map_lookup_elem(&fragments, key);

	return word ? *word : 0;
}

INLINE void leaf_note_fragment(struct env *e, const struct session_key *key, __u64 word)
{
	bpf_map_update_elem(&fragments, key, &word, BPF_ANY);
}

INLINE const struct slot *leaf_slot(struct env *e, __u32 slot) { return bpf_map_lookup_elem(&slots, &slot); }

INLINE const struct place_table *leaf_table(struct env *e)
{
	__u32 zero = 0;
	void *now = bpf_map_lookup_elem(&table, &zero);

	return now ? bpf_map_lookup_elem(now, &zero) : NULL;
}

INLINE __u32 leaf_outer(struct env *e, __u64 hash)
{
	__u32 zero = 0;
	struct outer_table *t = bpf_map_lookup_elem(&outers, &zero);

	return t ? t->entries[outer_index(hash)] : 0;
}

INLINE __u32 leaf_live(struct env *e, __u32 slot)
{
	__u64 *load = bpf_map_lookup_elem(&loads, &slot);

	return load ? *load : 0;
}

INLINE void leaf_overflow(struct env *e) { e->c->overflow = OVERFLOW_FULL; }

/* Global, so that its branches are nobody else's: the verifier would walk them wherever a session may begin. */
__noinline int count_session(__u64 word, __u32 kind)
{
	__u32 slot = pin_slot(word);
	struct chain_counters *chain = bpf_map_lookup_elem(&chains, &slot);
	__u64 *load = bpf_map_lookup_elem(&loads, &slot), *counter = bpf_map_lookup_elem(&traffic, &kind);

	if (!weighs(word))
		return 0;
	if (chain)
		chain->new_sessions++;
	if (counter)
		(*counter)++;
	if (load)
		__sync_fetch_and_add(load, 1);
	return 0;
}

INLINE void leaf_new_session(struct env *e, __u64 word) { count_session(word, e->traffic); }

INLINE void leaf_ended(struct env *e, __u32 slot)
{
	__u64 *load = bpf_map_lookup_elem(&loads, &slot);

	/* The walk may have corrected it meanwhile: below zero is for the next walk to mend, so stay above. */
	if (load && *load)
		__sync_fetch_and_add(load, -1);
}

/* Global, as `count_session` is. */
__noinline int count_resumed(__u32 slot)
{
	__u64 *load = bpf_map_lookup_elem(&loads, &slot);

	if (load)
		__sync_fetch_and_add(load, 1);
	return 0;
}

INLINE void leaf_resumed(struct env *e, __u32 slot) { count_resumed(slot); }

INLINE void leaf_swept(struct env *e, __u32 slot, int reset)
{
	struct chain_counters *chain = bpf_map_lookup_elem(&chains, &slot);

	if (!chain)
		return;
	if (reset)
		chain->reset++;
	else
		chain->moved++;
}

#endif
