//! Opens and loads the BPF objects; leaves out, one by one, the programs that the kernel refuses.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::{Arc, Mutex};

use libbpf_rs::{
    MapCore, MapHandle, Object, ObjectBuilder, OpenObject, PrintLevel, ProgramAttachType, set_print,
};

use super::UprobeMethod;
use super::generated::{packet, socket, tls};
use crate::capture::CaptureError;

static PACKET_OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packet.bpf.o"));
static SOCKET_OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/socket.bpf.o"));
static TLS_OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tls.bpf.o"));

/// What is decided before loading.
#[derive(Clone, Debug, Default)]
pub(in crate::capture) struct LoadOptions {
    /// Ring size: a power of two and a multiple of the page size.
    pub(in crate::capture) ring_bytes: u32,
    /// The daemon's tgid; 0 excludes nothing.
    pub(in crate::capture) own_pid: u32,
    /// Tracing programs may use `bpf_get_socket_cookie` and `bpf_sk_storage_get`.
    pub(in crate::capture) has_socket_helpers: bool,
    /// Programs not to load, with the reason.
    pub(in crate::capture) without: BTreeMap<String, String>,
    /// Programs not to load because others do their job.
    pub(in crate::capture) needless: Vec<&'static str>,
    /// How uprobes will be attached, of which the kernel wants to know early.
    pub(in crate::capture) uprobes: Option<UprobeMethod>,
    /// Most bytes of plaintext taken of one call.
    pub(in crate::capture) message_budget: u32,
}

/// A loaded object.
#[derive(Debug)]
pub(in crate::capture) struct Loaded {
    pub(in crate::capture) object: Arc<Object>,
    /// Programs that were left out, with the reason.
    pub(in crate::capture) left_out: BTreeMap<String, String>,
    /// Name of the ring map.
    pub(in crate::capture) ring: &'static str,
    /// Where in `.bss` the reader says that it is awake.
    pub(in crate::capture) awake_offset: usize,
}

impl Loaded {
    /// A handle to a map of the object that outlives the object.
    pub(in crate::capture) fn map(&self, name: &str) -> Result<MapHandle, CaptureError> {
        let map = self.object.maps().find(|map| map.name() == name);
        let handle = map.as_ref().map(MapHandle::try_from).transpose();
        handle.ok().flatten().ok_or_else(|| CaptureError::Map { name: name.to_owned() })
    }
}

/// An object file of ours and where it keeps what user space sets.
struct Source {
    bytes: &'static [u8],
    job: &'static str,
    ring: &'static str,
    awake_offset: usize,
    write_config: fn(&mut [u8], &LoadOptions),
}

/// Loads `packet.bpf.c`.
pub(in crate::capture) fn load_packet(options: &LoadOptions) -> Result<Loaded, CaptureError> {
    load(
        &Source {
            bytes: PACKET_OBJECT,
            job: "packets",
            ring: "packet_ring",
            awake_offset: offset_of!(packet::types::bss, packet_reader_awake),
            write_config: |rodata, options| {
                put(rodata, offset_of!(packet::types::rodata, own_tgid), &options.own_pid.to_ne_bytes());
            },
        },
        options,
    )
}

/// Loads `socket.bpf.c`.
pub(in crate::capture) fn load_socket(options: &LoadOptions) -> Result<Loaded, CaptureError> {
    load(
        &Source {
            bytes: SOCKET_OBJECT,
            job: "attribution",
            ring: "socket_ring",
            awake_offset: offset_of!(socket::types::bss, socket_reader_awake),
            write_config: |rodata, options| {
                let has_helpers = offset_of!(socket::types::rodata, has_socket_helpers);
                put(rodata, offset_of!(socket::types::rodata, own_tgid), &options.own_pid.to_ne_bytes());
                put(rodata, has_helpers, &[u8::from(options.has_socket_helpers)]);
            },
        },
        options,
    )
}

/// Loads `tls.bpf.c`.
pub(in crate::capture) fn load_tls(options: &LoadOptions) -> Result<Loaded, CaptureError> {
    load(
        &Source {
            bytes: TLS_OBJECT,
            job: "tls",
            ring: "tls_ring",
            awake_offset: offset_of!(tls::types::bss, tls_reader_awake),
            write_config: |rodata, options| {
                let has_helpers = offset_of!(tls::types::rodata, has_socket_helpers);
                let has_cookies = offset_of!(tls::types::rodata, has_attach_cookies);
                let budget = offset_of!(tls::types::rodata, message_budget);
                put(rodata, offset_of!(tls::types::rodata, own_tgid), &options.own_pid.to_ne_bytes());
                put(rodata, has_helpers, &[u8::from(options.has_socket_helpers)]);
                let is_multi = options.uprobes == Some(UprobeMethod::Multi);
                put(rodata, has_cookies, &[u8::from(is_multi)]);
                put(rodata, budget, &options.message_budget.to_ne_bytes());
            },
        },
        options,
    )
}

fn put(section: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = section.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
    }
}

/// What libbpf says while it loads: the only place where it names the program that failed.
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Messages are global, so one object loads at a time.
static LOADING: Mutex<()> = Mutex::new(());

fn collect(_level: PrintLevel, message: String) {
    let mut messages = MESSAGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    messages.push(message);
}

fn load(source: &Source, options: &LoadOptions) -> Result<Loaded, CaptureError> {
    let _one_at_a_time = LOADING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let previous = set_print(Some((PrintLevel::Warn, collect)));
    let result = load_without_refused(source, options);
    set_print(previous);
    result
}

fn load_without_refused(source: &Source, options: &LoadOptions) -> Result<Loaded, CaptureError> {
    let mut left_out = options.without.clone();
    loop {
        let messages =
            || std::mem::take(&mut *MESSAGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        messages();
        let error = match open(source, options, &left_out).and_then(OpenObject::load) {
            Ok(object) => {
                let (ring, awake_offset) = (source.ring, source.awake_offset);
                let object = Arc::new(object);
                return Ok(Loaded { object, left_out, ring, awake_offset });
            }
            Err(error) => error,
        };
        let messages = messages();
        match refused_program(&messages) {
            Some(name) if !left_out.contains_key(&name) => {
                let reason = verifier_reason(&messages).unwrap_or_else(|| error.to_string());
                left_out.insert(name, format!("the kernel refused it: {reason}"));
            }
            _ => return Err(load_error(source.job, error, &messages)),
        }
    }
}

fn open(
    source: &Source,
    options: &LoadOptions,
    left_out: &BTreeMap<String, String>,
) -> Result<OpenObject, libbpf_rs::Error> {
    let mut object = ObjectBuilder::default().name("remora")?.open_memory(source.bytes)?;
    for mut map in object.maps_mut() {
        if map.name() == source.ring {
            map.set_max_entries(options.ring_bytes)?;
        }
        if map.name().to_string_lossy().ends_with(".rodata")
            && let Some(rodata) = map.initial_value_mut()
        {
            (source.write_config)(rodata, options);
        }
    }
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy();
        let wanted = !left_out.contains_key(name.as_ref()) && !options.needless.contains(&name.as_ref());
        program.set_autoload(wanted);
        let is_uprobe = program.section().to_string_lossy() == "uprobe";
        if is_uprobe && options.uprobes == Some(UprobeMethod::Multi) {
            program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
        }
    }
    Ok(object)
}

fn load_error(job: &'static str, error: libbpf_rs::Error, messages: &[String]) -> CaptureError {
    if error.kind() == libbpf_rs::ErrorKind::PermissionDenied {
        return CaptureError::NotPermitted { job };
    }
    let said = messages.last().map_or_else(String::new, |message| message.trim().to_owned());
    CaptureError::Load { job, error, said }
}

/// The program that the last load failed at, out of `libbpf: prog 'NAME': failed to load: -22`.
fn refused_program(messages: &[String]) -> Option<String> {
    messages.iter().rev().find_map(|message| {
        let (_, rest) = message.split_once("prog '")?;
        let (name, said) = rest.split_once('\'')?;
        (said.contains("failed to load") || said.contains("failed to find kernel BTF"))
            .then(|| name.to_owned())
    })
}

/// The verifier's last complaint, which stands before its statistics.
fn verifier_reason(messages: &[String]) -> Option<String> {
    let log = messages.iter().rev().find(|message| message.contains("BEGIN PROG LOAD LOG"))?;
    let complaint = log.lines().rev().map(str::trim).find(|line| {
        !line.is_empty()
            && !line.starts_with("--")
            && !line.starts_with("processed ")
            && !line.starts_with("libbpf")
    })?;
    Some(complaint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_program_is_found_in_what_libbpf_says() {
        let messages = [
            "libbpf: prog 'owner_send': BPF program load failed: -EINVAL\n".to_owned(),
            "libbpf: prog 'owner_send': -- BEGIN PROG LOAD LOG --\n0: (b7)\nunknown func x#1\nprocessed 2 insns\n-- END PROG LOAD LOG --\n".to_owned(),
            "libbpf: prog 'owner_send': failed to load: -EINVAL\n".to_owned(),
            "libbpf: failed to load object 'remora'\n".to_owned(),
        ];
        assert_eq!(refused_program(&messages).as_deref(), Some("owner_send"));
        assert_eq!(verifier_reason(&messages).as_deref(), Some("unknown func x#1"));
    }

    #[test]
    fn messages_that_name_no_program_refuse_none() {
        assert_eq!(refused_program(&["libbpf: failed to create map 'x'".to_owned()]), None);
    }
}
