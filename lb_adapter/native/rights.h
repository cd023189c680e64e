/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Capabilities are given up for good (capabilities(7)): whoever carries packets over open sockets needs none. */
#ifndef CATENARY_RIGHTS_H
#define CATENARY_RIGHTS_H

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel knows these rights by thread: to be called before there are others. */
static inline int give_up_rights(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0, 0, 0 } };

	/* Without CAP_SETPCAP the bound stays, and the next line keeps programs from getting more. */
	for (int number = 0; !prctl(PR_CAPBSET_DROP, number, 0, 0, 0); number++)
		;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_capset, &header, none);
}

#endif
