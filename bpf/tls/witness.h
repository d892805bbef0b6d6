/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which sockets threads use inside and around their calls. */
#pragma once

static __always_inline bool is_tcp(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return (family == AF_INET || family == AF_INET6) && sk->sk_protocol == IPPROTO_TCP;
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	return has_socket_helpers ? bpf_get_socket_cookie(sk) :
				    (__u64)BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

static __always_inline struct tls_thread *tls_thread_of_current(void)
{
	__u64 id = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&tls_threads, &id);
}

static __always_inline void sent(struct tls_thread *thread, __u64 cookie)
{
	struct tls_session_key key;

	if (thread->call.is_active) {
		thread->call.cookie = cookie;
		return;
	}
	if (!thread->unsent)
		return;
	key = session_key(thread->unsent);
	thread->unsent = 0;
	if (!thread->unsent_is_ambiguous)
		bind(bpf_map_lookup_elem(&tls_sessions, &key), &key, cookie, TLS_NEARBY_TRANSFER);
	thread->unsent_is_ambiguous = 0;
}

static __always_inline void received(struct tls_thread *thread, __u64 cookie)
{
	if (thread->call.is_active)
		thread->call.cookie = cookie;
	else
		thread->received_from = cookie;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(tls_socket_send, struct sock *sk, int ret)
{
	struct tls_thread *thread = ret > 0 ? tls_thread_of_current() : NULL;

	if (thread && is_tcp(sk))
		sent(thread, cookie_of(sk));
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tls_socket_receive, struct sock *sk, int ret, int flags)
{
	struct tls_thread *thread = ret > 0 ? tls_thread_of_current() : NULL;

	if (thread && !(flags & MSG_PEEK) && is_tcp(sk))
		received(thread, cookie_of(sk));
	return 0;
}

/* Stands in for tls_socket_receive where that does not exist. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tls_tcp_read, struct sock *sk)
{
	struct tls_thread *thread = tls_thread_of_current();

	if (thread)
		received(thread, cookie_of(sk));
	return 0;
}

/*
 * Stands in for tls_socket_send: the first packet of a send leaves in the context of the sender.
 * Others leave whenever TCP may send, so the first inside a call counts.
 */
SEC("cgroup_skb/egress")
int tls_egress(struct __sk_buff *skb)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 id = (__u64)BPF_CORE_READ(task, tgid) << 32 | (__u32)BPF_CORE_READ(task, pid);
	struct tls_thread *thread = bpf_map_lookup_elem(&tls_threads, &id);
	struct tls_session_key key = {};
	__u64 cookie;

	if (!thread)
		return 1;
	cookie = bpf_get_socket_cookie(skb);
	if (thread->call.is_active) {
		if (!thread->call.cookie)
			thread->call.cookie = cookie;
		return 1;
	}
	if (!thread->unsent)
		return 1;
	key.handle = thread->unsent;
	key.tgid = id >> 32;
	thread->unsent = 0;
	if (!thread->unsent_is_ambiguous)
		bind(bpf_map_lookup_elem(&tls_sessions, &key), &key, cookie, TLS_NEARBY_TRANSFER);
	thread->unsent_is_ambiguous = 0;
	return 1;
}
