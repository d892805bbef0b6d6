/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../abi/tls.h"
#include "../lib/kernel.h"

/*
 * Calls, bytes and losses. Written by the programs in tls.bpf.c, read by the daemon on request.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tls_counters);
} tls_counters SEC(".maps");
