// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The least that a program in user space can do between two ports: read each frame from one, write it to the other.
 *
 *     capture OUTER INNER
 *
 * The paper's PF_RING bridge, by AF_PACKET: a thread each way, blocking. Frames come and go with what the kernel
 * knows of their segmentation and checksums (virtio header), as in Catenary's af_packet plane. A tag that came with
 * a frame is beside it and is left there: nothing pushes it again here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#define LARGEST (65536 + 256)
#define BUFFER (8 << 20)

struct way {
	int from, to;
};

static void die(const char *what)
{
	fprintf(stderr, "capture: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		die("setsockopt");
}

static int open_port(const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	at.sll_ifindex = if_nametoindex(name);
	if (fd < 0 || !at.sll_ifindex)
		die(name);
	set(fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
	set(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER);
	set(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)))
		die(name);
	return fd;
}

static void *forward(void *argument)
{
	const struct way *way = argument;
	char *frame = malloc(LARGEST);
	ssize_t size;

	if (!frame)
		die("malloc");
	while ((size = read(way->from, frame, LARGEST)) >= 0 || errno == EINTR || errno == ENETDOWN)
		if (size > 0 && write(way->to, frame, size) < 0 && errno == ENETDOWN)
			die("write");
	die("read");
	return NULL;
}

int main(int argc, char **argv)
{
	struct way ways[2];
	pthread_t other;
	int outer, inner;

	if (argc != 3) {
		fprintf(stderr, "usage: capture OUTER INNER\n");
		return 2;
	}
	outer = open_port(argv[1]);
	inner = open_port(argv[2]);
	ways[0] = (struct way){ outer, inner };
	ways[1] = (struct way){ inner, outer };
	printf("ready\n");
	fflush(stdout);
	if (pthread_create(&other, NULL, forward, &ways[1]))
		die("pthread_create");
	forward(&ways[0]);
}
