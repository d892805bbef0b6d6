/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include "../lib/kernel.h"

struct socket_user {
	__u32 tgid;
};

/*
 * The process that moved data through a socket last. Written and read by the tracing programs in
 * socket.bpf.c, at every read and write: kept in the socket, it costs a fifth of the lookup in
 * socket_owners, which it spares.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_user);
} socket_users SEC(".maps");
