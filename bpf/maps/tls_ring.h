/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

/*
 * Plaintext and what is known of its sessions. Written by the programs in tls.bpf.c, read by the
 * packet thread. Apart from packets, so that neither hides the other. The size is the configured
 * one, set before loading.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} tls_ring SEC(".maps");
