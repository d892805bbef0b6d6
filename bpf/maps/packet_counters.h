/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../abi/packet.h"
#include "../lib/kernel.h"

/*
 * Fate of every packet. Written by the cgroup_skb programs, read by the daemon on request.
 * Per CPU, so that counting never waits; one value with all counters, so that a packet costs
 * one lookup.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet_counters);
} packet_counters SEC(".maps");
