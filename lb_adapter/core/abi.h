/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the data plane and Python tell each other: every struct and number that crosses the border.
 *
 * clang compiles this page into the BPF programs, and Python reads this same page through cffi
 * (lb_adapter/abi.py): nothing here is declared twice. So only plain C: no macros but `#define NAME number`.
 */
#ifndef CATENARY_ABI_H
#define CATENARY_ABI_H

#define MAX_SLOTS 1024         /* endpoints of the inner side: chains of a segment, cooling ones included */
#define MAX_OUTERS 64          /* endpoints of the outer side; a segment has one */
#define OUTER_TABLE 6421       /* Maglev entries of the outer side: a prime */
#define TABLE_SIZE 65537       /* Maglev entries: a prime */
#define NO_SLOT 65535          /* "no chain", in the table and as the designated slot */
#define MAX_RULES 64           /* of a segment's classifier */
#define TRAFFIC_ANY 0          /* what no classifier judged */
#define TRAFFIC_PASSING 65     /* what no rule matches: it passes by. Between the two: 1 + the rule's entry */
#define TRAFFICS 66
#define ENDED 65536            /* sessions that ended, of which a trace is kept: a power of two */
#define PROBE_BYTES 54         /* of a probe's frame, without the chain's tag */
#define FOREIGN 63             /* outer endpoint of a segment's pin that belongs to the other load balancer (rule 2) */

/* What becomes of an unknown key: the master, and any cross-connection, places it; the slave asks its master. */
enum miss { MISS_PLACE = 0, MISS_ASK = 1 };

/*
 * A master that lost its session table places nothing (hold) until it has copied its slave's, and then counts for a
 * while what it places although it may have been somewhere before (watch).
 */
enum take_over { TAKE_OVER_NONE = 0, TAKE_OVER_HOLD = 1, TAKE_OVER_WATCH = 2 };

/* What a key is of, beside the IP protocol numbers (RFC 5237). */
#define KIND_ARP 256
#define KIND_ND 257
#define KIND_ADDRESSES 258     /* both addresses, whatever the protocol: affinity `addresses` */
#define KIND_CLIENT 259        /* the client's address alone: affinity `client` */
#define KIND_FRAGMENT 32768    /* set beside the protocol in a fragment's key */

/* How coarse a segment's keys are. */
enum affinity { AFFINITY_SESSION = 0, AFFINITY_ADDRESSES = 1, AFFINITY_CLIENT = 2 };

/* How a new session gets its chain (docs/ARCHITECTURE.md, "Choosing a chain"). */
enum policy { POLICY_MAGLEV = 0, POLICY_P2C = 1 };

/*
 * Both ends sorted as (address, port) in network byte order, so both directions have one key. IPv4 is mapped
 * to ::ffff:a.b.c.d. `vlan` holds IDs (never priority bits) of tags that are the user's, outermost first.
 *
 * A fragment's key has the same form, but is directional: low is the source, high the destination, the ports
 * are the halves of the datagram's identification, and `kind` is the protocol with KIND_FRAGMENT.
 */
struct session_key {
	__u64 low_addr[2];
	__u64 high_addr[2];
	__u16 low_port;
	__u16 high_port;
	__u16 vlan[2];
	__u16 kind;
	__u16 zero[3];
};

/* The common case, IPv4, in 16 bytes: half the memory and half the hashing. `tags` are vlan[0] | vlan[1] << 12. */
struct ipv4_key {
	__u32 low_addr;
	__u32 high_addr;
	__u16 low_port;
	__u16 high_port;
	__u32 kind_tags;   /* kind in the upper 8 bits (only IP protocols come here), tags in the lower 24 */
};

/* States of a pin; tau_ms in struct config is indexed by them. */
enum pin_state {
	PIN_OTHER = 0,
	PIN_UDP = 1,
	PIN_OPENING = 2,
	PIN_ESTABLISHED = 3,
	PIN_CLOSING = 4,
	PIN_REOPENING = 5, /* a SYN on an established pin: as long-lived as it was, deaf as an opening one */
	PIN_NEIGHBOUR = 6,
	PIN_RESET = 7,     /* a tombstone: this TCP connection was reset by order. It belongs to no chain */
	PIN_STATES = 8
};

/* How a pin came to be. The names are told to people (catenary/wire/sessions.py). */
enum cause {
	CAUSE_PLACED = 0,   /* the master chose, for a client's packet */
	CAUSE_ASKED = 1,    /* for an ask */
	CAUSE_OVERFLOW = 2, /* by the plain hash, whatever the policy */
	CAUSE_LEARNED = 3,  /* a tag taught it */
	CAUSE_HINTED = 4,   /* the slave's hint counted */
	CAUSE_ANSWERED = 5, /* slave: the master's answer */
	CAUSE_COPIED = 6,   /* from the peer, after a loss */
	CAUSE_TAKEN_IN = 7, /* from the peer, which sees its packets */
	CAUSE_MOVED = 8     /* by order; `other` is the slot that it had */
};

/* Why a pin went. Likewise. */
enum ending {
	ENDED_EXPIRED = 0,  /* no packet for T */
	ENDED_CLOSED = 1,   /* the same, of a connection that had closed */
	ENDED_REPLACED = 2, /* its key began anew */
	ENDED_RESET = 3,    /* by order, as the next two */
	ENDED_LET_GO = 4,
	ENDED_MOVED = 5,
	ENDED_EVICTED = 6   /* the table was full */
};

/* For people: how a session got its slot, and what was seen then. No verdict reads it. */
struct origin {
	__u32 at_ms;        /* in the data plane's clock */
	__u32 epoch;        /* of the place table */
	__u32 load;         /* live sessions of its slot just before */
	__u32 other_load;
	__u16 other;        /* the slot that p2c did not take, or NO_SLOT */
	__u16 other_generation;
	__u8 cause;         /* enum cause */
	__u8 policy;        /* enum policy */
	__u16 zero;
};

/*
 * One 64-bit word (core/pin.h), so that every change of a pin is one compare-and-swap. What the session carried lies
 * beside it, where the swap has fetched the cache line; it is counted without atomics, so some is lost to races.
 */
struct pin {
	__u64 word;
	__u64 bytes;
	__u32 packets;
	__u32 check;        /* in the kernel's tables, of its key: `key_check` of core/key.h */
	struct origin origin;
};

/* A pin with its key, as the daemon reads them to tell of sessions. */
struct session_record {
	struct session_key key;
	struct pin pin;
};

/* A session that ended. `number` counts from 1, is written last, and is 0 while the row is written. */
struct ended {
	struct session_key key;
	struct pin pin;     /* as it was then */
	__u32 number;
	__u32 at_ms;
	__u32 why;          /* enum ending */
	__u32 zero;
};

/* A pin on its way to the other load balancer (records.py). */
struct pin_record {
	struct session_key key;
	__u64 word;
};

/* Pins that the daemon wants in a worker's table: it writes them here, and the worker takes them (native/copy.h). */
struct staged {
	__u32 count;
	__u32 take_in;      /* as the other load balancer's (rule 2); else they take the place of what is there */
	struct pin_record records[4096];
};

enum slot_state { SLOT_FREE = 0, SLOT_ACTIVE = 1, SLOT_COOLING = 2, SLOT_CLOSED = 3 };

/*
 * An endpoint of the inner side: frames go out of it tagged `tx` and come back tagged `rx`; both are 0 where nothing
 * is pushed or popped. For a chain: f_i and r_i at the master, r_i and f_i at the slave. This is Python's only memory
 * of the chain set, too: it adopts it after a crash.
 */
struct slot {
	__u32 ifindex;     /* 0: the inner port */
	__u16 tx;
	__u16 rx;
	__u16 generation;
	__u16 state;
	__u16 weight;      /* as the operator asked */
	__u16 placed;      /* as last filled into the table: a rebalance may differ */
	__u32 bypass;      /* a chain without NFs, for what passes by; the table has it only while all others are down */
	__u32 condition;   /* 0, or what Python adopts: an active chain that is down (1) or shut (2) */
	__u32 since_ms;    /* when the state began, in the data plane's clock */
};

/*
 * What a VLAN ID on the inner port means; 0 is unknown, and dropped. Where endpoints are whole interfaces, the
 * interface means it: VID_CHAIN for one of the inner side, VID_OUTER for one of the outer.
 */
enum vid_kind {
	VID_UNKNOWN = 0, VID_CHAIN = 1, VID_HINT = 2, VID_ASK = 3, VID_ANSWER = 4, VID_OWN = 5, VID_OUTER = 6
};

struct vid {
	__u16 kind;
	__u16 slot;
};

enum overflow {
	OVERFLOW_NONE = 0,
	OVERFLOW_FULL = 1,  /* short of room: the walk evicts */
	OVERFLOW_ROOMY = 2, /* room again, but what has no pin may live still */
};

/* Bits: for what reason a new session without room for its pin is refused, not placed by the hash. */
enum refuse {
	REFUSE_ALWAYS = 1, /* the operator wants it */
	REFUSE_NOW = 2,    /* the chain set is about to change, and a session without a pin would change chains */
};

struct config {
	__u32 miss;
	__u32 affinity;
	__u32 policy;
	__u32 plain;        /* endpoints are interfaces, untagged: `interfaces` says which */
	__u32 outers;       /* endpoints of the outer side; one where misses are asked, for an answer names none */
	__u32 outer_ifindex[64];
	__u32 inner_ifindex;
	__u32 ask_vid;
	__u32 lease_ms;
	__u32 transit_ms;
	__u32 tau_ms[8];
	__u32 refuse_full;  /* enum refuse */
	__u32 rewrites;     /* rule 2: chains change keys, so an ask alone does not make a key this side's own */
	__u64 probe[2];     /* IPv4 addresses of probes as the second words of a key, low first; 0: there are none */
	/* Not configured. The packets' side writes the first one too: no field may be written back with another. */
	__u32 overflow;     /* rule 7, enum overflow: every new key goes by the plain hash */
	__u32 take_over;    /* rule 8: of enum take_over */
};

/* The outer endpoint of a key that came in by the inner side first, where there are several. */
struct outer_table {
	__u8 entries[6421];
	__u8 pad[3];
};

/*
 * Traffic that enters the chains: what agrees with all of it. Addresses, protocol and VLAN ID are as in a key, each
 * under a mask. Ports are the server's end's, in host order. A prefix of IPv6 does not hold the IPv4 addresses, which
 * are mapped into it: it says so (1).
 */
struct rule {
	__u64 client[2];
	__u64 client_mask[2];
	__u64 server[2];
	__u64 server_mask[2];
	__u16 client_ipv6;
	__u16 server_ipv6;
	__u16 protocol;
	__u16 protocol_mask;
	__u16 vlan;
	__u16 vlan_mask;
	__u16 first_port;
	__u16 last_port;
	__u16 traffic;     /* what it is counted as */
	__u16 zero[3];
};

/* Swapped as a whole through a map of maps: a packet sees one epoch, never a mixture of two. */
struct place_table {
	__u32 epoch;
	__u16 designated;
	__u16 bypass;      /* the slot of what no rule matches; NO_SLOT: there is no classifier, all enters */
	__u32 rules;       /* how many */
	__u32 zero;
	struct rule rule[64];
	__u16 entries[65537];
	__u16 pad[3];
};

/* An interface as it was before it became a port, for detaching to restore (dataplane/ports.py). */
struct port_before {
	__u32 ifindex;      /* 0: nothing is noted */
	__u32 flags;        /* those of IFF_UP and IFF_PROMISC that we set and that were set already */
	__u32 clsact;       /* had it one? */
	__u32 settings[3];  /* sysctls; all ones: left alone */
};

struct chain_counters {
	__u64 new_sessions;
	__u64 forward_packets;
	__u64 forward_bytes;
	__u64 reverse_packets;
	__u64 reverse_bytes;
	__u64 reset;        /* sessions that an order reset, or moved */
	__u64 moved;
};

/*
 * An order to end sessions, and what it did. SWEEP_MOVE takes pins to another slot in place; SWEEP_RESET deletes what
 * is no TCP connection, for only these can be told. SWEEP_FORGET deletes tombstones: those who live need the room.
 */
enum sweep_mode { SWEEP_RESET = 0, SWEEP_DELETE = 1, SWEEP_MOVE = 2, SWEEP_FORGET = 3 };

struct sweep {
	__u32 mode;
	__u32 slot;         /* whose pins, and of which generation; NO_SLOT: of all */
	__u32 generation;
	__u32 idle_ms;      /* only pins without a packet for as long */
	__u32 to_slot;
	__u32 to_generation;
	__u32 one;          /* only the pin of `key` */
	__u32 reset;        /* how many were */
	__u32 moved;        /* likewise; deleted ones too, for their next packet is placed anew */
	__u32 zero;
	struct session_key key;
};

/* The last probe that came out of a chain: written by the packets' side, `at_ns` (monotonic) first. */
struct probed {
	__u64 at_ns;
	__u32 number;
	__u32 count;
};

/* Result of the walk: pins in force per slot, of the slot's present generation. */
struct walk_result {
	__u32 pins;
	__u32 live;
	__u32 expired;
	__u32 foreign;      /* not among `pins`, as the next */
	__u32 tombstones;   /* of all slots, in the first row: theirs may be free */
	__u32 states[PIN_STATES]; /* of `pins`, by enum pin_state */
	__u32 zero;
};

/* Every drop and every special case has a counter; its name in REST and its text in the reference are those here. */
enum reason {
	to_chain = 0,           /* emitted into a chain (or, as an answer, towards the slave) */
	session_placed = 1,     /* the master assigned a chain to a new key */
	session_learned = 2,    /* a tag taught a key that was not known */
	session_revived = 3,    /* an expired pin was replaced in place */
	insert_race_lost = 4,   /* two packets assigned at once: this one took the winner's chain */
	designated = 5,         /* no session: sent through the designated chain */
	ask_sent = 6,           /* slave: no lease, asked the master in band */
	hint_sent = 7,          /* slave: asked with the tag of a lapsed lease */
	ask_answered = 8,       /* master: an ask was sent back with its chain's tag */
	hint_honoured = 9,      /* master: the hint's chain was taken */
	hint_refused = 10,      /* master: a pin or the chain's state spoke against the hint */
	answer_taken = 11,      /* slave: the answer became a lease */
	answer_late = 12,       /* slave: a valid lease was there; the packet follows the lease */
	lease_renewed = 13,     /* slave: a forward tag proved a lease again */
	affinity_mismatch = 14, /* a tag contradicts a live pin: the alarm that needs no taps */
	pin_table_full = 15,    /* no room: placed by the hash alone */
	closed_not_learned = 16,/* a frame out of a closed chain, passed without a pin */
	drop_no_chain = 17,     /* there is no chain that takes sessions */
	drop_unknown_tag = 18,  /* inner port: a VLAN ID that means nothing here */
	drop_untagged = 19,     /* inner port: no tag */
	drop_own_tag = 20,      /* outer port: a frame with one of the segment's own tags (a loop) */
	drop_malformed = 21,    /* too short, or lengths that contradict each other */
	drop_dead_pin = 22,     /* met the walk's dead mark in the instant before the entry goes */
	drop_internal = 23,     /* the kernel refused to push or pop a tag, or to take the frame */
	drop_not_ready = 24,    /* slave: the master has not told it the ask ID yet */
	to_outer = 25,          /* emitted out of the outer port */
	fragment_hit = 26,      /* a later fragment followed its first one */
	error_hit = 27,         /* an ICMP error followed the session that it is about */
	drop_fragment_unknown = 28, /* a later fragment whose first one was not seen */
	drop_fragment_short = 29,   /* a first fragment without its whole header (RFC 7112) */
	drop_header_chain = 30, /* IPv6 headers beyond the bound (RFC 7112, section 5) */
	drop_error_unknown = 31,/* an ICMP error about a session that is not known */
	placed_in_overflow = 32,/* rule 7: placed by the plain hash, or past the chains, whatever the policy */
	hint_ignored = 33,      /* rule 7: no hint counts in overflow */
	drop_table_full = 34,   /* a new session without room for its pin, in a segment that refuses these */
	evicted = 35,           /* rule 7: the walk took away a half-open session that the hash places alike */
	drop_overrun = 36,      /* frames came faster than the worker took them (af_packet, pf_ring) */
	drop_take_over = 37,    /* rule 8: the master's table is being copied: clients' packets and asks must wait */
	orphaned = 38,          /* rule 8: TCP under way whose pin was lost with the table, placed anew */
	session_reset = 39,     /* of a connection that was reset by order: answered by a TCP RST */
	drop_reset = 40,        /* likewise, not answered: a RST, an ICMP error, or no way back */
	ordered_reset = 41,     /* a session was reset by order */
	ordered_move = 42,      /* a session was moved by order, or let go to be placed anew */
	drop_closed = 43,       /* asked about a key that only the peer knows, and whose chain is closed: no chain has it */
	probe_turned = 44,      /* slave: a probe came out of its chain; its answer went back in */
	probe_returned = 45,    /* master: the answer came out of the chain, which is alive both ways */
	drop_probe = 46,        /* a frame like a probe, or between its addresses, where no chain brings one */
	REASONS = 47
};

#endif
