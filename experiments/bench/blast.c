/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sender of UDP frames of one size, as fast as one core can hand them to an interface or at a rate.
 *
 *   blast IF SRC_MAC DST_MAC SRC_IP DST_IP BYTES SESSIONS RATE SECONDS [syn]
 *
 * BYTES is the whole frame with its 4 of checksum, as Ethernet counts. Frame i belongs to session i modulo SESSIONS:
 * each has a source port of its own, and from 50,000 sessions on further source addresses above SRC_IP. RATE is frames
 * a second; 0 is without a limit. At its end it prints the number of frames that it sent.
 *
 * With `syn` they are TCP SYNs to port 9, each from an address above SRC_IP and a port drawn at random: a flood of SESSIONS
 * addresses times 64,512 ports. Their TCP checksum is not set: nobody answers them.
 *
 * A packet socket with PACKET_QDISC_BYPASS and sendmmsg: the sender's own cost is small, and the same for all.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define PORTS 50000
#define FIRST_PORT 10000
#define MAX_FRAME 2048

struct head {
	struct ether_header ether;
	struct iphdr ip;
	union {
		struct udphdr udp;
		struct tcphdr tcp;
	};
} __attribute__((packed));

static unsigned char frames[BATCH][MAX_FRAME];

static void fail(const char *what)
{
	fprintf(stderr, "blast: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void parse_mac(const char *text, unsigned char *mac)
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
		errno = EINVAL;
		fail(text);
	}
}

/* The IP header's checksum; nothing else of a frame changes it but the source address. */
static unsigned short checksum(const void *header)
{
	const unsigned short *words = header;
	unsigned sum = 0;

	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

static void set_session(struct head *head, unsigned source, unsigned long session)
{
	head->udp.source = htons(FIRST_PORT + session % PORTS);
	head->ip.saddr = htonl(source + session / PORTS);
	head->ip.check = 0;
	head->ip.check = checksum(&head->ip);
}

/* xorshift64*: (Vigna 2016). Frames need numbers that don't repeat, not secrets. */
static unsigned long long draw(void)
{
	static unsigned long long state;

	if (!state)
		state = 0x9e3779b97f4a7c15 * getpid(); /* two that run at once differ */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1d;
}

static void set_syn(struct head *head, unsigned source, unsigned long addresses)
{
	unsigned long long drawn = draw();

	head->tcp.source = htons(1024 + (drawn & 0xffff) % 64512);
	head->tcp.seq = drawn >> 32;
	head->ip.saddr = htonl(source + (drawn >> 16) % addresses);
	head->ip.check = 0;
	head->ip.check = checksum(&head->ip);
}

static int open_socket(const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(name) };
	int one = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || !at.sll_ifindex || bind(fd, (void *)&at, sizeof(at)))
		fail(name);
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)))
		fail("PACKET_QDISC_BYPASS");
	return fd;
}

int main(int argc, char **argv)
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	unsigned long sent = 0, sessions;
	double begun, rate, seconds;
	unsigned source;
	struct head first;
	int fd, bytes, syn = argc == 11 && !strcmp(argv[10], "syn");

	if (argc != 10 && !syn) {
		fprintf(stderr, "usage: blast IF SRC_MAC DST_MAC SRC_IP DST_IP BYTES SESSIONS RATE SECONDS [syn]\n");
		return 2;
	}
	fd = open_socket(argv[1]);
	memset(&first, 0, sizeof(first));
	parse_mac(argv[2], first.ether.ether_shost);
	parse_mac(argv[3], first.ether.ether_dhost);
	bytes = atoi(argv[6]) - 4;
	if (bytes < (int)sizeof(first) || bytes > MAX_FRAME) {
		fprintf(stderr, "blast: frames of %d bytes: use %zu..%d\n", bytes + 4, sizeof(first) + 4, MAX_FRAME + 4);
		return 2;
	}
	first.ether.ether_type = htons(ETHERTYPE_IP);
	first.ip.version = 4;
	first.ip.ihl = 5;
	first.ip.tot_len = htons(bytes - sizeof(first.ether));
	first.ip.ttl = 64;
	first.ip.protocol = syn ? IPPROTO_TCP : IPPROTO_UDP;
	source = ntohl(inet_addr(argv[4]));
	first.ip.daddr = inet_addr(argv[5]);
	if (syn) {
		first.tcp.dest = htons(9);
		first.tcp.doff = 5;
		first.tcp.syn = 1;
		first.tcp.window = htons(64240);
	} else {
		first.udp.dest = htons(9);
		first.udp.len = htons(bytes - sizeof(first.ether) - sizeof(first.ip));
	}
	sessions = strtoul(argv[7], NULL, 10);
	rate = atof(argv[8]);
	seconds = atof(argv[9]);

	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < BATCH; i++) {
		memcpy(frames[i], &first, sizeof(first));
		parts[i] = (struct iovec){ frames[i], bytes };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	begun = now();
	for (double t = begun; t - begun < seconds; t = now()) {
		int count = BATCH, done;

		if (rate > 0) {
			double due = (t - begun) * rate - sent;

			if (due < 1) {
				nanosleep(&(struct timespec){ 0, 50000 }, NULL);
				continue;
			}
			count = due < BATCH ? (int)due : BATCH;
		}
		for (int i = 0; i < count; i++) {
			if (syn)
				set_syn((struct head *)frames[i], source, sessions);
			else
				set_session((struct head *)frames[i], source, (sent + i) % sessions);
		}
		done = sendmmsg(fd, messages, count, 0);
		/* A full device queue is no error of this program: what it takes is what is measured. */
		if (done < 0 && errno != ENOBUFS && errno != EAGAIN)
			fail("sendmmsg");
		sent += done > 0 ? done : 0;
	}
	printf("%lu\n", sent);
	return 0;
}
