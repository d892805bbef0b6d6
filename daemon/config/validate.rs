//! What single values cannot tell: ranges, and keys that have to go together.

use std::path::Path;

use super::load::Origins;
use super::{ByteSize, Config, Problem};
use crate::telemetry::logs;

/// A database smaller than this would be mostly its own bookkeeping.
pub const MIN_STORE_BYTES: u64 = 32 << 20;

struct Check<'a> {
    origins: &'a Origins,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn require(&mut self, holds: bool, key: &'static str, message: impl FnOnce() -> String) {
        if !holds {
            let origin = self.origins.get(key).map_or_else(|| key.to_owned(), Clone::clone);
            self.problems.push(Problem { origin, message: format!("{key}: {}", message()) });
        }
    }

    fn size(&mut self, key: &'static str, value: ByteSize, least: ByteSize, most: ByteSize) {
        self.require(least <= value && value <= most, key, || {
            format!("{value} is out of range; write a size from {least} to {most}")
        });
    }

    fn count(&mut self, key: &'static str, value: usize, least: usize, most: usize) {
        self.require(least <= value && value <= most, key, || {
            format!("{value} is out of range; write a number from {least} to {most}")
        });
    }

    fn absolute(&mut self, key: &'static str, path: &Path) {
        self.require(path.is_absolute(), key, || {
            format!("{} is not absolute; the daemon has no useful working directory", path.display())
        });
    }
}

pub(super) fn validate(config: &Config, origins: &Origins, problems: &mut Vec<Problem>) {
    let mut check = Check { origins, problems };
    node(config, &mut check);
    listen(config, &mut check);
    capture(config, &mut check);
    dissection(config, &mut check);
    store_and_stream(config, &mut check);
    let level = logs::check_level(&config.log.level);
    check.require(level.is_ok(), "log.level", || {
        level.err().map_or_else(String::new, |error| error.to_string())
    });
}

fn node(config: &Config, check: &mut Check<'_>) {
    let name = &config.node.name;
    let fits =
        name.len() <= 253 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    check.require(fits, "node.name", || {
        format!(
            "{name:?} must have at most 253 letters, digits, dots, dashes or underscores; it is part of ids"
        )
    });
}

fn listen(config: &Config, check: &mut Check<'_>) {
    let listen = &config.listen;
    if let Some(path) = listen.unix_path() {
        check.absolute("listen.unix", path);
        // sockaddr_un has 108 bytes with the final zero.
        check.require(path.as_os_str().len() < 108, "listen.unix", || {
            "the path is longer than the 107 bytes that a unix socket may have".to_owned()
        });
    }
    let (cert, key) = (&listen.tls_cert, &listen.tls_key);
    let both_or_none = cert.as_os_str().is_empty() == key.as_os_str().is_empty();
    check.require(both_or_none, "listen.tls-cert", || {
        "set both listen.tls-cert and listen.tls-key, or neither".to_owned()
    });
    if listen.tls().is_some() {
        check.absolute("listen.tls-cert", cert);
        check.absolute("listen.tls-key", key);
    }
    for address in &listen.tcp {
        let safe =
            address.ip().to_canonical().is_loopback() || listen.tls().is_some() || listen.allow_plaintext;
        check.require(safe, "listen.tcp", || {
            format!(
                "{address} would serve payloads and tokens in clear text to the network; set listen.tls-cert and \
                 listen.tls-key, or listen.allow-plaintext = true if something in front encrypts"
            )
        });
    }
    for origin in &listen.allowed_origins {
        let fits = origin.starts_with("http://") || origin.starts_with("https://");
        check.require(fits && origin.matches('/').count() == 2, "listen.allowed-origins", || {
            format!("{origin:?} is no origin; write scheme, host and port only: https://dash.example:8443")
        });
    }
}

fn capture(config: &Config, check: &mut Check<'_>) {
    let capture = &config.capture;
    let (least, most) = (ByteSize::mib(1), ByteSize::mib(1024));
    check.size("capture.ring-size", capture.ring_size, least, most);
    check.size("capture.socket-ring-size", capture.socket_ring_size, ByteSize(64 << 10), most);
    check.size("tls.ring-size", config.tls.ring_size, least, most);
    check.size("tls.max-message", config.tls.max_message, ByteSize(1 << 10), ByteSize::mib(2));
    check.size("capture.raw-size", capture.raw_size, ByteSize::mib(16), ByteSize::mib(16 << 20));
    check.size("capture.snapshot-size", capture.snapshot_size, ByteSize::mib(1), ByteSize::mib(16 << 20));
    let lists = [
        ("capture.include.cgroups", &capture.include.cgroups),
        ("capture.exclude.cgroups", &capture.exclude.cgroups),
    ];
    for (key, cgroups) in lists {
        for cgroup in cgroups {
            check.require(cgroup.starts_with('/') || cgroup.parse::<u64>().is_ok(), key, || {
                format!("{cgroup:?} is no cgroup; write a path such as /system.slice/nginx.service, or an id")
            });
        }
    }
    names(config, check);
}

/// Lists of names, of which none may be empty or a path where none is meant.
fn names(config: &Config, check: &mut Check<'_>) {
    let (capture, tls) = (&config.capture, &config.tls);
    let lists = [
        ("capture.include.units", &capture.include.units, "nginx.service"),
        ("capture.exclude.units", &capture.exclude.units, "nginx.service"),
        ("capture.include.containers", &capture.include.containers, "the id that entries show"),
        ("capture.exclude.containers", &capture.exclude.containers, "the id that entries show"),
        ("tls.include.users", &tls.include.users, "www-data"),
        ("tls.exclude.users", &tls.exclude.users, "www-data"),
    ];
    for (key, names, example) in lists {
        for name in names {
            check.require(!name.is_empty() && !name.contains('/'), key, || {
                format!("{name:?} is no name; write one such as {example}")
            });
        }
    }
    let lists = [
        ("capture.include.units", &capture.include.units),
        ("capture.exclude.units", &capture.exclude.units),
    ];
    for (key, units) in lists {
        for unit in units {
            check.require(unit.contains('.'), key, || {
                format!("{unit:?} does not say what kind of unit it is; write {unit}.service")
            });
        }
    }
    let lists = [
        ("tls.include.executables", &tls.include.executables),
        ("tls.exclude.executables", &tls.exclude.executables),
    ];
    for (key, executables) in lists {
        for executable in executables {
            let is_name = !executable.is_empty() && !executable.contains('/');
            check.require(is_name || executable.starts_with('/'), key, || {
                format!("{executable:?} is neither a path nor a name; write /usr/bin/vault or vault")
            });
        }
    }
}

fn dissection(config: &Config, check: &mut Check<'_>) {
    let dissection = &config.dissection;
    check.count("dissection.shards", dissection.shards, 0, 256);
    check.count("dissection.max-connections", dissection.max_connections, 16, 1 << 24);
    check.count("dissection.max-pending", dissection.max_pending, 1, 1 << 20);
    check.size("dissection.max-body", dissection.max_body, ByteSize(0), ByteSize::mib(64));
    check.size("dissection.max-decoded-body", dissection.max_decoded_body, ByteSize(0), ByteSize::mib(128));
    check.size("dissection.max-head", dissection.max_head, ByteSize(1 << 10), ByteSize::mib(4));
    check.count("dissection.delayed-cpu", dissection.delayed_cpu, 1, 100);
    check.count("dissection.delayed-nice", dissection.delayed_nice, 0, 19);
    check.size(
        "dissection.delayed-memory",
        dissection.delayed_memory,
        ByteSize::mib(16),
        ByteSize::mib(1 << 20),
    );
    check.count("dissection.delayed-at-once", dissection.delayed_at_once, 1, 8);
    if let Some(folder) = dissection.grpc.descriptors() {
        check.absolute("dissection.grpc.descriptors", folder);
    }
    let positive = [
        ("dissection.open-after", dissection.open_after),
        ("dissection.answer-timeout", dissection.answer_timeout),
        ("dissection.idle-timeout", dissection.idle_timeout),
    ];
    for (key, period) in positive {
        check.require(!period.0.is_zero(), key, || "must be longer than zero".to_owned());
    }
}

fn store_and_stream(config: &Config, check: &mut Check<'_>) {
    check.absolute("store.path", &config.store.path);
    let most = ByteSize(1 << 44);
    check.size("store.max-size", config.store.max_size, ByteSize(MIN_STORE_BYTES), most);
    let stream = &config.stream;
    // At least one packet of 64 KiB, or one entry with its largest bodies, must fit with others.
    let (least, most) = (ByteSize::mib(1), ByteSize::mib(16 << 10));
    check.size("stream.shard-queue", stream.shard_queue, least, most);
    check.size("stream.entry-queue", stream.entry_queue, least, most);
    check.size("stream.store-queue", stream.store_queue, least, most);
    check.size("stream.subscriber-queue", stream.subscriber_queue, least, most);
    check.count("stream.max-subscribers", stream.max_subscribers, 1, 100_000);
}
