/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the daemon calls, over whole maps: it counts pins, takes expired ones away, carries orders out, takes pins in. */
#ifndef CATENARY_BPF_WALK_H
#define CATENARY_BPF_WALK_H

#include "upkeep.h"

/* The clock that pins age by, for user space. */
SEC("syscall")
int clock(void *unused) { return now_ms(); }

/* One pin of the walk; 1 if it is to be deleted. */
INLINE int walk_one(struct pin *pin, const struct session_key *key, struct env *e)
{
	__u64 word = pin_read(pin);
	__u32 at = walk_row(word);
	struct walk_result *r = bpf_map_lookup_elem(&walked, &at);

	return r && walk_pin(e, pin, word, key, r);
}

static long walk4(void *map, struct ipv4_key *small, struct pin *pin, struct env *e)
{
	struct session_key key;

	expand_key(small, &key);
	if (walk_one(pin, &key, e)) {
		spoil(pin);
		bpf_map_delete_elem(map, small);
	}
	return 0;
}

static long walk6(void *map, struct session_key *key, struct pin *pin, struct env *e)
{
	struct session_key copy = *key; /* no global function takes a key in its map */

	if (walk_one(pin, &copy, e)) {
		spoil(pin);
		bpf_map_delete_elem(map, key);
	}
	return 0;
}

SEC("syscall")
int walk(void *unused)
{
	struct env e = { .now = now_ms() };
	__u32 zero = 0;

	e.c = bpf_map_lookup_elem(&config, &zero);
	if (!e.c)
		return -1;
	bpf_for_each_map_elem(&pins4, walk4, &e, 0);
	bpf_for_each_map_elem(&pins6, walk6, &e, 0);
	return 0;
}

/* What a sweep has at hand; `done` is the map's row. */
struct sweeping {
	struct env e;
	struct sweep *done;
};

static long sweep4(void *map, struct ipv4_key *small, struct pin *pin, struct sweeping *s)
{
	struct session_key key;

	expand_key(small, &key);
	if (sweep_pin(&s->e, pin, &key, s->done)) {
		spoil(pin);
		bpf_map_delete_elem(map, small);
	}
	return 0;
}

static long sweep6(void *map, struct session_key *key, struct pin *pin, struct sweeping *s)
{
	if (sweep_pin(&s->e, pin, key, s->done)) {
		spoil(pin);
		bpf_map_delete_elem(map, key);
	}
	return 0;
}

SEC("syscall")
int sweep(void *unused)
{
	struct sweeping s = { .e = { .now = now_ms() } };
	__u32 zero = 0;

	s.e.c = bpf_map_lookup_elem(&config, &zero);
	s.done = bpf_map_lookup_elem(&order, &zero);
	if (!s.e.c || !s.done)
		return -1;
	bpf_for_each_map_elem(&pins4, sweep4, &s, 0);
	bpf_for_each_map_elem(&pins6, sweep6, &s, 0);
	return 0;
}

static long take_in_one(void *map, __u32 *index, struct pin_record *record, struct env *e)
{
	if (record->word) {
		leaf_key(e, &record->key);
		take_in(e, &record->key, record->word);
	}
	return 0;
}

SEC("syscall")
int take_in_staged(void *unused)
{
	struct env e = { .now = now_ms(), .other = NO_SLOT };
	__u32 zero = 0;

	e.c = bpf_map_lookup_elem(&config, &zero);
	if (!e.c)
		return -1;
	bpf_for_each_map_elem(&staged, take_in_one, &e, 0);
	return 0;
}

#endif
