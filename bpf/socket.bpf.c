/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who owns a socket, and how sockets and processes begin and end.
 *
 *   process context:  sock_create < connect, sendmsg < getpeername (inside accept) < data
 *   at start-up:      iter/task_file for what existed before
 *   life and death:   inet_sock_set_state, tcp_destroy_sock, sock_release; exec, exit
 *
 * Every program stands alone: the daemon leaves out those that the kernel lacks.
 */
#include "abi/socket.h"
#include "lib/core.h"
#include "lib/kernel.h"
#include "maps/socket_counters.h"
#include "maps/socket_owners.h"
#include "maps/socket_ring.h"
#include "maps/socket_users.h"

char LICENSE[] SEC("license") = "GPL";

/* The daemon, in the initial pid namespace: who owns its sockets is nobody's business. */
const volatile __u32 own_tgid = 0;

/*
 * Tracing programs may use bpf_get_socket_cookie and bpf_sk_storage_get: Linux 5.12. Before, the
 * cookie is read if it was made, and socket_owners is asked every time.
 */
const volatile bool has_socket_helpers = true;

/* As packet_reader_awake in packet.bpf.c, for the socket thread. */
volatile __u32 socket_reader_awake = 0;

/* Makes the build generate these types for the daemon. */
struct socket_owner_event socket_owner_event_type;
struct socket_state_event socket_state_event_type;
struct socket_destroyed_event socket_destroyed_event_type;
struct socket_exec_event socket_exec_event_type;
struct socket_exit_event socket_exit_event_type;
struct socket_counters socket_counters_type;
enum socket_event_kind socket_event_kind_type;
enum socket_evidence socket_evidence_type;
enum socket_counter socket_counter_type;

static __always_inline void count_event(__u32 counter)
{
	__u32 zero = 0;
	struct socket_counters *counters = bpf_map_lookup_elem(&socket_counters, &zero);

	if (counters)
		__sync_fetch_and_add(&counters->count[counter], 1);
}

static __always_inline void *reserve_event(__u64 size)
{
	void *event = bpf_ringbuf_reserve(&socket_ring, size, 0);

	if (!event)
		count_event(SOCKET_RING_FULL);
	return event;
}

static __always_inline void submit_event(void *event)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	count_event(SOCKET_EVENTS);
	if (!socket_reader_awake) {
		socket_reader_awake = 1;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(event, flags);
}

/* Facts about the process of a task: those of its leader, whichever thread is seen. */
static __always_inline void fill_owner(struct socket_owner_event *event, struct task_struct *task,
				       __u64 cookie, __u32 evidence)
{
	event->kind = SOCKET_OWNER;
	event->evidence = evidence;
	event->ktime = bpf_ktime_get_ns();
	event->cookie = cookie;
	event->started = BPF_CORE_READ(task, group_leader, start_boottime);
	event->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	event->tgid = BPF_CORE_READ(task, tgid);
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = BPF_CORE_READ(task, cred, uid.val);
	event->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	BPF_CORE_READ_STR_INTO(&event->comm, task, group_leader, comm);
}

static __always_inline __u32 current_tgid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline __u32 netns_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/*
 * Says it once, and whether it is said. sk: the socket where it is known, for its network
 * namespace; else that of the caller counts.
 */
static __always_inline bool owner_seen(__u64 cookie, struct sock *sk, __u32 evidence)
{
	__u32 tgid = current_tgid();
	struct socket_owner_key key = { .cookie = cookie, .tgid = tgid };
	struct socket_owner_event *event;
	__u32 *known;

	if (!cookie || !tgid || tgid == own_tgid)
		return true;
	known = bpf_map_lookup_elem(&socket_owners, &key);
	if (known && *known >= evidence)
		return true;
	event = reserve_event(sizeof(*event));
	if (!event)
		return false;
	bpf_map_update_elem(&socket_owners, &key, &evidence, BPF_ANY);
	fill_owner(event, (struct task_struct *)bpf_get_current_task(), cookie, evidence);
	if (sk)
		event->netns = netns_of(sk);
	submit_event(event);
	return true;
}

static __always_inline bool is_inet(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6;
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	return has_socket_helpers ? bpf_get_socket_cookie(sk) :
				    (__u64)BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/* Data went through the socket, in the context of who sent or took it. */
static __always_inline void data_seen(struct sock *sk)
{
	__u32 tgid = current_tgid();
	struct socket_user *user = NULL;

	if (!is_inet(sk) || tgid == own_tgid)
		return;
	if (has_socket_helpers) {
		user = bpf_sk_storage_get(&socket_users, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (user && user->tgid == tgid)
			return;
	}
	if (owner_seen(cookie_of(sk), sk, EVIDENCE_DATA) && user)
		user->tgid = tgid;
}

static __always_inline void fill_state(struct socket_state_event *event, struct sock *sk,
				       __u64 cookie, __u32 state)
{
	event->kind = SOCKET_STATE;
	event->state = state;
	event->ktime = bpf_ktime_get_ns();
	event->cookie = cookie;
	event->netns = netns_of(sk);
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	event->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	event->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (event->family == AF_INET6) {
		BPF_CORE_READ_INTO(&event->local_ip, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&event->remote_ip, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		*(__be32 *)event->local_ip = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		*(__be32 *)event->remote_ip = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	}
}

SEC("cgroup/sock_create")
int owner_create(struct bpf_sock *ctx)
{
	if (ctx->type == SOCK_STREAM || ctx->type == SOCK_DGRAM)
		owner_seen(bpf_get_socket_cookie(ctx), NULL, EVIDENCE_CREATE);
	return 1;
}

SEC("cgroup/connect4")
int owner_connect4(struct bpf_sock_addr *ctx)
{
	owner_seen(bpf_get_socket_cookie(ctx), NULL, EVIDENCE_CONNECT);
	return 1;
}

SEC("cgroup/connect6")
int owner_connect6(struct bpf_sock_addr *ctx)
{
	owner_seen(bpf_get_socket_cookie(ctx), NULL, EVIDENCE_CONNECT);
	return 1;
}

SEC("cgroup/sendmsg4")
int owner_sendmsg4(struct bpf_sock_addr *ctx)
{
	owner_seen(bpf_get_socket_cookie(ctx), NULL, EVIDENCE_DATA);
	return 1;
}

SEC("cgroup/sendmsg6")
int owner_sendmsg6(struct bpf_sock_addr *ctx)
{
	owner_seen(bpf_get_socket_cookie(ctx), NULL, EVIDENCE_DATA);
	return 1;
}

/* The kernel runs these inside accept() when the caller asks for the peer's address. */
SEC("cgroup/getpeername4")
int owner_getpeername4(struct bpf_sock_addr *ctx)
{
	owner_seen(bpf_get_socket_cookie(ctx), NULL, EVIDENCE_ACCEPT);
	return 1;
}

SEC("cgroup/getpeername6")
int owner_getpeername6(struct bpf_sock_addr *ctx)
{
	owner_seen(bpf_get_socket_cookie(ctx), NULL, EVIDENCE_ACCEPT);
	return 1;
}

/* Left out where owner_recv runs, which sees the same readers. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(owner_tcp_read, struct sock *sk)
{
	data_seen(sk);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(owner_send, struct sock *sk, int ret)
{
	if (ret > 0)
		data_seen(sk);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(owner_recv, struct sock *sk, int ret)
{
	if (ret > 0)
		data_seen(sk);
	return 0;
}

/* May run in softirq: the current task means nothing here. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, struct sock *sk, int old_state, int new_state)
{
	struct socket_state_event *event;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new_state != TCP_ESTABLISHED && new_state != TCP_CLOSE && new_state != TCP_LISTEN)
		return 0;
	event = reserve_event(sizeof(*event));
	if (!event)
		return 0;
	fill_state(event, sk, cookie_of(sk), new_state);
	submit_event(event);
	return 0;
}

static __always_inline void destroyed(__u64 cookie)
{
	struct socket_destroyed_event *event;

	if (!cookie)
		return;
	event = reserve_event(sizeof(*event));
	if (!event)
		return;
	event->kind = SOCKET_DESTROYED;
	event->reserved = 0;
	event->ktime = bpf_ktime_get_ns();
	event->cookie = cookie;
	submit_event(event);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroy, struct sock *sk)
{
	destroyed(cookie_of(sk));
	return 0;
}

/* TCP sockets outlive their release; the others end with it. */
SEC("cgroup/sock_release")
int socket_release(struct bpf_sock *ctx)
{
	if (ctx->protocol != IPPROTO_TCP)
		destroyed(bpf_get_socket_cookie(ctx));
	return 1;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct socket_exec_event *event = reserve_event(sizeof(*event));

	if (!event)
		return 0;
	event->kind = SOCKET_EXEC;
	event->tgid = BPF_CORE_READ(task, tgid);
	event->ktime = bpf_ktime_get_ns();
	event->started = BPF_CORE_READ(task, group_leader, start_boottime);
	event->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_STR_INTO(&event->comm, task, comm);
	event->path[0] = 0;
	bpf_probe_read_kernel_str(event->path, sizeof(event->path), BPF_CORE_READ(bprm, filename));
	submit_event(event);
	return 0;
}

/* Runs per thread; the process ends with its last one. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct socket_exit_event *event;

	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	event = reserve_event(sizeof(*event));
	if (!event)
		return 0;
	event->kind = SOCKET_EXIT;
	event->tgid = BPF_CORE_READ(task, tgid);
	event->ktime = bpf_ktime_get_ns();
	event->started = BPF_CORE_READ(task, group_leader, start_boottime);
	submit_event(event);
	return 0;
}

/*
 * Once at start-up, over every open file of every process. The events go to the reader of the
 * iterator and not through the ring, so that no number of sockets is too many.
 */
SEC("iter/task_file")
int existing_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket_owner_event owner = {};
	struct socket_state_event state = {};
	struct socket *socket;
	struct sock *sk;
	__u64 cookie;

	if (!task || !file || task->tgid != task->pid || task->tgid == own_tgid)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_inet(sk))
		return 0;
	cookie = bpf_get_socket_cookie(sk);
	fill_owner(&owner, task, cookie, EVIDENCE_FILE_TABLE);
	owner.netns = netns_of(sk);
	bpf_seq_write(ctx->meta->seq, &owner, sizeof(owner));
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	fill_state(&state, sk, cookie, BPF_CORE_READ(sk, __sk_common.skc_state));
	bpf_seq_write(ctx->meta->seq, &state, sizeof(state));
	return 0;
}
