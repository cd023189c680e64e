/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * libFuzzer's door to the C core: parse, coarsen and decide on any bytes, under AddressSanitizer and
 * UndefinedBehaviorSanitizer. Run by tests/fuzz/test_fuzz.py, which says how it is compiled.
 *
 * The first byte of an input chooses: bits 0-1 affinity, 2 direction, 3 a tag beside the frame, 4 role, 5 inner
 * port. The frame follows; with a tag beside it its ID is in the two bytes before that.
 */
#include "check.c"

#define LIMIT 64
#define SENT_AT_MOST 12 /* bytes that tags may add */

static struct check *made(__u32 role)
{
	struct check *check = check_new(LIMIT);

	check->config.miss = role;
	check->config.policy = POLICY_P2C;
	check->config.outers = role == MISS_PLACE ? 3 : 1;
	check->config.ask_vid = 4094;
	check->config.lease_ms = 10000;
	check->config.transit_ms = 2000;
	for (int i = 0; i < PIN_STATES; i++)
		check->config.tau_ms[i] = 10000;
	for (__u16 i = 0; i < 4; i++) {
		__u16 tx = 2 + 2 * i, rx = 3 + 2 * i;

		check->slots[i] = (struct slot){ 0, tx, rx, 1, (__u16)(i ? i : SLOT_ACTIVE), 100, 100, 0 };
		check->vids[rx] = (struct vid){ VID_CHAIN, i };
		check->vids[tx] = (struct vid){ role == MISS_PLACE ? VID_HINT : VID_ANSWER, i };
	}
	check->vids[4094].kind = role == MISS_PLACE ? VID_ASK : VID_OWN;
	for (int i = 0; i < TABLE_SIZE; i++)
		check->table.entries[i] = i % 2;
	return check;
}

static void must(int truth)
{
	if (!truth)
		__builtin_trap();
}

/* What parse says of a frame, wherever its outermost tag lies. */
static void same_beside(const __u8 *frame, __u32 length, struct frame *f, int class, __u32 affinity, int forward)
{
	struct frame other;
	__u16 vid;
	__u8 *bare;

	if (length < 18 || (load16(frame + 12) != ETHERTYPE_VLAN && load16(frame + 12) != ETHERTYPE_QINQ))
		return;
	vid = load16(frame + 14) & 0x0fff;
	bare = malloc(length - 4);
	memcpy(bare, frame, 12);
	memcpy(bare + 12, frame + 16, length - 16);
	must(check_parse(bare, length - 4, vid | TAG_BESIDE, affinity, forward, &other) == class);
	if (class == FRAME_SESSION || class == FRAME_ERROR)
		must(!memcmp(&other.key, &f->key, sizeof(f->key)));
	free(bare);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	static struct check *checks[2];
	static __u32 now;
	struct verdict verdict;
	struct frame f;
	__u8 choice, *frame;
	__u16 beside = 0;
	__u32 affinity, sent, length;
	int class, forward;

	if (size < 3)
		return 0;
	choice = *data++;
	size--;
	if (choice & 8) {
		beside = (load16(data) & 0x0fff) | TAG_BESIDE;
		data += 2;
		size -= 2;
	}
	affinity = (choice & 3) % 3;
	forward = choice >> 2 & 1;
	length = size;

	/* No byte more than the frame has, so that each one read beyond it is found. */
	frame = malloc(length ? length : 1);
	memcpy(frame, data, length);
	class = check_parse(frame, length, beside, affinity, forward, &f);
	must(class >= FRAME_SESSION && class <= FRAME_PROBE);
	must(class != FRAME_BAD || (f.reason > 0 && f.reason < REASONS));
	if (class == FRAME_SESSION || class == FRAME_ERROR)
		must(f.key.kind == KIND_CLIENT || !out_of_order(&f.key));
	if (!beside)
		same_beside(frame, length, &f, class, affinity, forward);
	free(frame);

	for (int i = 0; i < 2; i++)
		if (!checks[i])
			checks[i] = made(i);
	frame = malloc(length + SENT_AT_MOST);
	memcpy(frame, data, length);
	checks[choice >> 4 & 1]->config.affinity = affinity;
	now += choice;
	sent = check_frame(checks[choice >> 4 & 1], choice >> 5 & 1, -1, frame, length, beside, now, &verdict);
	must(verdict.port <= PORT_INNER && verdict.reason < REASONS);
	must((verdict.port == PORT_NONE) == (sent == 0));
	must(sent <= length + 8);
	free(frame);
	if (now % 1024 == 0)
		check_walk(checks[0], now);
	return 0;
}
