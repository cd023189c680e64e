// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The data plane's own program, made repeatable for a test run: before each repetition the tag that the last one
 * pushed is popped again, and the frame's source address is set to the next of `span` addresses. What is
 * measured is therefore the whole of `outer` plus a pop and a store.
 */
#include "../../../lb_adapter/bpf/splice.bpf.c"

struct knobs {
	__u32 span;
	__u32 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct knobs);
} knobs SEC(".maps");

SEC("tc")
int repeat_outer(struct __sk_buff *skb)
{
	struct env e = { .now = now_ms(), .no_slot = drop_no_chain };
	__u32 zero = 0;
	struct knobs *k = bpf_map_lookup_elem(&knobs, &zero);
	struct verdict v;
	struct frame f;
	__u8 *data;
	int class;

	if (skb->vlan_present)
		bpf_skb_vlan_pop(skb);
	data = (void *)(long)skb->data;
	e.c = bpf_map_lookup_elem(&config, &zero);
	if (!k || !e.c || data + 34 > (__u8 *)(long)skb->data_end)
		return TC_ACT_SHOT;
	*(__u32 *)(data + 26) = bpf_htonl(0x0a000000 + k->next);
	k->next = k->next + 1 < k->span ? k->next + 1 : 0;
	class = parse_skb(skb, &f);
	v = decide_outer(&e, &f, class, 0);
	return emit(skb, &e, &v, f.upper, 0);
}
