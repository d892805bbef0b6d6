/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

/*
 * Ports of the daemon's TCP listeners. Written and read while own_existing runs, once. The size is
 * far above the number of addresses that one daemon serves.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u16);
	__type(value, __u32);
} own_ports SEC(".maps");
