/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What tls.bpf.c and the daemon exchange. The Rust side takes field types and
 * offsets from the types that the build generates out of this header.
 */
#pragma once

#include "scalar.h"

/* Bytes of the largest chunk; longer messages take several. */
#define TLS_CHUNK_BYTES 131072
/* Most chunks of one message, whatever the configured budget: verifiers walk every turn of the loop. */
#define TLS_MAX_CHUNKS 16

enum tls_event_kind {
	TLS_DATA = 1,
	TLS_BOUND = 2,
	TLS_CLOSED = 3,
	TLS_SECRET = 4,
};

/* Whose functions were hooked. What shares an interface shares a family. */
enum tls_family {
	TLS_OPENSSL = 1,
	TLS_GNUTLS = 2,
	TLS_NSPR = 3,
	TLS_GO = 4,
	TLS_RUSTLS = 5,
};

/* Weakest first. */
enum tls_evidence {
	TLS_NO_EVIDENCE = 0,
	TLS_NEARBY_TRANSFER = 1,
	TLS_DESCRIPTOR = 2,
	TLS_IN_CALL = 3,
};

enum tls_flag {
	TLS_WRITTEN = 1,	/* else read */
	TLS_FROM_START = 2,
};

/* Heads every event; the bytes of TLS_DATA follow. */
struct tls_event {
	__u32 kind;
	__u32 family;
	__u64 ktime;		/* CLOCK_MONOTONIC, ns */
	__u64 handle;		/* address of the library's connection object */
	__u64 generation;	/* differs between sessions that had the same address */
	__u64 started;		/* start of the process, ns since boot */
	__u64 cookie;		/* 0: not known */
	__u64 offset;		/* of the first byte in its direction */
	__u32 tgid;
	__u32 evidence;
	__u32 flags;
	__u32 cap_len;
};

_Static_assert(sizeof(struct tls_event) == 72, "tls_event has no padding");

/* Most bytes of a secret's name, its end included, and of a secret. */
#define TLS_LABEL_BYTES 40
#define TLS_SECRET_BYTES 64

/* Key material, only if it was asked for; cap_len is the length of the secret. */
struct tls_secret {
	struct tls_event head;
	__u8 label[TLS_LABEL_BYTES];	/* ends with a zero */
	__u8 client_random[32];
	__u8 secret[TLS_SECRET_BYTES];
};

_Static_assert(sizeof(struct tls_secret) == 208, "tls_secret has no padding");

enum tls_counter {
	TLS_CALLS,		/* calls that moved plaintext */
	TLS_BYTES,		/* bytes of plaintext that they moved */
	TLS_CHUNKS,		/* chunks handed over */
	TLS_RING_FULL,		/* events and chunks lost: the ring was full */
	TLS_UNREADABLE,		/* chunks lost: the memory was not there */
	TLS_OVER_BUDGET,	/* bytes beyond the budget of a message */
	TLS_DISAGREED,		/* evidence that contradicted what a session was bound by */
	NR_TLS_COUNTERS,
};

struct tls_counters {
	__u64 count[NR_TLS_COUNTERS];
};

_Static_assert(sizeof(struct tls_counters) == 56, "one u64 per counter");
