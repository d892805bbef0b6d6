/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sessions, what ties them to sockets, and the threads that use them. */
#pragma once

static __always_inline __u64 started_of_current(void)
{
	struct task_struct *task;

	/* Plain loads; two calls less in every TLS call. */
	if (has_socket_helpers) {
		task = bpf_get_current_task_btf();
		return task->group_leader->start_boottime;
	}
	task = (struct task_struct *)bpf_get_current_task();
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

static __always_inline struct tls_session_key session_key(__u64 handle)
{
	struct tls_session_key key = {
		.handle = handle,
		.tgid = bpf_get_current_pid_tgid() >> 32,
	};

	return key;
}

static __always_inline void fill_event(struct tls_event *event, struct tls_session *session,
				       const struct tls_session_key *key, __u32 kind)
{
	event->kind = kind;
	event->family = session->family;
	event->ktime = bpf_ktime_get_ns();
	event->handle = key->handle;
	event->generation = session->generation;
	event->started = session->started;
	event->cookie = session->cookie;
	event->offset = 0;
	event->tgid = key->tgid;
	event->evidence = session->evidence;
	event->flags = session->flags;
	event->cap_len = 0;
}

static __always_inline void send_event(struct tls_session *session, const struct tls_session_key *key,
				       __u32 kind)
{
	struct tls_event *event = bpf_ringbuf_reserve(&tls_ring, sizeof(*event), 0);

	if (!event) {
		count(TLS_RING_FULL, 1);
		return;
	}
	fill_event(event, session, key, kind);
	bpf_ringbuf_submit(event, wake_flags());
}

/* The session of a handle that is in use, made if it is not known. */
static __always_inline struct tls_session *session_of(const struct tls_session_key *key, __u32 family,
						      __u32 flags)
{
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, key);
	struct tls_session fresh = {};

	fresh.started = started_of_current();
	if (session && session->started == fresh.started)
		return session;
	fresh.generation = bpf_ktime_get_ns();
	fresh.flags = flags;
	fresh.family = family;
	bpf_map_update_elem(&tls_sessions, key, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&tls_sessions, key);
}

/* Evidence that a session's socket is the one with the cookie. */
static __noinline int bind(struct tls_session *session, const struct tls_session_key *key, __u64 cookie,
			   __u32 evidence)
{
	if (!session || !cookie)
		return 0;
	if (session->cookie == cookie) {
		if (session->confidence < MAX_CONFIDENCE)
			session->confidence++;
		if (evidence <= session->evidence)
			return 0;
	} else if (session->cookie && evidence <= session->evidence) {
		count(TLS_DISAGREED, 1);
		if (evidence < session->evidence)
			return 0;
		if (session->confidence) {
			session->confidence--;
			return 0;
		}
	}
	session->cookie = cookie;
	session->evidence = evidence;
	session->confidence = 0;
	send_event(session, key, TLS_BOUND);
	return 0;
}

static __always_inline struct tls_thread *thread_of(__u64 id)
{
	struct tls_thread *thread = bpf_map_lookup_elem(&tls_threads, &id);
	struct tls_thread fresh = {};

	if (thread)
		return thread;
	bpf_map_update_elem(&tls_threads, &id, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&tls_threads, &id);
}

static __always_inline void close_session(__u64 handle)
{
	struct tls_session_key key = session_key(handle);
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, &key);

	if (!session)
		return;
	send_event(session, &key, TLS_CLOSED);
	bpf_map_delete_elem(&tls_sessions, &key);
}

/* A session begins: the first byte that will be seen is its first. */
static __always_inline void open_session(__u64 handle, __u32 family)
{
	struct tls_session_key key = session_key(handle);

	if (!handle || !is_wanted())
		return;
	close_session(handle);
	session_of(&key, family, TLS_FROM_START);
	/* From now on the hooks at sockets remember what this thread receives. */
	thread_of(bpf_get_current_pid_tgid());
}
