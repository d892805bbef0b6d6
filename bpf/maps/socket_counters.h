/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../abi/socket.h"
#include "../lib/kernel.h"

/*
 * Events sent and lost. Written by the programs in socket.bpf.c, read by the daemon on request.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct socket_counters);
} socket_counters SEC(".maps");
