/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* rustls: a connection is known by what it keeps on the heap. */
#pragma once

/*
 * rustls: probes are at methods of CommonState, which moves; a session is known by the box of its
 * encrypter, which does not. Attach cookie: where CommonState has that (bits 0 to 15) and the buffer
 * of received plaintext (16 to 31).
 */
static __always_inline __u64 rustls_handle(struct pt_regs *ctx, __u64 state)
{
	__u64 handle = 0;

	if (!has_attach_cookies || !is_wanted() ||
	    bpf_probe_read_user(&handle, sizeof(handle), (void *)state + (bpf_get_attach_cookie(ctx) & 0xffff)))
		return 0;
	return handle;
}

/* (CommonState *): sends a message of the handshake */
SEC("uprobe")
int rustls_shakes(struct pt_regs *ctx)
{
	/* From now on the hooks at sockets remember what this thread receives. */
	if (is_wanted())
		thread_of(bpf_get_current_pid_tgid());
	return 0;
}

/* (CommonState *): may send plaintext from now on; servers say so twice */
SEC("uprobe")
int rustls_started(struct pt_regs *ctx)
{
	struct tls_thread *thread = thread_of(bpf_get_current_pid_tgid());
	struct tls_session_key key = session_key(rustls_handle(ctx, PT_REGS_PARM1(ctx)));
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, &key);

	if (!session || session->written || session->read)
		open_session(key.handle, TLS_RUSTLS);
	if (thread && key.handle)
		bind(bpf_map_lookup_elem(&tls_sessions, &key), &key, thread->received_from, TLS_NEARBY_TRANSFER);
	return 0;
}

/* (CommonState *) */
SEC("uprobe")
int rustls_dropped(struct pt_regs *ctx)
{
	close_session(rustls_handle(ctx, PT_REGS_PARM1(ctx)));
	return 0;
}

/* (CommonState *, Payload *): was decrypted; the thread received it just now */
SEC("uprobe")
int rustls_received(struct pt_regs *ctx)
{
	struct tls_call call = { .how = TLS_RUSTLS, .handle = rustls_handle(ctx, PT_REGS_PARM1(ctx)) };
	struct tls_session_key key = session_key(call.handle);
	struct tls_thread *thread = thread_of(bpf_get_current_pid_tgid());
	struct tls_session *session;
	/* A vector, or a slice in its place: capacity or mark, address, length. */
	__u64 payload[3] = {};

	if (!call.handle || !thread ||
	    bpf_probe_read_user(payload, sizeof(payload), (void *)PT_REGS_PARM2(ctx)) || !payload[2])
		return 0;
	call.buffer = payload[1];
	session = session_of(&key, TLS_RUSTLS, 0);
	if (!session)
		return 0;
	bind(session, &key, thread->received_from, TLS_NEARBY_TRANSFER);
	take_message(&call, session, &key, payload[2]);
	return 0;
}

static __always_inline void rustls_enter(struct pt_regs *ctx, __u64 state, __u64 buffer, __u64 slices, __u32 how)
{
	__u64 handle = rustls_handle(ctx, state);
	struct tls_thread *thread = thread_of(bpf_get_current_pid_tgid());

	if (!handle || !thread)
		return;
	thread->call.handle = handle;
	thread->call.buffer = buffer;
	thread->call.stored_at = slices;
	thread->call.sp = PT_REGS_SP(ctx);
	thread->call.cookie = 0;
	thread->call.how = TLS_RUSTLS | how;
	thread->call.is_active = 1;
}

/*
 * (CommonState *, OutboundChunks *, ...) -> length: one slice (0, address, length), or slices
 * (address of them, how many, first and last position)
 */
SEC("uprobe")
int rustls_write(struct pt_regs *ctx)
{
	__u64 chunks[3] = {};

	if (!has_attach_cookies ||
	    bpf_probe_read_user(chunks, sizeof(chunks), (void *)PT_REGS_PARM2(ctx)))
		return 0;
	if (!chunks[0])
		rustls_enter(ctx, PT_REGS_PARM1(ctx), chunks[1], 0, HOW_LONG | HOW_WRITES);
	else if (!chunks[2])
		rustls_enter(ctx, PT_REGS_PARM1(ctx), chunks[0], chunks[1], HOW_LONG | HOW_WRITES);
	return 0;
}

/* (CommonState *, address, length) -> length */
SEC("uprobe")
int rustls_write_slice(struct pt_regs *ctx)
{
	rustls_enter(ctx, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 0, HOW_LONG | HOW_WRITES);
	return 0;
}

/* (Reader *, address, length) -> (0, length); a Reader begins with where the plaintext is */
SEC("uprobe")
int rustls_read(struct pt_regs *ctx)
{
	__u64 plaintext = 0;

	if (!has_attach_cookies ||
	    bpf_probe_read_user(&plaintext, sizeof(plaintext), (void *)PT_REGS_PARM1(ctx)))
		return 0;
	plaintext -= bpf_get_attach_cookie(ctx) >> 16 & 0xffff;
	rustls_enter(ctx, plaintext, PT_REGS_PARM2(ctx), 0, HOW_LONG);
	return 0;
}

/* Slices of one write. More are rare; they are counted. */
#define MAX_SLICES 16

static __always_inline void take_slices(const struct tls_call *call, struct tls_session *session, __u64 total)
{
	__u64 offset = session->written, left = total;

	__sync_fetch_and_add(&session->written, total);
	count(TLS_CALLS, 1);
	count(TLS_BYTES, total);
	for (__u32 i = 0; i < MAX_SLICES && i < call->stored_at && left; i++) {
		__u64 slice[2] = {}, len;

		if (bpf_probe_read_user(slice, sizeof(slice), (void *)call->buffer + i * sizeof(slice)))
			break;
		len = slice[1] < left ? slice[1] : left;
		if (len && len <= TLS_CHUNK_BYTES)
			count(copy_chunk(call->handle, slice[0], offset, len, TLS_WRITTEN), 1);
		else
			count(TLS_OVER_BUDGET, len);
		offset += len;
		left -= len;
	}
	count(TLS_OVER_BUDGET, left);
}

SEC("uprobe")
int rustls_leave(struct pt_regs *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct tls_thread *thread = bpf_map_lookup_elem(&tls_threads, &id);
	struct tls_session_key key;
	struct tls_session *session;
	struct tls_call call;
	long total = PT_REGS_RC(ctx);

	if (!thread || !thread->call.is_active || PT_REGS_SP(ctx) < thread->call.sp)
		return 0;
	call = thread->call;
	thread->call.is_active = 0;
	/* A result: whether it failed, and the length. */
	if (!(call.how & HOW_WRITES))
		total = total ? 0 : PT_REGS_PARM3(ctx);
	key = session_key(call.handle);
	session = total > 0 ? session_of(&key, TLS_RUSTLS, 0) : NULL;
	if (!session)
		return 0;
	/* What is read may have waited while the thread received elsewhere. */
	if (call.how & HOW_WRITES || !session->cookie)
		look_nearby(thread, &call, session, &key);
	if (call.stored_at)
		take_slices(&call, session, total);
	else
		take_message(&call, session, &key, total);
	return 0;
}
