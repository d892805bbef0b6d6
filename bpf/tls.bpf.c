/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Plaintext at TLS libraries, and which socket it belongs to.
 *
 *   call:     enter (buffer, handle) ... thread sends or receives (witness) ... leave (length) -> chunks
 *   session:  open (handle is new) ... descriptor (witness) ... close
 *
 * Calls of C libraries belong to a thread, those of Go to a goroutine. Memory BIOs do no I/O inside
 * a call: what the thread received last is what it decrypts, what it sends next is what it encrypted.
 * Which function gets which program, and at which instruction, is the daemon's business.
 */
#include "abi/tls.h"
#include "lib/registers.h"
#include "lib/core.h"
#include "lib/kernel.h"
#include "maps/scope_cgroups.h"
#include "maps/scope_executables.h"
#include "maps/scope_state.h"
#include "maps/scope_users.h"
#include "maps/tls_counters.h"
#include "maps/tls_ring.h"
#include "maps/tls_sessions.h"
#include "maps/tls_threads.h"
#include "abi/packet.h"

char LICENSE[] SEC("license") = "GPL";

/* The daemon, in the initial pid namespace; 0: nothing is ours. */
const volatile __u32 own_tgid = 0;

/*
 * Tracing programs may use bpf_get_socket_cookie: Linux 5.12. Before, it is read if it was made.
 * bpf_get_current_task_btf is one release older.
 */
const volatile bool has_socket_helpers = true;

/* Probes bring what was attached with them (bpf_get_attach_cookie), in all kernels with uprobe_multi. */
const volatile bool has_attach_cookies = false;

/* Most bytes taken of one call. */
const volatile __u32 message_budget = 1 << 20;

/* As packet_reader_awake in packet.bpf.c. */
volatile __u32 tls_reader_awake = 0;

/* Makes the build generate these types for the daemon. */
struct tls_event tls_event_type;
struct tls_secret tls_secret_type;
struct tls_counters tls_counters_type;
enum tls_event_kind tls_event_kind_type;
enum tls_family tls_family_type;
enum tls_evidence tls_evidence_type;
enum tls_flag tls_flag_type;
enum tls_counter tls_counter_type;

/* How a call tells what it did. The family is in the low byte. */
enum tls_how {
	HOW_FAMILY = 0xff,
	HOW_WRITES = 0x100,
	HOW_STORES = 0x200,	/* returns 1 and stores the length */
	HOW_LONG = 0x400,	/* returns the length as a long, else as an int */
	HOW_KNOWN = 0x800,	/* is about TLS only if the handle's session was opened */
	HOW_HANDED = 0x1000,	/* was handed over when it began */
	HOW_SHAKES = 0x2000,	/* is a handshake */
	HOW_GATHERS = 0x4000,	/* the buffer is an array of pieces, as many as the third argument says */
	HOW_FLAGGED = 0x8000,	/* HOW_STORES at the fifth argument, not the fourth */
};

/* Depth at which a nested call is one whose outer call was left without our knowing (longjmp). */
#define MAX_NESTED 16
/* Most pieces of one gathering write; NSPR takes no more. */
#define MAX_PIECES 16
/* Bound of tls_session.confidence: as many contradictions replace what was believed. */
#define MAX_CONFIDENCE 8
/* Levels of the cgroup tree looked at for a scope, as in packet.bpf.c. */
#define MAX_CGROUP_DEPTH 16
#define MSG_PEEK 2

static __always_inline void count(__u32 counter, __u64 by)
{
	__u32 zero = 0;
	struct tls_counters *counters = bpf_map_lookup_elem(&tls_counters, &zero);

	/* Keeps the compiler from checking a copy, whose bounds the verifier does not carry over. */
	asm volatile("" : "+r"(counter));
	if (counters && counter < NR_TLS_COUNTERS)
		__sync_fetch_and_add(&counters->count[counter], by);
}

static __always_inline __u64 wake_flags(void)
{
	if (tls_reader_awake)
		return BPF_RB_NO_WAKEUP;
	tls_reader_awake = 1;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline __u32 verdict_of(__u64 cgroup)
{
	__u32 *verdict = bpf_map_lookup_elem(&scope_cgroups, &cgroup);

	return verdict ? *verdict : 0;
}

/* What the scope says of the calling process's cgroup and those above it. */
static __noinline int verdicts_of_cgroups(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct kernfs_node *node;
	__u32 found = 0;

	/* Tracing programs may ask for ancestors since Linux 5.12, too. */
	if (has_socket_helpers) {
		for (int level = 0; level < MAX_CGROUP_DEPTH; level++) {
			__u64 id = bpf_get_current_ancestor_cgroup_id(level);

			if (!id)
				break;
			found |= verdict_of(id);
		}
		return found;
	}
	node = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	for (int level = 0; level < MAX_CGROUP_DEPTH && node; level++) {
		found |= verdict_of(BPF_CORE_READ(node, id));
		node = BPF_CORE_READ(node, parent);
	}
	return found;
}

static __always_inline __u32 verdict_of_user(void)
{
	__u32 uid = bpf_get_current_uid_gid();
	__u32 *verdict = bpf_map_lookup_elem(&scope_users, &uid);

	return verdict ? *verdict : 0;
}

static __noinline int verdict_of_executable(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	struct scope_executable key = {};
	__u32 *verdict;

	key.inode = BPF_CORE_READ(inode, i_ino);
	key.device = BPF_CORE_READ(inode, i_sb, s_dev);
	verdict = bpf_map_lookup_elem(&scope_executables, &key);
	return verdict ? *verdict : 0;
}

static __always_inline bool fits(__u32 lists, __u32 include, __u32 exclude, __u32 found)
{
	if ((lists & exclude) && (found & SCOPE_EXCLUDE))
		return false;
	return !(lists & include) || (found & SCOPE_INCLUDE);
}

/* As in packet.bpf.c, for the calling process. Ports and networks are not known yet. */
static __noinline int is_wanted(void)
{
	__u32 zero = 0, lists;
	__u32 *state = bpf_map_lookup_elem(&scope_state, &zero);

	if (own_tgid && bpf_get_current_pid_tgid() >> 32 == own_tgid)
		return 0;
	if (!state || !*state)
		return 1;
	lists = *state;
	if ((lists & (SCOPE_INCLUDE_CGROUPS | SCOPE_EXCLUDE_CGROUPS)) &&
	    !fits(lists, SCOPE_INCLUDE_CGROUPS, SCOPE_EXCLUDE_CGROUPS, verdicts_of_cgroups()))
		return 0;
	if ((lists & (SCOPE_INCLUDE_USERS | SCOPE_EXCLUDE_USERS)) &&
	    !fits(lists, SCOPE_INCLUDE_USERS, SCOPE_EXCLUDE_USERS, verdict_of_user()))
		return 0;
	return !(lists & (SCOPE_INCLUDE_EXECUTABLES | SCOPE_EXCLUDE_EXECUTABLES)) ||
	       fits(lists, SCOPE_INCLUDE_EXECUTABLES, SCOPE_EXCLUDE_EXECUTABLES,
		    verdict_of_executable());
}

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

/* As COPY_CLASS in packet.bpf.c. */
#define COPY_CLASS(SIZE)                                                                  \
	if (len <= (SIZE)) {                                                              \
		struct {                                                                  \
			struct tls_event head;                                            \
			__u8 data[SIZE];                                                  \
		} *entry = bpf_ringbuf_reserve(&tls_ring, sizeof(*entry), 0);             \
		__u32 last = len - 1;                                                     \
		long err = -1;                                                            \
                                                                                          \
		if (!entry)                                                               \
			return TLS_RING_FULL;                                             \
		asm volatile("" : "+r"(last));                                            \
		if (last < (SIZE))                                                        \
			err = bpf_probe_read_user(entry->data, last + 1, (void *)buffer); \
		if (err) {                                                                \
			bpf_ringbuf_discard(entry, BPF_RB_NO_WAKEUP);                     \
			return TLS_UNREADABLE;                                            \
		}                                                                         \
		fill_event(&entry->head, session, key, TLS_DATA);                         \
		entry->head.offset = offset;                                              \
		entry->head.flags |= flags;                                               \
		entry->head.cap_len = len;                                                \
		bpf_ringbuf_submit(entry, wake_flags());                                  \
		return TLS_CHUNKS;                                                        \
	}

/* Longest message that is copied without looking its session up again. */
#define SMALL_MESSAGE 8192

static __always_inline int copy_small(struct tls_session *session, const struct tls_session_key *key,
				      __u64 buffer, __u64 offset, __u32 len, __u32 flags)
{
	COPY_CLASS(128)
	COPY_CLASS(512)
	COPY_CLASS(2048)
	COPY_CLASS(SMALL_MESSAGE)
	return TLS_UNREADABLE;
}

/*
 * Global and with nothing but numbers, so that it is verified once and not per turn of the loop
 * around it.
 */
__noinline int copy_chunk(__u64 handle, __u64 buffer, __u64 offset, __u32 len, __u32 flags)
{
	struct tls_session_key own = session_key(handle), *key = &own;
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, key);

	if (!session)
		return TLS_UNREADABLE;
	COPY_CLASS(128)
	COPY_CLASS(512)
	COPY_CLASS(2048)
	COPY_CLASS(8192)
	COPY_CLASS(16384)
	COPY_CLASS(32768)
	COPY_CLASS(65536)
	COPY_CLASS(TLS_CHUNK_BYTES)
	return TLS_UNREADABLE;
}

static __always_inline bool is_small(__u64 total)
{
	return total <= SMALL_MESSAGE && total <= message_budget;
}

static __always_inline void count_call(__u64 total)
{
	__u32 zero = 0;
	struct tls_counters *counters = bpf_map_lookup_elem(&tls_counters, &zero);

	if (!counters)
		return;
	__sync_fetch_and_add(&counters->count[TLS_CALLS], 1);
	__sync_fetch_and_add(&counters->count[TLS_BYTES], total);
	/* Is taken back if it is lost. */
	if (is_small(total))
		__sync_fetch_and_add(&counters->count[TLS_CHUNKS], 1);
}

/* Hands over what a call wrote or read. */
static __always_inline void take_message(const struct tls_call *call, struct tls_session *session,
					 const struct tls_session_key *key, __u64 total)
{
	__u32 flags = call->how & HOW_WRITES ? TLS_WRITTEN : 0;
	__u64 offset = flags ? session->written : session->read;
	__u64 buffer = call->buffer, handle = call->handle, left = total;

	__sync_fetch_and_add(flags ? &session->written : &session->read, total);
	count_call(total);
	if (is_small(total)) {
		__u32 outcome = copy_small(session, key, buffer, offset, total, flags);

		if (outcome != TLS_CHUNKS) {
			count(TLS_CHUNKS, -1);
			count(outcome, 1);
		}
		return;
	}
	if (left > message_budget) {
		count(TLS_OVER_BUDGET, left - message_budget);
		left = message_budget;
	}
	for (int chunk = 0; chunk < TLS_MAX_CHUNKS && left; chunk++) {
		__u32 len = left < TLS_CHUNK_BYTES ? left : TLS_CHUNK_BYTES;

		count(copy_chunk(handle, buffer, offset, len, flags), 1);
		buffer += len;
		offset += len;
		left -= len;
	}
}

/* The length that a call says it moved; 0 if it failed. */
static __always_inline __u64 length_of(const struct tls_call *call, __u64 result)
{
	__u64 stored = 0;
	long n;

	if (call->how & HOW_STORES) {
		if ((int)result != 1 ||
		    bpf_probe_read_user(&stored, sizeof(stored), (void *)call->stored_at))
			return 0;
		return stored;
	}
	n = call->how & HOW_LONG ? (long)result : (int)result;
	return n > 0 ? n : 0;
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

/*
 * The cookie of the inet socket that a descriptor of this process is; 0 if it is none. A struct
 * socket points back to its file, which tells it from whatever else private data can be.
 */
static __noinline __u64 cookie_of_descriptor(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct socket *socket;
	struct file **files, *file = NULL;
	struct sock *sk;
	__u16 family;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), &files[fd]) || !file)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	if (!socket || BPF_CORE_READ(socket, file) != file)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

static __always_inline void descriptor_given(__u64 handle, __u32 family, __u64 fd)
{
	struct tls_session_key key = session_key(handle);

	/* Some libraries take a pointer here, which is a descriptor by custom only. */
	if (fd >> 31 || !is_wanted())
		return;
	bind(session_of(&key, family, 0), &key, cookie_of_descriptor(fd), TLS_DESCRIPTOR);
}

/* (handle, fd) */
SEC("uprobe")
int openssl_descriptor(struct pt_regs *ctx)
{
	descriptor_given(PT_REGS_PARM1(ctx), TLS_OPENSSL, (__u32)PT_REGS_PARM2(ctx));
	return 0;
}

SEC("uprobe")
int gnutls_descriptor(struct pt_regs *ctx)
{
	descriptor_given(PT_REGS_PARM1(ctx), TLS_GNUTLS, PT_REGS_PARM2(ctx));
	return 0;
}

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
