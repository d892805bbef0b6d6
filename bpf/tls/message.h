/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Copies what a call moved. */
#pragma once

/* As COPY_CLASS in packet.bpf.c. */
#define COPY_CLASS(SIZE)                                                                  \
	if (len <= (SIZE)) {                                                              \
		struct {                                                                  \
			struct tls_event head;                                            \
			__u8 data[SIZE];                                                  \
		} *entry = bpf_ringbuf_reserve(&tls_ring, sizeof(*entry), 0);             \
		__u32 last = len - 1;                                                     \
		long err = -1;                                                            \
                                                                                          \
		if (!entry)                                                               \
			return TLS_RING_FULL;                                             \
		asm volatile("" : "+r"(last));                                            \
		if (last < (SIZE))                                                        \
			err = bpf_probe_read_user(entry->data, last + 1, (void *)buffer); \
		if (err) {                                                                \
			bpf_ringbuf_discard(entry, BPF_RB_NO_WAKEUP);                     \
			return TLS_UNREADABLE;                                            \
		}                                                                         \
		fill_event(&entry->head, session, key, TLS_DATA);                         \
		entry->head.offset = offset;                                              \
		entry->head.flags |= flags;                                               \
		entry->head.cap_len = len;                                                \
		bpf_ringbuf_submit(entry, wake_flags());                                  \
		return TLS_CHUNKS;                                                        \
	}

/* Longest message that is copied without looking its session up again. */
#define SMALL_MESSAGE 8192

static __always_inline int copy_small(struct tls_session *session, const struct tls_session_key *key,
				      __u64 buffer, __u64 offset, __u32 len, __u32 flags)
{
	COPY_CLASS(128)
	COPY_CLASS(512)
	COPY_CLASS(2048)
	COPY_CLASS(SMALL_MESSAGE)
	return TLS_UNREADABLE;
}

/*
 * Global and with nothing but numbers, so that it is verified once and not per turn of the loop
 * around it.
 */
__noinline int copy_chunk(__u64 handle, __u64 buffer, __u64 offset, __u32 len, __u32 flags)
{
	struct tls_session_key own = session_key(handle), *key = &own;
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, key);

	if (!session)
		return TLS_UNREADABLE;
	COPY_CLASS(128)
	COPY_CLASS(512)
	COPY_CLASS(2048)
	COPY_CLASS(8192)
	COPY_CLASS(16384)
	COPY_CLASS(32768)
	COPY_CLASS(65536)
	COPY_CLASS(TLS_CHUNK_BYTES)
	return TLS_UNREADABLE;
}

static __always_inline bool is_small(__u64 total)
{
	return total <= SMALL_MESSAGE && total <= message_budget;
}

static __always_inline void count_call(__u64 total)
{
	__u32 zero = 0;
	struct tls_counters *counters = bpf_map_lookup_elem(&tls_counters, &zero);

	if (!counters)
		return;
	__sync_fetch_and_add(&counters->count[TLS_CALLS], 1);
	__sync_fetch_and_add(&counters->count[TLS_BYTES], total);
	/* Is taken back if it is lost. */
	if (is_small(total))
		__sync_fetch_and_add(&counters->count[TLS_CHUNKS], 1);
}

/* Hands over what a call wrote or read. */
static __always_inline void take_message(const struct tls_call *call, struct tls_session *session,
					 const struct tls_session_key *key, __u64 total)
{
	__u32 flags = call->how & HOW_WRITES ? TLS_WRITTEN : 0;
	__u64 offset = flags ? session->written : session->read;
	__u64 buffer = call->buffer, handle = call->handle, left = total;

	__sync_fetch_and_add(flags ? &session->written : &session->read, total);
	count_call(total);
	if (is_small(total)) {
		__u32 outcome = copy_small(session, key, buffer, offset, total, flags);

		if (outcome != TLS_CHUNKS) {
			count(TLS_CHUNKS, -1);
			count(outcome, 1);
		}
		return;
	}
	if (left > message_budget) {
		count(TLS_OVER_BUDGET, left - message_budget);
		left = message_budget;
	}
	for (int chunk = 0; chunk < TLS_MAX_CHUNKS && left; chunk++) {
		__u32 len = left < TLS_CHUNK_BYTES ? left : TLS_CHUNK_BYTES;

		count(copy_chunk(handle, buffer, offset, len, flags), 1);
		buffer += len;
		offset += len;
		left -= len;
	}
}

/* The length that a call says it moved; 0 if it failed. */
static __always_inline __u64 length_of(const struct tls_call *call, __u64 result)
{
	__u64 stored = 0;
	long n;

	if (call->how & HOW_STORES) {
		if ((int)result != 1 ||
		    bpf_probe_read_user(&stored, sizeof(stored), (void *)call->stored_at))
			return 0;
		return stored;
	}
	n = call->how & HOW_LONG ? (long)result : (int)result;
	return n > 0 ? n : 0;
}
