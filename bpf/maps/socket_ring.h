/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

/*
 * Socket and process events. Written by the programs in socket.bpf.c, read by the socket thread.
 * Apart from packets, so that a flood of data never hides who owns it. The size is the configured
 * one, set before loading.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} socket_ring SEC(".maps");
