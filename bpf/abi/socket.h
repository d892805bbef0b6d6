/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What socket.bpf.c and the daemon exchange. The Rust side takes field types and
 * offsets from the types that the build generates out of this header.
 */
#pragma once

#include "scalar.h"

#define SOCKET_COMM_BYTES 16
#define SOCKET_PATH_BYTES 256

/* The first field of every event. */
enum socket_event_kind {
	SOCKET_OWNER = 1,
	SOCKET_STATE = 2,
	SOCKET_DESTROYED = 3,
	SOCKET_EXEC = 4,
	SOCKET_EXIT = 5,
};

/* Weakest first: a later event is sent only when it is stronger. */
enum socket_evidence {
	EVIDENCE_CREATE = 1,
	EVIDENCE_FILE_TABLE = 2,
	EVIDENCE_CONNECT = 3,
	EVIDENCE_ACCEPT = 4,
	EVIDENCE_DATA = 5,
};

struct socket_owner_event {
	__u32 kind;
	__u32 evidence;
	__u64 ktime;		/* CLOCK_MONOTONIC, ns */
	__u64 cookie;
	__u64 started;		/* start of the process, ns since boot */
	__u64 cgroup_id;	/* cgroup v2 */
	__u32 tgid;
	__u32 ppid;
	__u32 uid;
	__u32 netns;		/* inode number */
	__u8 comm[SOCKET_COMM_BYTES];
};

_Static_assert(sizeof(struct socket_owner_event) == 72, "socket_owner_event has no padding");

struct socket_state_event {
	__u32 kind;
	__u32 state;		/* TCP_* of the kernel */
	__u64 ktime;
	__u64 cookie;
	__u32 netns;
	__u16 family;
	__u16 local_port;	/* host byte order */
	__u16 remote_port;
	__u16 reserved[3];
	__u8 local_ip[16];	/* AF_INET: the first four bytes */
	__u8 remote_ip[16];
};

_Static_assert(sizeof(struct socket_state_event) == 72, "socket_state_event has no padding");

struct socket_destroyed_event {
	__u32 kind;
	__u32 reserved;
	__u64 ktime;
	__u64 cookie;
};

_Static_assert(sizeof(struct socket_destroyed_event) == 24, "socket_destroyed_event has no padding");

struct socket_exec_event {
	__u32 kind;
	__u32 tgid;
	__u64 ktime;
	__u64 started;
	__u64 cgroup_id;
	__u32 ppid;
	__u32 uid;
	__u8 comm[SOCKET_COMM_BYTES];
	__u8 path[SOCKET_PATH_BYTES];	/* NUL-terminated, cut at this size */
};

_Static_assert(sizeof(struct socket_exec_event) == 312, "socket_exec_event has no padding");

struct socket_exit_event {
	__u32 kind;
	__u32 tgid;
	__u64 ktime;
	__u64 started;
};

_Static_assert(sizeof(struct socket_exit_event) == 24, "socket_exit_event has no padding");

enum socket_counter {
	SOCKET_EVENTS,		/* handed over */
	SOCKET_RING_FULL,
	NR_SOCKET_COUNTERS,
};

struct socket_counters {
	__u64 count[NR_SOCKET_COUNTERS];
};

_Static_assert(sizeof(struct socket_counters) == 16, "one u64 per counter");
