/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

/* A call of a TLS library's function that has not returned. */
struct tls_call {
	__u64 handle;
	__u64 buffer;
	__u64 stored_at;	/* where the library stores the length, if it does */
	__u64 sp;
	__u64 cookie;		/* of the socket that the thread used inside the call */
	__u32 how;		/* enum tls_how */
	__u32 is_active;
};

struct tls_thread {
	struct tls_call call;
	__u64 received_from;	/* cookie of the last socket read outside of calls */
	__u64 unsent;		/* handle written to by a call that sent nothing itself */
	__u64 opening;		/* where a session's handle will be stored */
	__u32 unsent_is_ambiguous;
	__u32 nested;		/* calls seen inside the active one */
};

/*
 * Thread (pid_tgid) -> what it does with TLS. Only threads that called a TLS library are here, so
 * that the hooks at sockets cost others one failed lookup. LRU: a forgotten thread loses at most
 * the call that it is in.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct tls_thread);
} tls_threads SEC(".maps");

struct tls_goroutine {
	__u64 g;
	__u32 tgid;
	__u32 reserved;
};

/* Goroutine -> its call: goroutines change threads while they wait. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tls_goroutine);
	__type(value, struct tls_call);
} tls_goroutines SEC(".maps");
