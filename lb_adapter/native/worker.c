// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The worker: a process of its own that carries the packets, so that its daemon may come and go.
 *
 *   worker PLANE OUTER INNER SEGMENT_FD LISTEN_FD REPORT_FD
 *
 * On REPORT_FD it writes "ok" when frames flow, or one line why they can't, and closes it. On LISTEN_FD, a
 * SOCK_SEQPACKET socket, it takes the orders of whoever runs as its own user or as root:
 *
 *   hello   answered by "PID" with the segment's descriptor beside it: how a new daemon adopts it
 *   walk    answered by "ok" or "stuck" when the walk is done; the results are in the segment
 *   insert  answered by "ok" when the records staged in the segment are in its session table
 *   stop    answered by "ok"; the worker ends and gives the interfaces back
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "copy.h"
#include "io.h"
#include "walk.h"

#define CALLERS 8
#define IDLE 1000  /* ms: how often an idle thread looks for frames that were lost */
#define BLIND 1    /* ms between looks at a port that can't be waited for */
#define TURNS 4096 /* and after how many turns a busy one does */

static const struct io *io;
static struct segment *segment;
static struct wire wires[2][MAX_THREADS]; /* outer, inner */
static int stop_event, segment_fd;
static volatile int stopping;

/* One batch of frames that came in by one port: decide, and send each to its port in the order of arrival. */
static int turn(int thread, enum port from)
{
	struct packet packets[BATCH], *to[2][BATCH];
	int counts[2] = { 0, 0 }, refused = 0;
	int count = io->receive(&wires[from - PORT_OUTER][thread], packets, BATCH);

	if (!count)
		return 0;
	splice_batch(segment, thread, packets, count, from);
	for (int i = 0; i < count; i++) {
		int side = packets[i].verdict.port - PORT_OUTER;

		if (packets[i].verdict.port != PORT_NONE)
			to[side][counts[side]++] = &packets[i];
	}
	for (int side = 0; side < 2; side++)
		if (counts[side])
			refused += io->send(&wires[side][thread], to[side], counts[side]);
	thread_area(segment, thread)->reasons[drop_internal] += refused;
	return count;
}

static void count_lost(int thread)
{
	struct thread_area *mine = thread_area(segment, thread);

	for (int side = 0; side < 2; side++) {
		mine->reasons[drop_overrun] += io->overrun(&wires[side][thread]);
		mine->reasons[drop_internal] += wires[side][thread].broken;
		wires[side][thread].broken = 0;
	}
}

static void *carry(void *argument)
{
	int thread = (long)argument, blind = wires[0][thread].fd < 0 || wires[1][thread].fd < 0;
	struct pollfd wait[3] = { { wires[0][thread].fd, POLLIN, 0 }, { wires[1][thread].fd, POLLIN, 0 },
				  { stop_event, POLLIN, 0 } };

	for (unsigned int turns = 0; !stopping; turns++) {
		int outer = turn(thread, PORT_OUTER), inner = turn(thread, PORT_INNER);

		if (turns % TURNS == 0)
			count_lost(thread);
		if (!outer && !inner && poll(wait, 3, blind ? BLIND : IDLE) == 0)
			turns = -1;
	}
	return NULL;
}

static int trusted(int caller)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	return !getsockopt(caller, SOL_SOCKET, SO_PEERCRED, &who, &size) && (who.uid == 0 || who.uid == geteuid());
}

static void introduce(int caller)
{
	char text[16], control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { text, snprintf(text, sizeof(text), "%d", getpid()) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &segment_fd, sizeof(int));
	sendmsg(caller, &message, MSG_NOSIGNAL);
}

/* One order of a caller; 0 if it has hung up. */
static int obey(int caller)
{
	char order[16] = { 0 };
	const char *answer = "what?";

	if (recv(caller, order, sizeof(order) - 1, 0) <= 0)
		return 0;
	if (!strcmp(order, "hello")) {
		introduce(caller);
		return 1;
	}
	if (!strcmp(order, "walk"))
		answer = walk(segment) ? "stuck" : "ok";
	if (!strcmp(order, "insert")) {
		insert_staged(segment);
		answer = "ok";
	}
	if (!strcmp(order, "stop")) {
		stopping = 1;
		return 1; /* answered by the end of the connection, when the interfaces are free */
	}
	return send(caller, answer, strlen(answer), MSG_NOSIGNAL) > 0;
}

static void admit(int listener, struct pollfd *callers)
{
	int caller = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 1; caller >= 0 && i <= CALLERS && trusted(caller); i++) {
		if (callers[i].fd < 0) {
			callers[i].fd = caller;
			return;
		}
	}
	if (caller >= 0)
		close(caller);
}

static void serve(int listener)
{
	struct pollfd callers[1 + CALLERS];

	for (int i = 0; i <= CALLERS; i++)
		callers[i] = (struct pollfd){ i ? -1 : listener, POLLIN, 0 };
	while (!stopping) {
		/* A signal sets `stopping` at any time, also just before the poll: so not for ever. */
		if (poll(callers, 1 + CALLERS, IDLE) <= 0)
			continue;
		if (callers[0].revents)
			admit(listener, callers);
		for (int i = 1; i <= CALLERS; i++) {
			if (callers[i].fd < 0 || !callers[i].revents || obey(callers[i].fd))
				continue;
			close(callers[i].fd);
			callers[i].fd = -1;
		}
	}
}

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static int map_segment(struct trouble *why)
{
	struct stat stat;

	if (fstat(segment_fd, &stat))
		return fail(why, "invalid no segment behind descriptor %d: %s", segment_fd, strerror(errno));
	segment = mmap(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, segment_fd, 0);
	if (segment == MAP_FAILED)
		return fail(why, "unsupported the session table can't be mapped: %s", strerror(errno));
	if (segment->magic != SEGMENT_MAGIC || segment->abi != SEGMENT_ABI || segment->bytes != (__u64)stat.st_size)
		return fail(why, "invalid the session table is of another release: run `make build`");
	return 0;
}

static int open_all(char **interfaces, struct trouble *why)
{
	int threads = segment->threads;

	for (int side = 0; side < 2; side++)
		for (int i = 0; i < threads; i++)
			wires[side][i].fd = -1;
	for (int side = 0; side < 2; side++)
		if (io->open(wires[side], threads, interfaces[side], why))
			return -1;
	for (int side = 0; side < 2; side++)
		if (io->start(wires[side], threads, why))
			return -1;
	return 0;
}

/* Nobody reads what a lone worker says, and a pipe to a dead daemon must not hold anybody up. */
static void go_silent(void)
{
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= 2; fd++)
		dup2(nowhere, fd);
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	struct sigaction action = { .sa_handler = on_signal };
	struct trouble why;
	int report;

	if (argc != 7)
		return fprintf(stderr, "this is started by `catenary lb run`\n"), 2;
	segment_fd = atoi(argv[4]);
	report = atoi(argv[6]);
	io = strcmp(argv[1], "pf_ring") ? &io_af_packet : &io_pf_ring;
	stop_event = eventfd(0, EFD_CLOEXEC);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (map_segment(&why)) {
		dprintf(report, "%s", why.text);
		return 1;
	}
	mend(segment);
	if (open_all(argv + 2, &why)) {
		dprintf(report, "%s", why.text);
		return 1;
	}
	for (long i = 0; i < (long)segment->threads; i++)
		if (pthread_create(&threads[i], NULL, carry, (void *)i))
			return dprintf(report, "unsupported can't start %u threads: use fewer", segment->threads), 1;
	dprintf(report, "ok");
	close(report);
	go_silent();
	serve(atoi(argv[5]));
	eventfd_write(stop_event, 1);
	for (__u32 i = 0; i < segment->threads; i++) {
		pthread_join(threads[i], NULL);
		for (int side = 0; side < 2; side++)
			io->close(&wires[side][i]);
	}
	return 0;
}
