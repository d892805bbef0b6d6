/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../abi/packet.h"
#include "../lib/kernel.h"

/*
 * Executable -> enum scope_verdict. Written by the daemon when it first sees a process of the file,
 * read per call of a TLS library.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct scope_executable);
	__type(value, __u32);
} scope_executables SEC(".maps");
