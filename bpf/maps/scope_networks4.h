/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../abi/packet.h"
#include "../lib/kernel.h"

/*
 * IPv4 network -> enum scope_verdict; the longest prefix decides. Written by the daemon, read per
 * packet. The size is the documented limit of a scope.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct scope_network4);
	__type(value, __u32);
} scope_networks4 SEC(".maps");
