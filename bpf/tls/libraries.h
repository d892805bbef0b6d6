/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Libraries in C: OpenSSL and its kin, GnuTLS, NSPR. Their calls belong to threads. */
#pragma once

static __noinline int enter(struct pt_regs *ctx, __u32 how)
{
	struct tls_thread *thread;
	__u64 handle = PT_REGS_PARM1(ctx), third = PT_REGS_PARM3(ctx), fourth = PT_REGS_PARM4(ctx);
	__u64 sp = PT_REGS_SP(ctx);
	__u64 fifth = PT_REGS_PARM5(ctx);

	/* One load from a chosen place is what verifiers refuse. */
	asm volatile("" : "+r"(third), "+r"(fourth), "+r"(fifth));
	if (how & HOW_KNOWN) {
		struct tls_session_key key = session_key(handle);

		if (!bpf_map_lookup_elem(&tls_sessions, &key))
			return 0;
	}
	if (!is_wanted())
		return 0;
	thread = thread_of(bpf_get_current_pid_tgid());
	if (!thread)
		return 0;
	/*
	 * A call inside a call is how TLS runs through TLS, or how a library uses itself: the outer
	 * one has what the application says.
	 */
	if (thread->call.is_active && sp < thread->call.sp && handle != thread->call.handle &&
	    thread->nested < MAX_NESTED) {
		thread->nested++;
		return 0;
	}
	if (thread->call.is_active && sp < thread->call.sp && handle == thread->call.handle)
		return 0;
	thread->nested = 0;
	thread->call.handle = handle;
	thread->call.buffer = PT_REGS_PARM2(ctx);
	thread->call.stored_at = how & HOW_GATHERS ? third : how & HOW_FLAGGED ? fifth : fourth;
	thread->call.sp = sp;
	thread->call.cookie = 0;
	thread->call.how = how;
	thread->call.is_active = 1;
	return 0;
}

/* A call of a memory-BIO user did no I/O itself. */
static __always_inline void look_nearby(struct tls_thread *thread, const struct tls_call *call,
					struct tls_session *session, const struct tls_session_key *key)
{
	if (!(call->how & HOW_WRITES)) {
		bind(session, key, thread->received_from, TLS_NEARBY_TRANSFER);
		return;
	}
	if (thread->unsent && thread->unsent != call->handle)
		thread->unsent_is_ambiguous = 1;
	thread->unsent = call->handle;
}

/* Ends the call that the thread is in; gives its session if something is to be taken from it. */
static __always_inline struct tls_session *end_call(struct pt_regs *ctx, struct tls_call *call,
						    struct tls_session_key *key, __u64 *total)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct tls_thread *thread = bpf_map_lookup_elem(&tls_threads, &id);
	struct tls_session *session;

	if (!thread || !thread->call.is_active || PT_REGS_SP(ctx) < thread->call.sp)
		return NULL;
	thread->call.is_active = 0;
	*total = length_of(&thread->call, PT_REGS_RC(ctx));
	if (!*total && !thread->call.cookie)
		return NULL;
	*call = thread->call;
	*key = session_key(call->handle);
	session = session_of(key, call->how & HOW_FAMILY, 0);
	if (!session)
		return NULL;
	if (call->cookie)
		bind(session, key, call->cookie, TLS_IN_CALL);
	else
		look_nearby(thread, call, session, key);
	return *total ? session : NULL;
}

SEC("uprobe")
int tls_leave(struct pt_regs *ctx)
{
	struct tls_session_key key = {};
	struct tls_call call = {};
	struct tls_session *session;
	__u64 total = 0;

	session = end_call(ctx, &call, &key, &total);
	if (session)
		take_message(&call, session, &key, total);
	return 0;
}

/*
 * A piece of a gathering write; gives its length, at most `left`. Global as copy_chunk is.
 */
__noinline int take_piece(__u64 handle, __u64 at, __u32 how, __u32 left)
{
	struct tls_session_key key = session_key(handle);
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, &key);
	struct tls_call part = { .handle = handle, .how = how };
	struct {
		__u64 base;
		__u32 len, reserved;
	} piece;

	if (!session || bpf_probe_read_user(&piece, sizeof(piece), (void *)at))
		return 0;
	if (piece.len > left)
		piece.len = left;
	part.buffer = piece.base;
	if (piece.len)
		take_message(&part, session, &key, piece.len);
	return piece.len;
}

/* At the return of (handle, pieces, int count, ...) -> int */
SEC("uprobe")
int nspr_gathered_leave(struct pt_regs *ctx)
{
	struct tls_session_key key = {};
	struct tls_call call = {};
	__u64 total = 0;

	if (!end_call(ctx, &call, &key, &total))
		return 0;
	for (__u32 index = 0; index < MAX_PIECES && index < call.stored_at && total; index++) {
		__u32 len = take_piece(call.handle, call.buffer + index * 16, call.how, total);

		total = len < total ? total - len : 0;
	}
	return 0;
}

#define ENTER(NAME, HOW)             \
	SEC("uprobe")                \
	int NAME(struct pt_regs *ctx) \
	{                            \
		return enter(ctx, HOW); \
	}

/* (handle, buffer, int length) -> int */
ENTER(openssl_read, TLS_OPENSSL)
ENTER(openssl_write, TLS_OPENSSL | HOW_WRITES)
/* (handle, buffer, size_t length, size_t *moved) -> 1 */
ENTER(openssl_read_ex, TLS_OPENSSL | HOW_STORES)
ENTER(openssl_write_ex, TLS_OPENSSL | HOW_STORES | HOW_WRITES)
/* (handle, buffer, size_t length, uint64_t flags, size_t *moved) -> 1 */
ENTER(openssl_write_ex2, TLS_OPENSSL | HOW_STORES | HOW_WRITES | HOW_FLAGGED)
/* (handle, buffer, size_t length) -> ssize_t */
ENTER(gnutls_read, TLS_GNUTLS | HOW_LONG)
ENTER(gnutls_write, TLS_GNUTLS | HOW_LONG | HOW_WRITES)
/* (handle, buffer, int length) -> int */
ENTER(nspr_read, TLS_NSPR | HOW_KNOWN)
ENTER(nspr_write, TLS_NSPR | HOW_KNOWN | HOW_WRITES)
/* (handle, pieces, int count, ...) -> int */
ENTER(nspr_gather, TLS_NSPR | HOW_KNOWN | HOW_WRITES | HOW_GATHERS)

/* At the return of (...) -> handle. */
SEC("uprobe")
int openssl_opened(struct pt_regs *ctx)
{
	open_session(PT_REGS_RC(ctx), TLS_OPENSSL);
	return 0;
}

/*
 * (handle): OpenSSL clears a session before each handshake, also the first; the application does so
 * to use the object again.
 */
SEC("uprobe")
int openssl_cleared(struct pt_regs *ctx)
{
	struct tls_session_key key = session_key(PT_REGS_PARM1(ctx));
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, &key);

	if (session && !session->written && !session->read)
		session->flags |= TLS_FROM_START;
	else
		open_session(key.handle, TLS_OPENSSL);
	return 0;
}

SEC("uprobe")
int nspr_opened(struct pt_regs *ctx)
{
	open_session(PT_REGS_RC(ctx), TLS_NSPR);
	return 0;
}

/* (handle of a listener, ...) -> handle: what comes out of a TLS listener is TLS */
SEC("uprobe")
int nspr_accepting(struct pt_regs *ctx)
{
	struct tls_session_key key = session_key(PT_REGS_PARM1(ctx));
	struct tls_thread *thread;

	if (!bpf_map_lookup_elem(&tls_sessions, &key))
		return 0;
	thread = thread_of(bpf_get_current_pid_tgid());
	if (thread)
		thread->opening = key.handle;
	return 0;
}

SEC("uprobe")
int nspr_accepted(struct pt_regs *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct tls_thread *thread = bpf_map_lookup_elem(&tls_threads, &id);

	if (!thread || !thread->opening)
		return 0;
	thread->opening = 0;
	open_session(PT_REGS_RC(ctx), TLS_NSPR);
	return 0;
}

/* (handle *, ...) */
SEC("uprobe")
int gnutls_opening(struct pt_regs *ctx)
{
	struct tls_thread *thread = thread_of(bpf_get_current_pid_tgid());

	if (thread)
		thread->opening = PT_REGS_PARM1(ctx);
	return 0;
}

SEC("uprobe")
int gnutls_opened(struct pt_regs *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), handle = 0, at;
	struct tls_thread *thread = bpf_map_lookup_elem(&tls_threads, &id);

	if (!thread || !thread->opening)
		return 0;
	at = thread->opening;
	thread->opening = 0;
	if ((int)PT_REGS_RC(ctx) == 0 && !bpf_probe_read_user(&handle, sizeof(handle), (void *)at))
		open_session(handle, TLS_GNUTLS);
	return 0;
}

/* (handle) */
SEC("uprobe")
int tls_close(struct pt_regs *ctx)
{
	close_session(PT_REGS_PARM1(ctx));
	return 0;
}
