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

#include "tls/wanted.h"
#include "tls/session.h"
#include "tls/message.h"
#include "tls/libraries.h"
#include "tls/descriptor.h"
#include "tls/golang.h"
#include "tls/secrets.h"
#include "tls/rustls.h"
#include "tls/witness.h"
