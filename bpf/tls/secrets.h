/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Key material, for tls.keylog; nothing here is attached without it. */
#pragma once

/* Where a function's arguments have key material. */
struct secret_place {
	__u64 label, label_len;	/* length 0: ends with a zero */
	__u64 client_random, client_random_len;
	__u64 secret, secret_len;
};

static __noinline int copy_secret(struct tls_secret *event, const struct secret_place *at)
{
	__u32 label_len = at->label_len, secret_len = at->secret_len;

	__builtin_memset(event, 0, sizeof(*event));
	asm volatile("" : "+r"(label_len), "+r"(secret_len));
	if (label_len >= TLS_LABEL_BYTES || !secret_len || secret_len > TLS_SECRET_BYTES)
		return -1;
	if (!label_len && bpf_probe_read_user_str(event->label, TLS_LABEL_BYTES, (void *)at->label) < 0)
		return -1;
	if (label_len && bpf_probe_read_user(event->label, label_len, (void *)at->label))
		return -1;
	if (bpf_probe_read_user(event->client_random, 32, (void *)at->client_random) ||
	    bpf_probe_read_user(event->secret, secret_len, (void *)at->secret))
		return -1;
	event->head.kind = TLS_SECRET;
	event->head.ktime = bpf_ktime_get_ns();
	event->head.tgid = bpf_get_current_pid_tgid() >> 32;
	event->head.cap_len = secret_len;
	return 0;
}

/* Nothing calls this unless tls.keylog is set: the daemon does not attach it then. */
static __always_inline void take_secret(const struct secret_place *at)
{
	struct tls_secret *event;

	if (at->client_random_len != 32 || !is_wanted())
		return;
	event = bpf_ringbuf_reserve(&tls_ring, sizeof(*event), 0);
	if (!event) {
		count(TLS_RING_FULL, 1);
		return;
	}
	if (copy_secret(event, at)) {
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		count(TLS_UNREADABLE, 1);
		return;
	}
	bpf_ringbuf_submit(event, wake_flags());
}

/* (*Config, label, client random, secret): a string and two slices */
SEC("uprobe")
int go_secret(struct pt_regs *ctx)
{
	struct secret_place at = {
		.label = GO_ARG2(ctx), .label_len = GO_ARG3(ctx),
		.client_random = GO_ARG4(ctx), .client_random_len = GO_ARG5(ctx),
		.secret = GO_ARG7(ctx), .secret_len = GO_ARG8(ctx),
	};

	if (at.label_len)
		take_secret(&at);
	return 0;
}

/* (label, handle, client random, its length, secret, its length) */
SEC("uprobe")
int openssl_secret(struct pt_regs *ctx)
{
	struct secret_place at = {
		.label = PT_REGS_PARM1(ctx),
		.client_random = PT_REGS_PARM3(ctx), .client_random_len = PT_REGS_PARM4(ctx),
		.secret = PT_REGS_PARM5(ctx), .secret_len = PT_REGS_PARM6(ctx),
	};

	take_secret(&at);
	return 0;
}

/* Where sessions of OpenSSL 3.0 and 3.1 have the client's random; the daemon looks whether it is so. */
#define OPENSSL_CLIENT_RANDOM 0x160

/* (handle, label, secret, its length) */
SEC("uprobe")
int openssl_session_secret(struct pt_regs *ctx)
{
	struct secret_place at = {
		.label = PT_REGS_PARM2(ctx),
		.client_random = PT_REGS_PARM1(ctx) + OPENSSL_CLIENT_RANDOM, .client_random_len = 32,
		.secret = PT_REGS_PARM3(ctx), .secret_len = PT_REGS_PARM4(ctx),
	};

	take_secret(&at);
	return 0;
}
