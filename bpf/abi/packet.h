/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What packet.bpf.c and the daemon exchange. The Rust side takes field types and
 * offsets from the types that the build generates out of this header.
 */
#pragma once

#include "scalar.h"

enum packet_hook {
	PACKET_INGRESS = 0,
	PACKET_EGRESS = 1,
};

/* Head of a record in packet_ring; cap_len bytes of the packet follow, from its IP header on. */
struct packet_record {
	__u64 ktime;		/* CLOCK_MONOTONIC, ns */
	__u64 cookie;
	__u32 ifindex;
	__u32 wire_len;
	__u32 cap_len;
	__u16 family;		/* of the socket: AF_INET, AF_INET6 */
	__u16 local_port;	/* host byte order */
	__u16 remote_port;	/* host byte order; 0 at a listener */
	__u8 hook;		/* enum packet_hook */
	__u8 reserved[5];
	__u8 local_ip[16];	/* AF_INET: the first four bytes */
	__u8 remote_ip[16];
};

_Static_assert(sizeof(struct packet_record) == 72, "packet_record has no padding");
_Static_assert(__builtin_offsetof(struct packet_record, family) == 28, "packet_record.family");
_Static_assert(__builtin_offsetof(struct packet_record, local_ip) == 40, "packet_record.local_ip");

/* The largest packet copied whole. GSO super packets on loopback exceed 64 KiB. */
#define PACKET_MAX_BYTES 131072

/*
 * Fate of every packet that a hook saw; each packet counts under exactly one of those
 * between PACKET_CAPTURED and PACKET_EXCLUDED_SCOPE, so that
 * seen = captured + truncated + ring_full + unreadable + not_ip + excluded_own + excluded_scope.
 */
enum packet_counter {
	PACKET_SEEN,
	PACKET_BYTES,		/* bytes of the packets seen, not a fate */
	PACKET_CAPTURED,	/* handed over whole */
	PACKET_TRUNCATED,	/* handed over, cut at PACKET_MAX_BYTES */
	PACKET_RING_FULL,
	PACKET_UNREADABLE,
	PACKET_NOT_IP,
	PACKET_EXCLUDED_OWN,
	PACKET_EXCLUDED_SCOPE,
	NR_PACKET_COUNTERS,
};

struct packet_counters {
	__u64 count[NR_PACKET_COUNTERS];
};

_Static_assert(sizeof(struct packet_counters) == 72, "one u64 per counter");

/* Value in own_sockets. */
enum own_mark {
	OWN_ALWAYS = 1,		/* a socket of the daemon, or a client of it on a loopback address */
	OWN_ON_LOOPBACK = 2,	/* connected to a port of ours: ours if its packets use the loopback device */
};

/* Which scope lists hold anything (scope_state), and what an entry of a list says. */
enum scope_list {
	SCOPE_INCLUDE_CGROUPS = 1,
	SCOPE_INCLUDE_PORTS = 2,
	SCOPE_INCLUDE_NETWORKS = 4,
	SCOPE_EXCLUDE_CGROUPS = 8,
	SCOPE_EXCLUDE_PORTS = 16,
	SCOPE_EXCLUDE_NETWORKS = 32,
	/* Of plaintext only. */
	SCOPE_INCLUDE_USERS = 64,
	SCOPE_INCLUDE_EXECUTABLES = 128,
	SCOPE_EXCLUDE_USERS = 256,
	SCOPE_EXCLUDE_EXECUTABLES = 512,
};

enum scope_verdict {
	SCOPE_INCLUDE = 1,
	SCOPE_EXCLUDE = 2,
};

/* A file as /proc/PID/maps names it. */
struct scope_executable {
	__u64 inode;
	__u32 device;		/* major << 20 | minor */
	__u32 reserved;
};

_Static_assert(sizeof(struct scope_executable) == 16, "scope_executable has no padding");

struct scope_network4 {
	__u32 prefix_len;
	__u8 addr[4];
};

struct scope_network6 {
	__u32 prefix_len;
	__u8 addr[16];
};

_Static_assert(sizeof(struct scope_network4) == 8, "scope_network4 has no padding");
_Static_assert(sizeof(struct scope_network6) == 20, "scope_network6 has no padding");
