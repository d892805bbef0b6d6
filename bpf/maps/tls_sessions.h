/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

struct tls_session_key {
	__u64 handle;
	__u32 tgid;
	__u32 reserved;
};

struct tls_session {
	__u64 started;		/* of the process: pids come again */
	__u64 generation;
	__u64 cookie;
	__u64 written;
	__u64 read;
	__u32 evidence;
	__u32 confidence;	/* how often the evidence was confirmed, bounded */
	__u32 flags;		/* TLS_FROM_START */
	__u32 family;
	__u32 is_established;	/* its handshake was seen to succeed (Go) */
	__u32 reserved;
};

/*
 * TLS connections as their libraries know them. LRU: a forgotten session starts again with a new
 * generation, without its beginning. Room for the 10,000 connections that one host is expected to
 * serve, at both ends, three times.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tls_session_key);
	__type(value, struct tls_session);
} tls_sessions SEC(".maps");
