/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sockets by descriptor, for libraries that are told one. */
#pragma once

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
