// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The worker: a process of its own that carries the packets, so that its daemon may come and go.
 *
 *   worker PLANE OUTER INNER SEGMENT_FD LISTEN_FD REPORT_FD
 *   worker PLANE OUTER INNER SEGMENT_FD LINK_FD REPORT_FD succeed
 *   worker test SEGMENT_FD LINK_FD
 *
 * On REPORT_FD it writes "ok" when frames flow, or one line why they can't, and closes it. On LISTEN_FD, a
 * SOCK_SEQPACKET socket, it takes the orders of whoever runs as its own user or as root:
 *
 *   hello   answered by "PID" with the segment's descriptor beside it: how a new daemon adopts it
 *   walk    answered by "ok" or "stuck" when the walk is done; the results are in the segment
 *   sweep   likewise, when the order in the segment is carried out
 *   yield   it stops carrying, answers with LISTEN_FD and its sockets, and ends when it is told "taken"; else it goes on
 *   insert  answered by "ok COUNT" when so many of the records staged in the segment are in its session table
 *   stop    answered by "ok"; the worker ends and gives the interfaces back
 *
 * A successor orders its predecessor to yield over LINK_FD. Frames wait in the sockets meanwhile. What can't be handed
 * over (the rings of PF_RING) each opens for itself, and frames of the moment between the two are lost. It reports
 * "ok" with the microseconds for which nobody carried.
 *
 * The test shows frames to the code above, without any interface (lb_adapter/selftest.py).
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
#include <sys/uio.h>

#include "copy.h"
#include "handover.h"
#include "io.h"
#include "rights.h"
#include "walk.h"

#define CALLERS 8
#define IDLE 1000  /* ms: how often an idle thread looks for frames that were lost */
#define BLIND 1    /* ms between looks at a port that can't be waited for */
#define TURNS 4096 /* and after how many turns a busy one does */
#define DRAIN 64   /* turns at most to empty a ring that can't be handed over */
#define TEST_ROOM 4096
#define PATIENCE 5 /* s that a successor may take */

static const struct io *io;
static struct segment *segment;
static struct wire wires[2][MAX_THREADS]; /* outer, inner */
static pthread_t carriers[MAX_THREADS];
static int stop_event, segment_fd, carrying;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* shut while the threads are parked */
static volatile int halted;   /* the threads shall end */
static volatile int stopping; /* the process shall end */

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

	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	for (unsigned int turns = 0; !halted; turns++) {
		int outer = turn(thread, PORT_OUTER), inner = turn(thread, PORT_INNER);

		if (turns % TURNS == 0)
			count_lost(thread);
		if (!outer && !inner && poll(wait, 3, blind ? BLIND : IDLE) == 0)
			turns = -1;
	}
	for (int i = 0; i < DRAIN && !io->adopt && turn(thread, PORT_OUTER) + turn(thread, PORT_INNER); i++)
		;
	count_lost(thread);
	return NULL;
}

/* All that can fail is done before the first frame. After a failure some stay parked, and end with the process. */
static int park_threads(struct trouble *why)
{
	if (give_up_rights())
		return fail(why, "unsupported the worker can't give up its capabilities: %s", strerror(errno));
	pthread_mutex_lock(&gate);
	for (long i = 0; i < (long)segment->threads; i++)
		if (pthread_create(&carriers[i], NULL, carry, (void *)i))
			return fail(why, "unsupported can't start %u threads: use fewer", segment->threads);
	return 0;
}

static void let_go(void)
{
	carrying = 1;
	pthread_mutex_unlock(&gate);
}

/* What they have received, they still send. */
static void stop_threads(void)
{
	eventfd_t once;

	if (!carrying)
		return;
	halted = 1;
	eventfd_write(stop_event, 1);
	for (__u32 i = 0; i < segment->threads; i++)
		pthread_join(carriers[i], NULL);
	eventfd_read(stop_event, &once);
	halted = carrying = 0;
}

static int trusted(int caller)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	return !getsockopt(caller, SOL_SOCKET, SO_PEERCRED, &who, &size) && (who.uid == 0 || who.uid == geteuid());
}

static void introduce(int caller)
{
	char text[WORD];

	snprintf(text, sizeof(text), "%d", getpid());
	hand_over(caller, text, &segment_fd, 1);
}

/* Where the descriptors of the wires are, in the order of their hand-over. */
static int *handed(int number)
{
	int threads = segment->threads;

	return &wires[number / threads][number % threads].fd;
}

static int wires_handed(void) { return io->adopt ? 2 * segment->threads : 0; }

/* Give way to a successor. One that fails leaves all as it was. */
static void yield(int caller, int listener)
{
	int fds[MAX_HANDED] = { listener };
	struct trouble why;

	for (int i = 0; i < wires_handed(); i++)
		fds[1 + i] = *handed(i);
	stop_threads();
	if (hand_over(caller, "take", fds, 1 + wires_handed()) > 0 && heard(caller, "taken", PATIENCE))
		stopping = 1;
	else if (park_threads(&why))
		stopping = 1;
	else
		let_go();
}

/* One order of a caller; 0 if it has hung up. */
static int obey(int caller, int listener)
{
	char order[16] = { 0 }, count[WORD];
	const char *answer = "what?";

	if (recv(caller, order, sizeof(order) - 1, 0) <= 0)
		return 0;
	if (!strcmp(order, "hello")) {
		introduce(caller);
		return 1;
	}
	if (!strcmp(order, "yield")) {
		yield(caller, listener);
		return 0;
	}
	if (!strcmp(order, "walk"))
		answer = walk(segment) ? "stuck" : "ok";
	if (!strcmp(order, "sweep"))
		answer = sweep(segment) ? "stuck" : "ok";
	if (!strcmp(order, "insert")) {
		snprintf(count, sizeof(count), "ok %u", insert_staged(segment));
		answer = count;
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
			if (callers[i].fd < 0 || !callers[i].revents)
				continue;
			/* Who has hung up waits for no order, and another caller may be writing what it works on. */
			if (!(callers[i].revents & POLLHUP) && obey(callers[i].fd, listener))
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
	for (int side = 0; side < 2; side++)
		if (io->open(wires[side], segment->threads, interfaces[side], why))
			return -1;
	return 0;
}

static int start_all(struct trouble *why)
{
	for (int side = 0; side < 2; side++)
		if (io->start(wires[side], segment->threads, why))
			return -1;
	return 0;
}

/* Make ready as far as one can while another one carries. */
static int prepare(char **interfaces, struct trouble *why)
{
	if (!io->adopt)
		return open_all(interfaces, why);
	for (int side = 0; side < 2; side++)
		if (io->adopt(wires[side], segment->threads, why))
			return -1;
	return 0;
}

static __u64 now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

/* Carry on where the worker at the other end of `link` stops. Its listener, or -1. */
static int succeed(int link, char **interfaces, __u64 *waited, struct trouble *why)
{
	int fds[MAX_HANDED];
	__u64 began;

	if (prepare(interfaces, why))
		return -1;
	began = now_us();
	if (send(link, "yield", 5, MSG_NOSIGNAL) < 0 || take_over(link, fds) != 1 + wires_handed())
		return fail(why, "invalid the worker there can't hand over what it has: it is gone, or of an older release");
	for (int i = 0; i < wires_handed(); i++)
		*handed(i) = fds[1 + i];
	if ((!io->adopt && start_all(why)) || park_threads(why))
		return -1;
	if (send(link, "taken", 5, MSG_NOSIGNAL) < 0)
		return fail(why, "invalid the worker there did not wait any longer: try again");
	let_go();
	*waited = now_us() - began;
	close(link);
	return fds[0];
}

/* Carry packets for the first time, or on what a worker left that died. */
static int begin(char **interfaces, struct trouble *why)
{
	mend(segment);
	if (open_all(interfaces, why) || start_all(why) || park_threads(why))
		return -1;
	let_go();
	return 0;
}

/* The self-test: a frame with its port and the tag beside it comes by `link`; what becomes of it goes back. */
static int test(int link)
{
	static __u8 buffer[HEADROOM + TEST_ROOM];
	__u16 in[3], said[3];
	struct iovec frame[2] = { { in, sizeof(in) }, { buffer + HEADROOM, TEST_ROOM } };
	struct packet p;
	ssize_t got;

	while ((got = readv(link, frame, 2)) > (ssize_t)sizeof(in)) {
		p = (struct packet){ .data = buffer + HEADROOM, .length = got - sizeof(in), .tpid = in[1], .tci = in[2] };
		splice_batch(segment, 0, &p, 1, in[0]);
		said[0] = p.verdict.port;
		said[1] = p.verdict.vid;
		said[2] = p.verdict.reason;
		if (writev(link, (struct iovec[]){ { said, sizeof(said) }, { p.data, p.length } }, 2) < 0)
			break;
	}
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
	struct sigaction action = { .sa_handler = on_signal };
	int report, listener, testing = argc == 4 && !strcmp(argv[1], "test");
	struct trouble why;
	__u64 waited = 0;

	if (!testing && argc != 7 && argc != 8)
		return fprintf(stderr, "this is started by `catenary lb run`\n"), 2;
	segment_fd = atoi(argv[testing ? 2 : 4]);
	report = testing ? STDERR_FILENO : atoi(argv[6]);
	if (map_segment(&why))
		return dprintf(report, "%s", why.text), 1;
	if (testing)
		return test(atoi(argv[3]));
	io = strcmp(argv[1], "pf_ring") ? &io_af_packet : &io_pf_ring;
	stop_event = eventfd(0, EFD_CLOEXEC);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	for (__u32 i = 0; i < 2 * segment->threads; i++)
		*handed(i) = -1;
	listener = atoi(argv[5]);
	if (argc == 8)
		listener = succeed(listener, argv + 2, &waited, &why);
	else if (begin(argv + 2, &why))
		listener = -1;
	if (listener < 0)
		return dprintf(report, "%s", why.text), 1;
	dprintf(report, "ok %llu", (unsigned long long)waited);
	close(report);
	go_silent();
	serve(listener);
	stop_threads();
	for (__u32 i = 0; i < segment->threads; i++)
		for (int side = 0; side < 2; side++)
			io->close(&wires[side][i]);
	return 0;
}
