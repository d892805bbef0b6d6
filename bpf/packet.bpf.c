/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Packets at sockets: every packet that a socket of this host sends or receives, whole, once per
 * socket, stamped with the socket's cookie and addresses.
 *
 *   cgroup_skb -> IP? -> ours? -> in scope? -> copy_packet() -> packet_ring
 *
 * and each packet counted under one fate. Ours are marked when they are made: own_create for the
 * daemon's sockets, own_connect* for its clients, own_existing for connections that were there first.
 */
#include "abi/packet.h"
#include "lib/core.h"
#include "lib/kernel.h"
#include "maps/own_ports.h"
#include "maps/own_sockets.h"
#include "maps/packet_counters.h"
#include "maps/packet_ring.h"
#include "maps/scope_cgroups.h"
#include "maps/scope_networks4.h"
#include "maps/scope_networks6.h"
#include "maps/scope_ports.h"
#include "maps/scope_state.h"

char LICENSE[] SEC("license") = "GPL";

/* Levels of the cgroup tree looked at for a scope; systemd and kubelet together use about eight. */
#define MAX_CGROUP_DEPTH 16

/* The daemon, in the initial pid namespace; 0: nothing is ours. */
const volatile __u32 own_tgid = 0;

/*
 * 1 while the packet thread will look at the ring without being told. The thread clears it
 * before it blocks; the first packet after that sets it and wakes the thread. A wake-up costs
 * ten times what a small packet's copy costs.
 */
volatile __u32 packet_reader_awake = 0;

/* Makes the build generate these types for the daemon. */
struct packet_record packet_record_type;
struct packet_counters packet_counters_type;
struct scope_network4 scope_network4_type;
struct scope_network6 scope_network6_type;
enum packet_counter packet_counter_type;
enum packet_hook packet_hook_type;
enum own_mark own_mark_type;
enum scope_list scope_list_type;
enum scope_verdict scope_verdict_type;

static __always_inline __u64 wake_flags(void)
{
	if (packet_reader_awake)
		return BPF_RB_NO_WAKEUP;
	packet_reader_awake = 1;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void fill_record(struct __sk_buff *skb, struct packet_record *record,
					__u32 cap_len, __u32 hook)
{
	__u32 *local = (__u32 *)record->local_ip;
	__u32 *remote = (__u32 *)record->remote_ip;

	record->ktime = bpf_ktime_get_ns();
	record->cookie = bpf_get_socket_cookie(skb);
	record->ifindex = skb->ifindex;
	record->wire_len = skb->len;
	record->cap_len = cap_len;
	record->family = skb->family;
	record->local_port = skb->local_port;
	record->remote_port = bpf_ntohl(skb->remote_port);
	record->hook = hook;
	if (skb->family == AF_INET6) {
		local[0] = skb->local_ip6[0];
		local[1] = skb->local_ip6[1];
		local[2] = skb->local_ip6[2];
		local[3] = skb->local_ip6[3];
		remote[0] = skb->remote_ip6[0];
		remote[1] = skb->remote_ip6[1];
		remote[2] = skb->remote_ip6[2];
		remote[3] = skb->remote_ip6[3];
	} else {
		local[0] = skb->local_ip4;
		remote[0] = skb->remote_ip4;
	}
}

/*
 * One size class: reserve, copy, submit. Records have fixed sizes because the verifier wants
 * constants; the unused tail of a record is ring space, not copied bytes. Verifiers up to 6.1
 * accept the length only as (bounded) + 1.
 */
#define COPY_CLASS(SIZE)                                                                  \
	if (cap_len <= (SIZE)) {                                                          \
		struct {                                                                  \
			struct packet_record head;                                        \
			__u8 data[SIZE];                                                  \
		} *entry = bpf_ringbuf_reserve(&packet_ring, sizeof(*entry), 0);          \
		__u32 last = cap_len - 1;                                                 \
		long err = -1;                                                            \
                                                                                          \
		if (!entry)                                                               \
			return PACKET_RING_FULL;                                          \
		asm volatile("" : "+r"(last));                                            \
		if (last < (SIZE))                                                        \
			err = bpf_skb_load_bytes(skb, 0, entry->data, last + 1);          \
		if (err) {                                                                \
			bpf_ringbuf_discard(entry, BPF_RB_NO_WAKEUP);                     \
			return PACKET_UNREADABLE;                                         \
		}                                                                         \
		fill_record(skb, &entry->head, cap_len, hook);                            \
		bpf_ringbuf_submit(entry, wake_flags());                                  \
		return PACKET_CAPTURED;                                                   \
	}

/* Global, so that it is verified once and not per path through its callers. */
__noinline int copy_packet(struct __sk_buff *skb, __u32 cap_len, __u32 hook)
{
	COPY_CLASS(128)
	COPY_CLASS(256)
	COPY_CLASS(512)
	COPY_CLASS(1024)
	COPY_CLASS(2048)
	COPY_CLASS(4096)
	COPY_CLASS(8192)
	COPY_CLASS(16384)
	COPY_CLASS(24576)
	COPY_CLASS(32768)
	COPY_CLASS(49152)
	COPY_CLASS(65536)
	COPY_CLASS(98304)
	COPY_CLASS(PACKET_MAX_BYTES)
	return PACKET_UNREADABLE;
}

static __always_inline bool is_own(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u32 *mark;

	if (!sk)
		return false;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return false;
	mark = bpf_sk_storage_get(&own_sockets, sk, NULL, 0);
	if (!mark)
		return false;
	return *mark == OWN_ALWAYS || skb->ifindex == LOOPBACK_IFINDEX;
}

static __always_inline __u32 verdict_of(void *map, const void *key)
{
	__u32 *verdict = bpf_map_lookup_elem(map, key);

	return verdict ? *verdict : 0;
}

static __noinline __u32 cgroup_verdict(struct __sk_buff *skb)
{
	__u32 found = 0;

	for (int level = 0; level < MAX_CGROUP_DEPTH; level++) {
		__u64 id = bpf_skb_ancestor_cgroup_id(skb, level);

		if (!id)
			break;
		found |= verdict_of(&scope_cgroups, &id);
	}
	return found;
}

/* The socket's own ports and those of the header: behind NAT and at a listener they differ. */
static __noinline __u32 port_verdict(struct __sk_buff *skb)
{
	__u32 offset = 40, found;
	__be16 header[2] = {};
	__u16 port;
	__u8 first = 0;

	port = skb->local_port;
	found = verdict_of(&scope_ports, &port);
	port = bpf_ntohl(skb->remote_port);
	found |= verdict_of(&scope_ports, &port);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, &first, sizeof(first)))
			return found;
		offset = (first & 15) * 4;
	}
	if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
		return found;
	port = bpf_ntohs(header[0]);
	found |= verdict_of(&scope_ports, &port);
	port = bpf_ntohs(header[1]);
	return found | verdict_of(&scope_ports, &port);
}

static __noinline __u32 network_verdict(struct __sk_buff *skb)
{
	struct scope_network4 v4 = { .prefix_len = 32 };
	struct scope_network6 v6 = { .prefix_len = 128 };
	__u32 found = 0;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!bpf_skb_load_bytes(skb, 12, v4.addr, sizeof(v4.addr)))
			found |= verdict_of(&scope_networks4, &v4);
		if (!bpf_skb_load_bytes(skb, 16, v4.addr, sizeof(v4.addr)))
			found |= verdict_of(&scope_networks4, &v4);
	} else {
		if (!bpf_skb_load_bytes(skb, 8, v6.addr, sizeof(v6.addr)))
			found |= verdict_of(&scope_networks6, &v6);
		if (!bpf_skb_load_bytes(skb, 24, v6.addr, sizeof(v6.addr)))
			found |= verdict_of(&scope_networks6, &v6);
	}
	return found;
}

/* Every kind of list that includes anything must include the packet, and none may exclude it. */
static __always_inline bool in_scope(struct __sk_buff *skb)
{
	__u32 zero = 0, found;
	__u32 *lists = bpf_map_lookup_elem(&scope_state, &zero);

	if (!lists || !*lists)
		return true;
	if (*lists & (SCOPE_INCLUDE_CGROUPS | SCOPE_EXCLUDE_CGROUPS)) {
		found = cgroup_verdict(skb);
		if (found & SCOPE_EXCLUDE)
			return false;
		if ((*lists & SCOPE_INCLUDE_CGROUPS) && !(found & SCOPE_INCLUDE))
			return false;
	}
	if (*lists & (SCOPE_INCLUDE_PORTS | SCOPE_EXCLUDE_PORTS)) {
		found = port_verdict(skb);
		if (found & SCOPE_EXCLUDE)
			return false;
		if ((*lists & SCOPE_INCLUDE_PORTS) && !(found & SCOPE_INCLUDE))
			return false;
	}
	if (*lists & (SCOPE_INCLUDE_NETWORKS | SCOPE_EXCLUDE_NETWORKS)) {
		found = network_verdict(skb);
		if (found & SCOPE_EXCLUDE)
			return false;
		if ((*lists & SCOPE_INCLUDE_NETWORKS) && !(found & SCOPE_INCLUDE))
			return false;
	}
	return true;
}

static __always_inline enum packet_counter fate_of(struct __sk_buff *skb, __u32 hook)
{
	__u32 len = skb->len;
	int fate;

	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return PACKET_NOT_IP;
	if (is_own(skb))
		return PACKET_EXCLUDED_OWN;
	if (!in_scope(skb))
		return PACKET_EXCLUDED_SCOPE;
	if (len <= PACKET_MAX_BYTES)
		return copy_packet(skb, len, hook);
	fate = copy_packet(skb, PACKET_MAX_BYTES, hook);
	return fate == PACKET_CAPTURED ? PACKET_TRUNCATED : fate;
}

/* Atomic although per CPU: a packet in softirq interrupts one in process context. */
static __always_inline void count_packet(struct __sk_buff *skb, __u32 fate)
{
	__u32 zero = 0;
	struct packet_counters *counters = bpf_map_lookup_elem(&packet_counters, &zero);

	if (!counters)
		return;
	__sync_fetch_and_add(&counters->count[PACKET_SEEN], 1);
	__sync_fetch_and_add(&counters->count[PACKET_BYTES], skb->len);
	/* Keeps the compiler from checking a copy, whose bounds the verifier does not carry over. */
	asm volatile("" : "+r"(fate));
	if (fate < NR_PACKET_COUNTERS)
		__sync_fetch_and_add(&counters->count[fate], 1);
}

/* Both hooks return 1: the packet goes on, whatever happened here. */
SEC("cgroup_skb/egress")
int packet_egress(struct __sk_buff *skb)
{
	count_packet(skb, fate_of(skb, PACKET_EGRESS));
	return 1;
}

SEC("cgroup_skb/ingress")
int packet_ingress(struct __sk_buff *skb)
{
	count_packet(skb, fate_of(skb, PACKET_INGRESS));
	return 1;
}

SEC("cgroup/sock_create")
int own_create(struct bpf_sock *sk)
{
	__u32 *mark;

	if (!own_tgid || bpf_get_current_pid_tgid() >> 32 != own_tgid)
		return 1;
	mark = bpf_sk_storage_get(&own_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (mark)
		*mark = OWN_ALWAYS;
	return 1;
}

/*
 * A client that connects to a listener of ours: the lookup is what TCP itself will do in this
 * network namespace. A listener on the wildcard address also matches addresses of other hosts;
 * the device that the packets use tells.
 */
static __always_inline void mark_client(struct bpf_sock_addr *ctx, struct bpf_sock_tuple *tuple,
					__u32 size, bool loopback)
{
	struct bpf_sock *listener;
	bool ours;
	__u32 *mark;

	listener = bpf_sk_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!listener)
		return;
	ours = bpf_sk_storage_get(&own_sockets, listener, NULL, 0) != NULL;
	bpf_sk_release(listener);
	if (!ours || !ctx->sk)
		return;
	mark = bpf_sk_storage_get(&own_sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (mark && *mark != OWN_ALWAYS)
		*mark = loopback ? OWN_ALWAYS : OWN_ON_LOOPBACK;
}

static __always_inline void mark_client4(struct bpf_sock_addr *ctx, __be32 addr)
{
	struct bpf_sock_tuple tuple = {};

	tuple.ipv4.daddr = addr;
	tuple.ipv4.dport = ctx->user_port;
	mark_client(ctx, &tuple, sizeof(tuple.ipv4), bpf_ntohl(addr) >> 24 == 127);
}

SEC("cgroup/connect4")
int own_connect4(struct bpf_sock_addr *ctx)
{
	if (own_tgid && ctx->type == SOCK_STREAM)
		mark_client4(ctx, ctx->user_ip4);
	return 1;
}

SEC("cgroup/connect6")
int own_connect6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};
	__be32 *addr = tuple.ipv6.daddr;

	if (!own_tgid || ctx->type != SOCK_STREAM)
		return 1;
	addr[0] = ctx->user_ip6[0];
	addr[1] = ctx->user_ip6[1];
	addr[2] = ctx->user_ip6[2];
	addr[3] = ctx->user_ip6[3];
	if (!addr[0] && !addr[1] && addr[2] == bpf_htonl(0xffff)) {
		mark_client4(ctx, addr[3]);
		return 1;
	}
	tuple.ipv6.dport = ctx->user_port;
	mark_client(ctx, &tuple, sizeof(tuple.ipv6),
		    !addr[0] && !addr[1] && !addr[2] && addr[3] == bpf_htonl(1));
	return 1;
}

static __always_inline bool is_own_port(__u16 port)
{
	return bpf_map_lookup_elem(&own_ports, &port) != NULL;
}

/*
 * Once at start-up, over the TCP sockets of the daemon's network namespace, listeners first: a
 * connection that waits at a listener from systemd was made before anything could mark its ends.
 */
SEC("iter/tcp")
int own_existing(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__u32 made = OWN_ON_LOOPBACK, listening = 1;
	struct tcp_sock *sk;
	__u16 port;

	if (!common)
		return 0;
	sk = bpf_skc_to_tcp_sock(common);
	if (!sk)
		return 0;
	port = common->skc_num;
	if (common->skc_state == TCP_LISTEN) {
		if (bpf_sk_storage_get(&own_sockets, sk, NULL, 0))
			bpf_map_update_elem(&own_ports, &port, &listening, BPF_ANY);
		return 0;
	}
	if (is_own_port(port) || is_own_port(bpf_ntohs(common->skc_dport)))
		bpf_sk_storage_get(&own_sockets, sk, &made, BPF_SK_STORAGE_GET_F_CREATE);
	return 0;
}
