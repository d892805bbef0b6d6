/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

struct socket_owner_key {
	__u64 cookie;
	__u32 tgid;
	__u32 reserved;
};

/*
 * (socket, process) -> strongest enum socket_evidence sent. Written and read by the programs in
 * socket.bpf.c, to send each fact once and not at every read and write. LRU: a forgotten pair
 * costs one repeated event. 65,536 pairs cover the 10,000 connections that one host is expected
 * to serve, at both ends and with several processes each.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct socket_owner_key);
	__type(value, __u32);
} socket_owners SEC(".maps");
