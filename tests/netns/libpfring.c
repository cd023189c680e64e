// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A stand-in for ntop's libpfring with the same ABI (PF_RING 8), over AF_PACKET: what the pf_ring data plane is
 * tested with where the kernel module can't be loaded.
 *
 * Like the real one it tells of a missing module by NULL and EAFNOSUPPORT (here: with STUB_NO_MODULE set in the
 * environment), and can only receive on devices named `pcap:...`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define ROOM 16384

typedef struct __pfring {
	int fd, index, enabled, receive_only, direction;
	uint32_t caplen;
	uint64_t received;
	unsigned char frame[4 + ROOM];
} pfring;

/* The real one is shorter by far than what its users set aside for it. */
struct pfring_pkthdr {
	struct timeval ts;
	uint32_t caplen, len;
	uint8_t extended_hdr[188];
};

typedef struct {
	uint64_t recv, drop, shunt;
} pfring_stat;

pfring *pfring_open(const char *device, uint32_t caplen, uint32_t flags)
{
	int index, one = 1, size = 8 << 20, receive_only = !strncmp(device, "pcap:", 5);
	struct packet_mreq promiscuous = { .mr_type = PACKET_MR_PROMISC };
	pfring *ring;

	if (getenv("STUB_NO_MODULE") && !receive_only) {
		errno = EAFNOSUPPORT;
		return NULL;
	}
	index = if_nametoindex(device + (receive_only ? 5 : 0));
	ring = index && (flags & 1 << 3) ? calloc(1, sizeof(*ring)) : NULL;
	if (!ring)
		return NULL;
	ring->index = promiscuous.mr_ifindex = index;
	ring->receive_only = receive_only;
	ring->caplen = caplen < ROOM ? caplen : ROOM;
	ring->fd = socket(AF_PACKET, SOCK_RAW, 0);
	setsockopt(ring->fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one));
	setsockopt(ring->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	setsockopt(ring->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous));
	setsockopt(ring->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (ring->fd >= 0)
		return ring;
	free(ring);
	return NULL;
}

/* Nothing is heard before. */
int pfring_enable_ring(pfring *ring)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = ring->index };

	ring->enabled = !bind(ring->fd, (struct sockaddr *)&address, sizeof(address));
	return ring->enabled ? 0 : -1;
}

/* One-copy mode: it may answer 0 although a frame is there, which only caplen shows. */
int pfring_recv(pfring *ring, unsigned char **buffer, unsigned int buffer_len, struct pfring_pkthdr *header, uint8_t wait)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec part = { ring->frame + 4, ROOM };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct tpacket_auxdata aux = { 0 };
	unsigned char *frame = ring->frame + 4;
	ssize_t length;

	if (!ring->enabled)
		return -12;
	if (buffer_len)
		return -2;
	length = recvmsg(ring->fd, &message, (wait ? 0 : MSG_DONTWAIT) | MSG_TRUNC);
	if (length <= 0)
		return 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA)
			memcpy(&aux, CMSG_DATA(c), sizeof(aux));
	if (aux.tp_status & TP_STATUS_VLAN_VALID) {
		uint16_t tag[2] = { htons(aux.tp_vlan_tpid), htons(aux.tp_vlan_tci) };

		frame -= 4;
		memmove(frame, frame + 4, 12);
		memcpy(frame + 12, tag, 4);
		length += 4;
	}
	header->len = length;
	header->caplen = length < ring->caplen ? length : ring->caplen;
	*buffer = frame;
	return ++ring->received % 2;
}

int pfring_send(pfring *ring, char *frame, unsigned int length, uint8_t flush)
{
	(void)flush;
	if (ring->receive_only)
		return -7;
	if (!length)
		return -2;
	return send(ring->fd, frame, length, 0) < 0 ? -1 : (int)length;
}

int pfring_stats(pfring *ring, pfring_stat *stats)
{
	*stats = (pfring_stat){ .recv = ring->received };
	return 0;
}

int pfring_set_direction(pfring *ring, int direction)
{
	ring->direction = direction;
	return 0;
}

int pfring_set_socket_mode(pfring *ring, int mode) { return (void)ring, (void)mode, 0; }
int pfring_set_application_name(pfring *ring, char *name) { return (void)ring, (void)name, 0; }
int pfring_version(pfring *ring, uint32_t *version) { return (void)ring, *version = 0x080900, 0; }
int pfring_get_selectable_fd(pfring *ring) { return ring->fd; }
void pfring_breakloop(pfring *ring) { (void)ring; }

void pfring_close(pfring *ring)
{
	close(ring->fd);
	free(ring);
}
