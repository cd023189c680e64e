/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Frames in and out of an interface: what a data plane is beside the splice. Each thread has a `struct wire` for
 * each of the two ports and shares it with nobody.
 */
#ifndef CATENARY_IO_H
#define CATENARY_IO_H

#include <stdarg.h>
#include <stdio.h>

#include "packet.h"

struct wire {
	int fd;       /* readable when frames wait; -1: not known, look often */
	__u64 broken; /* frames lost in the reception: cut off, or of a form that the kernel can't hand over */
	void *state;
};

/* What went wrong and what helps, in one line: "unsupported ..." (by this host) or "invalid ..." (a value). */
struct trouble {
	char text[400];
};

__attribute__((format(printf, 2, 3))) static inline int fail(struct trouble *why, const char *form, ...)
{
	va_list words;

	va_start(words, form);
	vsnprintf(why->text, sizeof(why->text), form, words);
	va_end(words);
	return -1;
}

struct io {
	const char *name;
	/* Open an interface for `threads` threads, or say in `why` why not. Frames come after `start` only. */
	int (*open)(struct wire *wires, int threads, const char *interface, struct trouble *why);
	int (*start)(struct wire *wires, int threads, struct trouble *why);
	/* In place of both, when another worker is to hand over its descriptors. NULL: it can't, each opens its own. */
	int (*adopt)(struct wire *wires, int threads, struct trouble *why);
	/* Up to `room` frames, without waiting. They are valid until the next call. */
	int (*receive)(struct wire *wire, struct packet *packets, int room);
	/* Send in this order; how many could not be sent. */
	int (*send)(struct wire *wire, struct packet **packets, int count);
	/* Frames that found no room in the queue since the last call. */
	__u64 (*overrun)(struct wire *wire);
	void (*close)(struct wire *wire);
};

extern const struct io io_af_packet, io_pf_ring;

#endif
