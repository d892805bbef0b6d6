//! The table of keys: everything that can be configured, one row each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::Config;

/// One key. Parsing, environment, rendering and documentation derive from its row.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted name, such as `store.max-size`.
    pub name: &'static str,
    pub(super) set: fn(&mut Config, Value) -> Result<(), String>,
    pub(super) get: fn(&Config) -> Result<Value, toml::ser::Error>,
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.message().to_owned())
}

fn write<T: Serialize>(value: &T) -> Result<Value, toml::ser::Error> {
    Value::try_from(value)
}

macro_rules! keys {
    ($($name:literal => $section:ident $(. $field:ident)+;)*) => {
        impl Key {
            /// All keys, by section, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self {
                name: $name,
                set: |config, value| { config.$section $(. $field)+ = read(value)?; Ok(()) },
                get: |config| write(&config.$section $(. $field)+),
            },)*];
        }
    };
}

keys! {
    "node.name" => node.name;
    "node.drain-timeout" => node.drain_timeout;
    "listen.unix" => listen.unix;
    "listen.tcp" => listen.tcp;
    "listen.tls-cert" => listen.tls_cert;
    "listen.tls-key" => listen.tls_key;
    "listen.allow-plaintext" => listen.allow_plaintext;
    "listen.allowed-hosts" => listen.allowed_hosts;
    "listen.allowed-origins" => listen.allowed_origins;
    "access.group" => access.group;
    "access.group-role" => access.group_role;
    "access.users" => access.users;
    "access.groups" => access.groups;
    "capture.ring-size" => capture.ring_size;
    "capture.socket-ring-size" => capture.socket_ring_size;
    "capture.raw" => capture.raw;
    "capture.raw-size" => capture.raw_size;
    "capture.raw-age" => capture.raw_age;
    "capture.snapshot-size" => capture.snapshot_size;
    "capture.include.cgroups" => capture.include.cgroups;
    "capture.include.units" => capture.include.units;
    "capture.include.containers" => capture.include.containers;
    "capture.include.ports" => capture.include.ports;
    "capture.include.networks" => capture.include.networks;
    "capture.exclude.cgroups" => capture.exclude.cgroups;
    "capture.exclude.units" => capture.exclude.units;
    "capture.exclude.containers" => capture.exclude.containers;
    "capture.exclude.ports" => capture.exclude.ports;
    "capture.exclude.networks" => capture.exclude.networks;
    "tls.enabled" => tls.enabled;
    "tls.ring-size" => tls.ring_size;
    "tls.max-message" => tls.max_message;
    "tls.keylog" => tls.keylog;
    "tls.include.users" => tls.include.users;
    "tls.include.executables" => tls.include.executables;
    "tls.exclude.users" => tls.exclude.users;
    "tls.exclude.executables" => tls.exclude.executables;
    "dissection.enabled" => dissection.enabled;
    "dissection.shards" => dissection.shards;
    "dissection.max-connections" => dissection.max_connections;
    "dissection.max-body" => dissection.max_body;
    "dissection.max-decoded-body" => dissection.max_decoded_body;
    "dissection.max-head" => dissection.max_head;
    "dissection.max-pending" => dissection.max_pending;
    "dissection.answer-timeout" => dissection.answer_timeout;
    "dissection.idle-timeout" => dissection.idle_timeout;
    "dissection.delayed-cpu" => dissection.delayed_cpu;
    "dissection.delayed-nice" => dissection.delayed_nice;
    "dissection.delayed-memory" => dissection.delayed_memory;
    "dissection.delayed-at-once" => dissection.delayed_at_once;
    "store.enabled" => store.enabled;
    "store.path" => store.path;
    "store.max-size" => store.max_size;
    "store.max-age" => store.max_age;
    "stream.shard-queue" => stream.shard_queue;
    "stream.entry-queue" => stream.entry_queue;
    "stream.store-queue" => stream.store_queue;
    "stream.subscriber-queue" => stream.subscriber_queue;
    "stream.max-subscribers" => stream.max_subscribers;
    "log.level" => log.level;
}

impl Key {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|key| key.name == name)
    }

    /// Whether `name` is a section: keys lie below it.
    pub(super) fn is_section(name: &str) -> bool {
        Self::ALL.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The key that was probably meant by `name`.
    pub(super) fn nearest(name: &str) -> Option<&'static str> {
        let distances = Self::ALL.iter().map(|key| (distance(key.name, name), key.name));
        // A third of the letters may be wrong; beyond that a suggestion only confuses.
        distances.min().filter(|(distance, key)| *distance * 3 <= key.len()).map(|(_, key)| key)
    }
}

/// Letters to change, add or remove to turn one text into the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        for (cell, to) in row[1..].iter_mut().zip(&right) {
            let changed = diagonal + usize::from(from != *to);
            diagonal = *cell;
            previous = changed.min(*cell + 1).min(previous + 1);
            *cell = previous;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(0)
}
