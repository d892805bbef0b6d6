/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Go: calls belong to goroutines. */
#pragma once

/*
 * Go: *tls.Conn begins with the net.Conn that it runs on, which is most often a *net.TCPConn, whose
 * *netFD has the descriptor at 16. What wraps a net.Conn most often begins with it, too.
 */
static __noinline __u64 cookie_of_conn(__u64 conn)
{
	for (int wrapped = 0; wrapped < 3; wrapped++) {
		__u64 data = 0, net_fd = 0, cookie;
		__u32 fd = 0;

		if (bpf_probe_read_user(&data, sizeof(data), (void *)conn + 8) || !data)
			return 0;
		if (!bpf_probe_read_user(&net_fd, sizeof(net_fd), (void *)data) && net_fd &&
		    !bpf_probe_read_user(&fd, sizeof(fd), (void *)net_fd + 16)) {
			cookie = cookie_of_descriptor(fd);
			if (cookie)
				return cookie;
		}
		conn = data;
	}
	return 0;
}

static __always_inline struct tls_goroutine goroutine_of(struct pt_regs *ctx)
{
	struct tls_goroutine key = {
		.g = GO_GOROUTINE(ctx),
		.tgid = bpf_get_current_pid_tgid() >> 32,
	};

	return key;
}

static __always_inline struct tls_call go_call(struct pt_regs *ctx, __u32 how)
{
	struct tls_call call = {
		.handle = GO_ARG1(ctx),
		.buffer = GO_ARG2(ctx),
		.how = TLS_GO | how,
		.is_active = 1,
	};

	return call;
}

static __always_inline void go_take(const struct tls_call *call, struct tls_session *session,
				    const struct tls_session_key *key, __u64 total)
{
	if (!session->cookie)
		bind(session, key, cookie_of_conn(call->handle), TLS_DESCRIPTOR);
	take_message(call, session, key, total);
}

/* (*Conn, buffer, length, capacity), before and after the stack grew */
SEC("uprobe")
int go_read(struct pt_regs *ctx)
{
	struct tls_goroutine goroutine = goroutine_of(ctx);
	struct tls_call call = go_call(ctx, HOW_LONG);

	if (is_wanted())
		bpf_map_update_elem(&tls_goroutines, &goroutine, &call, BPF_ANY);
	return 0;
}

/*
 * As go_read. What is written is handed over now: one goroutine writes while another reads, which
 * may have read the answer before the call returns. A call writes everything or ends the
 * connection; only the one that still has to shake hands may send nothing.
 */
SEC("uprobe")
int go_write(struct pt_regs *ctx)
{
	struct tls_goroutine goroutine = goroutine_of(ctx);
	struct tls_call *found = bpf_map_lookup_elem(&tls_goroutines, &goroutine);
	struct tls_call call = go_call(ctx, HOW_LONG | HOW_WRITES);
	struct tls_session_key key = session_key(call.handle);
	struct tls_session *session;
	long total = GO_ARG3(ctx);

	if (!is_wanted())
		return 0;
	if (found && found->handle == call.handle && found->buffer == call.buffer &&
	    found->how & HOW_HANDED)
		return 0;
	session = session_of(&key, TLS_GO, 0);
	if (session && total > 0 &&
	    (!(session->flags & TLS_FROM_START) || session->is_established)) {
		call.how |= HOW_HANDED;
		go_take(&call, session, &key, total);
	}
	bpf_map_update_elem(&tls_goroutines, &goroutine, &call, BPF_ANY);
	return 0;
}

/* At a RET: (length, error) */
SEC("uprobe")
int go_leave(struct pt_regs *ctx)
{
	struct tls_goroutine goroutine = goroutine_of(ctx);
	struct tls_call *found = bpf_map_lookup_elem(&tls_goroutines, &goroutine);
	struct tls_session_key key;
	struct tls_session *session;
	struct tls_call call;
	__u64 total;

	if (!found)
		return 0;
	call = *found;
	bpf_map_delete_elem(&tls_goroutines, &goroutine);
	total = length_of(&call, GO_ARG1(ctx));
	if (!total || call.how & HOW_HANDED)
		return 0;
	key = session_key(call.handle);
	session = session_of(&key, TLS_GO, 0);
	if (session)
		go_take(&call, session, &key, total);
	return 0;
}

/* (*Conn, ...) of a handshake, which may be inside of a read or a write */
SEC("uprobe")
int go_opened(struct pt_regs *ctx)
{
	struct tls_goroutine goroutine = goroutine_of(ctx);
	struct tls_call call = go_call(ctx, HOW_SHAKES);

	open_session(call.handle, TLS_GO);
	bpf_map_update_elem(&tls_goroutines, &goroutine, &call, BPF_NOEXIST);
	return 0;
}

/* At a RET of a handshake: (error) */
SEC("uprobe")
int go_established(struct pt_regs *ctx)
{
	struct tls_goroutine goroutine = goroutine_of(ctx);
	struct tls_call *call = bpf_map_lookup_elem(&tls_goroutines, &goroutine);
	struct tls_session *session;
	struct tls_session_key key;

	if (!call)
		return 0;
	key = session_key(call->handle);
	if (call->how & HOW_SHAKES)
		bpf_map_delete_elem(&tls_goroutines, &goroutine);
	session = bpf_map_lookup_elem(&tls_sessions, &key);
	if (session && !GO_ARG1(ctx))
		session->is_established = 1;
	return 0;
}

/* (*Conn) */
SEC("uprobe")
int go_close(struct pt_regs *ctx)
{
	close_session(GO_ARG1(ctx));
	return 0;
}
