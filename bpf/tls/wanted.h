/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whose plaintext is wanted: the scope, for the calling process. */
#pragma once

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
