/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * classify: which traffic a key is of, and so whether it enters the chains or passes by them.
 *
 * Only the choice of a chain asks: what passes by is pinned to the bypass as all else is to its chain, so rules that
 * change move nothing that lives. The verdict is of the key and of which of its ends is the client's, never of which
 * of them spoke first.
 */
#ifndef CATENARY_CLASSIFY_H
#define CATENARY_CLASSIFY_H

#include "key.h"

/* A key as the rules see it. */
struct judged {
	__u64 client[2];
	__u64 server[2];
	__u32 client_ipv4; /* 1 if it is */
	__u32 server_ipv4;
	__u32 protocol;
	__u32 vlan[2];
	__u32 port;
};

INLINE __u32 is_mapped(const __u64 *addr) { return !addr[0] && (__u32)addr[1] == MAPPED; }

/* 0 if the rule matches. Without comparisons, which are branches in BPF: the verifier would walk all of their ways. */
INLINE __u64 mismatch(const struct rule *r, const struct judged *j)
{
	__u64 differ = ((j->client[0] ^ r->client[0]) & r->client_mask[0]) |
		       ((j->client[1] ^ r->client[1]) & r->client_mask[1]) |
		       ((j->server[0] ^ r->server[0]) & r->server_mask[0]) |
		       ((j->server[1] ^ r->server[1]) & r->server_mask[1]);
	__u32 below = j->port - r->first_port, above = r->last_port - j->port;
	__u32 outer = (j->vlan[0] ^ r->vlan) & r->vlan_mask, inner = (j->vlan[1] ^ r->vlan) & r->vlan_mask;

	return differ | (r->client_ipv6 & j->client_ipv4) | (r->server_ipv6 & j->server_ipv4) |
	       ((j->protocol ^ r->protocol) & r->protocol_mask) | ((below | above) & 0x80000000) | outer * inner;
}

/* The traffic of the first rule that matches, or TRAFFIC_PASSING. `client_low`: the client is the key's low end. */
INLINE __u32 match_rules(const struct place_table *t, const struct session_key *key, int client_low)
{
	struct judged j;

	client_low |= key->kind == KIND_CLIENT; /* it is all that such a key has */
	j.client[0] = client_low ? key->low_addr[0] : key->high_addr[0];
	j.client[1] = client_low ? key->low_addr[1] : key->high_addr[1];
	j.server[0] = client_low ? key->high_addr[0] : key->low_addr[0];
	j.server[1] = client_low ? key->high_addr[1] : key->low_addr[1];
	j.client_ipv4 = is_mapped(j.client);
	j.server_ipv4 = is_mapped(j.server);
	j.protocol = key->kind;
	j.vlan[0] = key->vlan[0];
	j.vlan[1] = key->vlan[1];
	j.port = __builtin_bswap16(client_low ? key->high_port : key->low_port);
	for (__u32 i = 0; i < MAX_RULES; i++) {
		if (i >= t->rules)
			break;
		if (!mismatch(&t->rule[i], &j))
			return t->rule[i].traffic;
	}
	return TRAFFIC_PASSING;
}

/*
 * What a key is counted as. Questions of ARP and ND go with the chains, whose NFs may be the ones that are asked for;
 * where no chain is left for what is no session, they pass by.
 */
INLINE __u32 traffic_of(const struct place_table *t, const struct session_key *key, int client_low)
{
	if (t->bypass == NO_SLOT)
		return TRAFFIC_ANY;
	if (key->kind == KIND_ARP || key->kind == KIND_ND)
		return t->designated == t->bypass ? TRAFFIC_PASSING : TRAFFIC_ANY;
	return match_rules(t, key, client_low);
}

/* What a place table says of a key. */
struct advice {
	__u32 traffic;
	__u32 slot;  /* the bypass, or the plain hash's answer: what the key gets with a pin and without one */
	__u32 other; /* the table's answer for the second lane, which p2c compares with; of what passes by the same */
	__u32 zero;
};

INLINE void consult(const struct place_table *t, const struct session_key *key, int client_low, struct advice *a)
{
	__u64 hash;

	a->traffic = TRAFFIC_ANY;
	a->slot = a->other = NO_SLOT;
	if (!t)
		return;
	a->traffic = traffic_of(t, key, client_low);
	if (a->traffic == TRAFFIC_PASSING) {
		a->slot = a->other = t->bypass;
		return;
	}
	hash = hash_key(key);
	a->slot = t->entries[table_index(hash)];
	a->other = t->entries[table_index(second_lane(hash))];
}

/* Where the leaf calls it out of line. */
#ifndef CONSULT
#define CONSULT(e, key, client_low, a) consult(leaf_table(e), key, client_low, a)
#endif

#endif
