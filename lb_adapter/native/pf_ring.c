// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Frames by PF_RING (version 8), whose library is found at run time: nothing of it is needed to build this.
 *
 * PF_RING hands over frames as they were on the wire: switch GRO and LRO off at the ports. Rings are opened without
 * REENTRANT, so a frame lies in the ring until the next call; it is copied, for a tag needs room before it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/time.h>

#include "io.h"

#define ROUND 32
#define FRAME_ROOM 16384
#define PROMISC (1 << 3)
#define DO_NOT_PARSE (1 << 9)
#define RECEIVE_ONLY 1
#define NOT_SUPPORTED (-7)
#define NO_MODULE (-14)

typedef struct __pfring pfring;

struct pfring_pkthdr {
	struct timeval ts;
	__u32 caplen;
	__u32 len;
	__u8 extended_hdr[488]; /* too large on purpose: it varies between releases */
};

typedef struct {
	__u64 recv;
	__u64 drop;
	__u64 shunt;
} pfring_stat;

static struct {
	void *handle;
	pfring *(*open)(const char *, __u32, __u32);
	int (*enable_ring)(pfring *);
	int (*recv)(pfring *, unsigned char **, unsigned int, struct pfring_pkthdr *, __u8);
	int (*send)(pfring *, char *, unsigned int, __u8);
	int (*stats)(pfring *, pfring_stat *);
	int (*set_direction)(pfring *, int);
	int (*set_application_name)(pfring *, char *);
	int (*get_selectable_fd)(pfring *);
	void (*close)(pfring *);
} lib;

struct ring {
	pfring *ring;
	__u64 dropped;
	__u8 frames[ROUND][HEADROOM + FRAME_ROOM];
};

static int find_library(struct trouble *why)
{
	struct {
		const char *name;
		void *to;
	} symbols[] = {
		{ "pfring_open", &lib.open },
		{ "pfring_enable_ring", &lib.enable_ring },
		{ "pfring_recv", &lib.recv },
		{ "pfring_send", &lib.send },
		{ "pfring_stats", &lib.stats },
		{ "pfring_set_direction", &lib.set_direction },
		{ "pfring_set_application_name", &lib.set_application_name },
		{ "pfring_get_selectable_fd", &lib.get_selectable_fd },
		{ "pfring_close", &lib.close },
	};

	if (lib.handle)
		return 0;
	lib.handle = dlopen("libpfring.so", RTLD_NOW);
	if (!lib.handle)
		lib.handle = dlopen("libpfring.so.1", RTLD_NOW);
	if (!lib.handle)
		return fail(why, "unsupported libpfring.so is not installed: install ntop's package pfring, or use --data-plane af_packet");
	for (size_t i = 0; i < sizeof(symbols) / sizeof(*symbols); i++) {
		void *symbol = dlsym(lib.handle, symbols[i].name);

		if (!symbol)
			return fail(why, "unsupported libpfring.so has no %s: install PF_RING 8", symbols[i].name);
		memcpy(symbols[i].to, &symbol, sizeof(symbol));
	}
	return 0;
}

static int no_module(struct trouble *why)
{
	return fail(why, "unsupported PF_RING's kernel module is not loaded: `modprobe pf_ring`, or use --data-plane af_packet");
}

static int pf_ring_open(struct wire *wires, int threads, const char *interface, struct trouble *why)
{
	struct ring *r;

	wires[0].fd = -1;
	if (threads != 1)
		return fail(why, "invalid pf_ring runs in one thread, not %d: use --threads 1", threads);
	if (find_library(why))
		return -1;
	wires[0].state = r = calloc(1, sizeof(*r));
	if (!r)
		return fail(why, "unsupported no memory for the ring of %s", interface);
	errno = 0;
	r->ring = lib.open(interface, FRAME_ROOM, PROMISC | DO_NOT_PARSE);
	if (!r->ring && (errno == EAFNOSUPPORT || errno == 0))
		return no_module(why);
	if (!r->ring)
		return fail(why, "invalid PF_RING can't open %s: %s", interface, strerror(errno));
	lib.set_application_name(r->ring, "catenary");
	lib.set_direction(r->ring, RECEIVE_ONLY);
	/* An empty frame is never sent; a ring that can't send at all says so. */
	if (lib.send(r->ring, (char *)r->frames[0], 0, 0) == NOT_SUPPORTED)
		return fail(why, "unsupported PF_RING can only receive on %s: name the interface without `pcap:`, with the module loaded", interface);
	return 0;
}

static int pf_ring_start(struct wire *wires, int threads, struct trouble *why)
{
	struct ring *r = wires[0].state;
	int code = lib.enable_ring(r->ring);

	(void)threads;
	if (code == NO_MODULE)
		return no_module(why);
	if (code)
		return fail(why, "unsupported PF_RING does not start (error %d): see `dmesg`", code);
	wires[0].fd = lib.get_selectable_fd(r->ring);
	return 0;
}

static int pf_ring_receive(struct wire *wire, struct packet *packets, int room)
{
	struct ring *r = wire->state;
	int got = 0;

	room = room < ROUND ? room : ROUND;
	while (got < room) {
		struct pfring_pkthdr header;
		unsigned char *frame = NULL;
		__u8 *copy = r->frames[got] + HEADROOM;

		/* It may answer 0 and have a frame all the same. */
		header.caplen = header.len = 0;
		if (lib.recv(r->ring, &frame, 0, &header, 0) < 0 || !header.caplen || !frame)
			break;
		if (header.caplen < header.len || header.caplen > FRAME_ROOM) {
			wire->broken++;
			continue;
		}
		memcpy(copy, frame, header.caplen);
		packets[got++] = (struct packet){ .data = copy, .length = header.caplen };
	}
	return got;
}

static int pf_ring_send(struct wire *wire, struct packet **packets, int count)
{
	struct ring *r = wire->state;
	int refused = 0;

	for (int i = 0; i < count; i++)
		refused += lib.send(r->ring, (char *)packets[i]->data, packets[i]->length, i == count - 1) < 0;
	return refused;
}

static __u64 pf_ring_overrun(struct wire *wire)
{
	struct ring *r = wire->state;
	pfring_stat stats;
	__u64 before = r->dropped;

	if (lib.stats(r->ring, &stats))
		return 0;
	r->dropped = stats.drop;
	return stats.drop - before;
}

static void pf_ring_close(struct wire *wire)
{
	struct ring *r = wire->state;

	if (r && r->ring)
		lib.close(r->ring);
	free(r);
}

const struct io io_pf_ring = {
	.name = "pf_ring",
	.open = pf_ring_open,
	.start = pf_ring_start,
	.receive = pf_ring_receive,
	.send = pf_ring_send,
	.overrun = pf_ring_overrun,
	.close = pf_ring_close,
};
