/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../abi/packet.h"
#include "../lib/kernel.h"

/*
 * Sockets whose packets are the daemon's own (enum own_mark). Written by the programs that see
 * sockets being made, and by the daemon for listeners that it inherited; read per packet. Kept in
 * the socket, so it needs no size and ends with it; cloned, so that accepted children have it
 * from their first packet.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u32);
} own_sockets SEC(".maps");
