//! Answers which process, cgroup, container and systemd unit a pid stands for; read-only.
