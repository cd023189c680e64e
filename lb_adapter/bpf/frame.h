/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a tc program reads of a frame: its key and class, its outermost tag, and the time at which it came. */
#ifndef CATENARY_BPF_FRAME_H
#define CATENARY_BPF_FRAME_H

struct frame;
struct source {
	struct __sk_buff *skb;
};
/* The common case in place, all else by a function that the verifier checks once. */
#define PARSE_IP(source, offset, v6, quoted, f)                                                                   \
	((v6) || (quoted) ? parse_ip_at((source)->skb, f, offset, (v6) | (quoted) << 1) :                         \
			    parse_ip((void *)(long)(source)->skb->data + (offset), (void *)(long)(source)->skb->data_end, \
				     (source)->skb->len - (offset), 0, 0, f))
int parse_ip_at(struct __sk_buff *skb, struct frame *f, __u32 offset, __u32 how);

#include "parse.h"

#define MAX_OFFSET 400 /* of an IP header: link layer, and all before a quoted packet */
#define HEADERS 544 /* bytes made linear when what is linear does not hold all headers */

/*
 * Global, so that the verifier checks it once and on its own. It finds the packet again from the skb: a global
 * function takes no packet pointers.
 */
__noinline int parse_ip_at(struct __sk_buff *skb, struct frame *f, __u32 offset, __u32 how)
{
	const __u8 *data = (void *)(long)skb->data;

	if (!f || offset > MAX_OFFSET)
		return FRAME_BAD;
	return parse_ip(data + offset, (void *)(long)skb->data_end, skb->len - offset, how & 1, how & 2, f);
}

/* Parse the frame as it is now, the outermost tag possibly beside it in the skb. */
INLINE int parse_linear(struct __sk_buff *skb, struct frame *f)
{
	struct source source = { skb };

	return parse_frame(&source, (void *)(long)skb->data, (void *)(long)skb->data_end,
			   skb->vlan_present ? (skb->vlan_tci & 0x0fff) | TAG_BESIDE : 0, f);
}

/*
 * A GSO frame is linear just to the end of its usual headers, and making it more so costs as much as all the
 * rest: so parse what is there first. In a loop, which has the code once and no function's stack.
 */
INLINE int parse_skb(struct __sk_buff *skb, struct frame *f)
{
	int class;

	_Pragma("clang loop unroll(disable)")
	for (int pulled = 0;; pulled = 1) {
		class = parse_linear(skb, f);
		if (class != FRAME_BAD || pulled || skb->data_end - skb->data >= skb->len)
			return class;
		bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	}
}

/* The VLAN ID of the outermost tag, 0 if there is none. */
INLINE __u32 outermost_tag(struct __sk_buff *skb)
{
	__u8 head[16];

	if (skb->vlan_present)
		return skb->vlan_tci & 0x0fff;
	/* In line only in a test run: the kernel moves a tag beside the frame before tc sees it. */
	if (bpf_skb_load_bytes(skb, 0, head, 16) || load16(head + 12) != ETHERTYPE_VLAN)
		return 0;
	return load16(head + 14) & 0x0fff;
}

extern unsigned int CONFIG_HZ __kconfig __weak; /* 0: this kernel does not tell (catenary/libbpf.py) */

/*
 * Monotonic ms, in steps of a tick (1 to 10 ms), which timeouts of seconds never see. Reading jiffies is one load,
 * while every clock is a call. The verifier knows CONFIG_HZ and drops all other branches; at a rate that has no whole
 * ms a tick, or is not told, there is the clock.
 */
INLINE __u32 now_ms(void)
{
	switch (CONFIG_HZ) {
	case 1000:
		return bpf_jiffies64();
	case 250:
		return bpf_jiffies64() * 4;
	case 100:
		return bpf_jiffies64() * 10;
	}
	return bpf_ktime_get_ns() / 1000000;
}

#endif
