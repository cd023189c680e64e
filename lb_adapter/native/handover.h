/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Descriptors from one process to another, over a SOCK_SEQPACKET socket with a word beside them. */
#ifndef CATENARY_HANDOVER_H
#define CATENARY_HANDOVER_H

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define MAX_HANDED 129  /* a listener, and the wires of both ports for 64 threads; the kernel takes 253 */
#define WORD 16

static inline int hand_over(int link, const char *word, const int *fds, int count)
{
	char control[CMSG_SPACE(MAX_HANDED * sizeof(int))] = { 0 };
	struct iovec part = { (char *)word, strlen(word) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	return sendmsg(link, &message, MSG_NOSIGNAL);
}

/* How many descriptors came; 0 if none did, whatever was said. */
static inline int take_over(int link, int *fds)
{
	char control[CMSG_SPACE(MAX_HANDED * sizeof(int))], word[WORD];
	struct iovec part = { word, sizeof(word) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int count;

	if (recvmsg(link, &message, MSG_CMSG_CLOEXEC) <= 0)
		return 0;
	c = CMSG_FIRSTHDR(&message);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), count * sizeof(int));
	return count;
}

/*
 * Has the other side said `word` within `seconds`? After a no it can't say it any more: its socket is shut, and what
 * it had said before was read. So both sides always know who has what was handed over.
 */
static inline int heard(int link, const char *word, int seconds)
{
	struct timeval patience = { seconds, 0 };
	char said[WORD] = { 0 };

	setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (recv(link, said, sizeof(said) - 1, 0) <= 0) {
		shutdown(link, SHUT_RDWR);
		recv(link, said, sizeof(said) - 1, MSG_DONTWAIT);
	}
	return !strcmp(said, word);
}

#endif
