//! Attaches programs to instructions of files; a link that is dropped detaches.

use std::fs::File;
use std::os::fd::AsRawFd;

use libbpf_rs::{Link, Object, UprobeMultiOpts, UprobeOpts};

/// Every process, present and future.
const ANY_PROCESS: i32 = -1;

/// How probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture) enum UprobeMethod {
    /// One link for all probes of a program in a file: Linux 6.6.
    Multi,
    /// One perf event for each probe.
    Perf,
}

impl UprobeMethod {
    /// For people.
    pub(in crate::capture) fn name(self) -> &'static str {
        match self {
            Self::Multi => "uprobe_multi",
            Self::Perf => "perf uprobes",
        }
    }
}

/// Attaches a program at offsets of an open file, for every process that maps it. `at_return`: fires
/// when the function entered there returns. `cookie` is what programs can ask for (only
/// with `UprobeMethod::Multi`); zero for none.
pub(in crate::capture) fn attach_uprobes(
    object: &Object,
    method: UprobeMethod,
    program: &str,
    at_return: bool,
    file: &File,
    offsets: &[u64],
    cookie: u64,
) -> Result<Vec<Link>, libbpf_rs::Error> {
    // The kernel wants a path; this one leads to the open file, in whatever mount namespace it is,
    // deleted or not.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let missing = || libbpf_rs::Error::from(std::io::Error::new(std::io::ErrorKind::NotFound, program));
    let program = object.progs_mut().find(|found| found.name() == program).ok_or_else(missing)?;
    match method {
        UprobeMethod::Multi => {
            let opts = UprobeMultiOpts {
                offsets: offsets.iter().map(|offset| *offset as usize).collect(),
                cookies: vec![cookie; if cookie == 0 { 0 } else { offsets.len() }],
                retprobe: at_return,
                ..UprobeMultiOpts::default()
            };
            Ok(vec![program.attach_uprobe_multi_with_opts(ANY_PROCESS, path, "", opts)?])
        }
        UprobeMethod::Perf => offsets
            .iter()
            .map(|offset| {
                let opts = UprobeOpts { retprobe: at_return, ..UprobeOpts::default() };
                program.attach_uprobe_with_opts(ANY_PROCESS, &path, *offset as usize, opts)
            })
            .collect(),
    }
}
