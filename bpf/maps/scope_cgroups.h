/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

/*
 * cgroup v2 id -> enum scope_verdict. Written by the daemon, read per packet for the socket's
 * cgroup and its ancestors. The size is the documented limit of a scope.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} scope_cgroups SEC(".maps");
