/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much longer the first packet of a session takes than the next ones.
 *
 *   probe echo PORT                     answers each datagram
 *   probe ask ADDRESS PORT SESSIONS     one line a session: ns of its first exchange, ns of its second
 *
 * Every session has a source port of its own, one after the other: one that the kernel chose might come twice, and
 * would then ask only once. Both wait by polling: what is measured is the path, not the scheduler.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_NS 1000000000LL
#define FIRST_PORT 10000

static void fail(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long exchange(int fd)
{
	long long begun = now();
	char data[16] = "probe";

	if (send(fd, data, sizeof(data), 0) < 0)
		fail("send");
	while (recv(fd, data, sizeof(data), MSG_DONTWAIT) < 0) {
		if (errno != EAGAIN)
			fail("recv");
		if (now() - begun > TIMEOUT_NS)
			return -1;
	}
	return now() - begun;
}

static void echo(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) }, from;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t length;
	char data[64];
	ssize_t got;

	if (fd < 0 || bind(fd, (void *)&at, sizeof(at)))
		fail("bind");
	puts("ready");
	fflush(stdout);
	for (;;) {
		length = sizeof(from);
		got = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (void *)&from, &length);
		if (got >= 0)
			sendto(fd, data, got, 0, (void *)&from, length);
	}
}

static void ask(const char *address, int port, int sessions)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) }, from = { .sin_family = AF_INET };

	to.sin_addr.s_addr = inet_addr(address);
	for (int i = 0; i < sessions; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		long long first;

		from.sin_port = htons(FIRST_PORT + i);
		if (fd < 0 || bind(fd, (void *)&from, sizeof(from)) || connect(fd, (void *)&to, sizeof(to)))
			fail(address);
		first = exchange(fd);
		printf("%lld %lld\n", first, exchange(fd));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "echo")) {
		echo(atoi(argv[2]));
	} else if (argc == 5 && !strcmp(argv[1], "ask")) {
		ask(argv[2], atoi(argv[3]), atoi(argv[4]));
	} else {
		fprintf(stderr, "usage: probe echo PORT | probe ask ADDRESS PORT SESSIONS\n");
		return 2;
	}
	return 0;
}
