// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Frames by AF_PACKET sockets, batches of them a system call (recvmmsg, sendmmsg).
 *
 * PACKET_VNET_HDR hands over frames whole that are still to be cut into segments or to get their checksum, and
 * takes them back the same way: TCP with default offloads costs a system call for 64 KB. (A memory-mapped ring
 * can't carry these: it is slower by far here.) The kernel keeps the outermost tag beside the frame and tells it in
 * PACKET_AUXDATA.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <poll.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "io.h"

#define ROUND 32               /* frames a system call */
#define LARGE 4096             /* on average; then fewer, or their bytes push each other out of the cache */
#define LARGE_ROUND 8
#define FRAME_ROOM (68 << 10)  /* the largest GSO frame, 64 KB and its headers */
#define QUEUE_BYTES (32 << 20)
#define SEND_PATIENCE 5        /* ms that a full interface may hold up a batch */

struct slotted {
	_Alignas(LINE) char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct virtio_net_hdr vnet;
	struct iovec parts[2];
};

struct queue {
	struct mmsghdr messages[ROUND];
	struct slotted slots[ROUND];
	__u8 *frames;
	int round; /* frames that the next system call may take */
};

static __u8 *frame_of(const struct queue *q, int i) { return q->frames + (size_t)i * (HEADROOM + FRAME_ROOM) + HEADROOM; }

static struct queue *make_queue(void)
{
	struct queue *q = calloc(1, sizeof(*q));

	if (q)
		q->frames = malloc((size_t)ROUND * (HEADROOM + FRAME_ROOM));
	if (q && q->frames) {
		q->round = ROUND;
		return q;
	}
	free(q);
	return NULL;
}

static int set(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof(value)); }

/* Large buffers are what a burst of 64 KB frames needs; without the right to force them, what we may have. */
static void grow(int fd)
{
	if (set(fd, SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES))
		set(fd, SOL_SOCKET, SO_RCVBUF, QUEUE_BYTES);
	if (set(fd, SOL_SOCKET, SO_SNDBUFFORCE, QUEUE_BYTES))
		set(fd, SOL_SOCKET, SO_SNDBUF, QUEUE_BYTES);
}

/* One socket on the interface, which drops all that comes until its filter is taken away. */
static int open_socket(int index, const char *interface, struct trouble *why)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &nothing };
	struct packet_mreq promiscuous = { .mr_ifindex = index, .mr_type = PACKET_MR_PROMISC };
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index };
	/* No protocol yet: else it would hear all interfaces until it is bound. */
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fail(why, "unsupported AF_PACKET sockets are refused (%s): run as root, or with CAP_NET_RAW", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ||
	    set(fd, SOL_PACKET, PACKET_VNET_HDR, 1) || set(fd, SOL_PACKET, PACKET_AUXDATA, 1) ||
	    set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1) ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous))) {
		fail(why, "unsupported AF_PACKET on %s lacks an option (%s): it needs Linux 4.20 or newer", interface, strerror(errno));
	} else if (bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		fail(why, "invalid can't listen on interface %s: %s", interface, strerror(errno));
	} else {
		grow(fd);
		return fd;
	}
	close(fd);
	return -1;
}

/*
 * Share the interface's frames among the threads' sockets by the kernel's symmetric flow hash, which knows no
 * VLANs: so both directions of a session come to one thread, at both ports.
 */
static int share(struct wire *wires, int threads, struct trouble *why)
{
	int word = PACKET_FANOUT_HASH << 16 | PACKET_FANOUT_FLAG_UNIQUEID << 16;
	socklen_t size = sizeof(word);

	if (threads == 1)
		return 0;
	for (int i = 0; i < threads; i++) {
		if (set(wires[i].fd, SOL_PACKET, PACKET_FANOUT, word))
			return fail(why, "unsupported frames can't be shared among %d threads (%s): use --threads 1", threads, strerror(errno));
		if (!i) {
			getsockopt(wires[0].fd, SOL_PACKET, PACKET_FANOUT, &word, &size);
			word = (word & 0xffff) | PACKET_FANOUT_HASH << 16;
		}
	}
	return 0;
}

static int af_packet_adopt(struct wire *wires, int threads, struct trouble *why)
{
	for (int i = 0; i < threads; i++) {
		wires[i].state = make_queue();
		if (!wires[i].state)
			return fail(why, "unsupported no memory for the queues of %d threads: use fewer", threads);
	}
	return 0;
}

static int af_packet_open(struct wire *wires, int threads, const char *interface, struct trouble *why)
{
	int index = if_nametoindex(interface);

	if (!index)
		return fail(why, "invalid there is no interface '%s' here: `ip link` lists them", interface);
	if (af_packet_adopt(wires, threads, why))
		return -1;
	for (int i = 0; i < threads; i++) {
		wires[i].fd = open_socket(index, interface, why);
		if (wires[i].fd < 0)
			return -1;
	}
	return share(wires, threads, why);
}

static int af_packet_start(struct wire *wires, int threads, struct trouble *why)
{
	int none = 0;

	for (int i = 0; i < threads; i++)
		if (setsockopt(wires[i].fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)))
			return fail(why, "unsupported can't take the filter off a socket: %s", strerror(errno));
	return 0;
}

/* The tag beside the frame, if there is one. */
static void read_tag(struct msghdr *message, struct packet *p)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		struct tpacket_auxdata aux;

		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (aux.tp_status & TP_STATUS_VLAN_VALID) {
			p->tci = aux.tp_vlan_tci;
			p->tpid = aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q;
		}
	}
}

static int af_packet_receive(struct wire *wire, struct packet *packets, int room)
{
	struct queue *q = wire->state;
	int got, kept = 0;
	__u32 bytes = 0;

	room = room < q->round ? room : q->round;
	for (int i = 0; i < room; i++) {
		struct slotted *slot = &q->slots[i];

		slot->parts[0] = (struct iovec){ &slot->vnet, sizeof(slot->vnet) };
		slot->parts[1] = (struct iovec){ frame_of(q, i), FRAME_ROOM };
		q->messages[i].msg_hdr = (struct msghdr){ .msg_iov = slot->parts, .msg_iovlen = 2,
							  .msg_control = slot->control,
							  .msg_controllen = sizeof(slot->control) };
	}
	got = recvmmsg(wire->fd, q->messages, room, MSG_DONTWAIT, NULL);
	if (got < 0) {
		/* EINVAL: a kind of segmentation that the header has no word for. That frame is gone. */
		wire->broken += errno == EINVAL;
		return 0;
	}
	for (int i = 0; i < got; i++) {
		struct msghdr *message = &q->messages[i].msg_hdr;
		struct packet *p = &packets[kept];

		if (message->msg_flags & MSG_TRUNC || q->messages[i].msg_len < sizeof(struct virtio_net_hdr)) {
			wire->broken++;
			continue;
		}
		*p = (struct packet){ .data = frame_of(q, i), .vnet = &q->slots[i].vnet,
				      .length = q->messages[i].msg_len - sizeof(struct virtio_net_hdr) };
		read_tag(message, p);
		bytes += p->length;
		kept++;
	}
	q->round = bytes > (__u32)got * LARGE ? LARGE_ROUND : ROUND;
	return kept;
}

static int af_packet_send(struct wire *wire, struct packet **packets, int count)
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	int done = 0, refused = 0, sent;

	for (int i = 0; i < count; i++) {
		parts[i][0] = (struct iovec){ packets[i]->vnet, sizeof(struct virtio_net_hdr) };
		parts[i][1] = (struct iovec){ packets[i]->data, packets[i]->length };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = parts[i], .msg_iovlen = 2 };
	}
	while (done < count) {
		sent = sendmmsg(wire->fd, messages + done, count - done, MSG_DONTWAIT);
		if (sent > 0) {
			done += sent;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN && poll(&(struct pollfd){ wire->fd, POLLOUT, 0 }, 1, SEND_PATIENCE) > 0)
			continue;
		/* Too long for the link, or the link is down, or stays full: the frame at the head is lost. */
		refused++;
		done++;
	}
	return refused;
}

static __u64 af_packet_overrun(struct wire *wire)
{
	struct tpacket_stats stats;
	socklen_t size = sizeof(stats);

	return getsockopt(wire->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) ? 0 : stats.tp_drops;
}

static void af_packet_close(struct wire *wire)
{
	struct queue *q = wire->state;

	if (wire->fd >= 0)
		close(wire->fd);
	if (q)
		free(q->frames);
	free(q);
}

const struct io io_af_packet = {
	.name = "af_packet",
	.open = af_packet_open,
	.start = af_packet_start,
	.adopt = af_packet_adopt,
	.receive = af_packet_receive,
	.send = af_packet_send,
	.overrun = af_packet_overrun,
	.close = af_packet_close,
};
