/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

/*
 * Bits of enum scope_list: which lists hold anything. Written by the daemon when the scope
 * changes, read per packet; 0 skips all other work.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} scope_state SEC(".maps");
