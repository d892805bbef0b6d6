//! Attaches loaded programs and runs iterators.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_rs::{Iter, Link, Object, ProgramMut};

use super::{Links, Loaded};

/// What came of attaching the programs of one object.
#[derive(Debug, Default)]
pub(in crate::capture) struct Attached {
    /// What is attached; dropping it detaches.
    pub(in crate::capture) links: Links,
    /// Names of attached programs.
    pub(in crate::capture) programs: Vec<String>,
    /// Programs that are not attached, with the reason.
    pub(in crate::capture) missing: BTreeMap<String, String>,
}

/// Attaches all programs of an object, but for iterators and uprobes, to the cgroup or to what their section
/// names. Those in `last` come after the others.
pub(in crate::capture) fn attach_all(loaded: &Loaded, cgroup: BorrowedFd<'_>, last: &[&str]) -> Attached {
    let mut attached = Attached { missing: loaded.left_out.clone(), ..Attached::default() };
    for is_last in [false, true] {
        for program in loaded.object.progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let is_turn = last.contains(&name.as_str()) == is_last;
            // Iterators are run, and uprobes attached to files, by others.
            let section = section(&program);
            let is_for_others = section == "uprobe" || section.starts_with("iter/");
            if is_turn && program.autoload() && !is_for_others {
                attached.add(name, attach(&program, cgroup));
            }
        }
    }
    attached
}

impl Attached {
    /// Runs an iterator program once and returns what it wrote; `None`: it cannot run, as is noted.
    pub(in crate::capture) fn run(&mut self, loaded: &Loaded, iterator: &str) -> Option<Vec<u8>> {
        if loaded.left_out.contains_key(iterator) {
            return None;
        }
        match run_iterator(&loaded.object, iterator) {
            Ok(output) => {
                self.programs.push(iterator.to_owned());
                Some(output)
            }
            Err(error) => {
                self.missing.insert(iterator.to_owned(), format!("the kernel refused to run it: {error}"));
                None
            }
        }
    }

    fn add(&mut self, name: String, link: Result<Link, libbpf_rs::Error>) {
        match link {
            Ok(link) => {
                self.links.push(link);
                self.programs.push(name);
            }
            Err(error) => {
                self.missing.insert(name, format!("the kernel refused to attach it: {error}"));
            }
        }
    }
}

fn section(program: &ProgramMut<'_>) -> String {
    program.section().to_string_lossy().into_owned()
}

fn attach(program: &ProgramMut<'_>, cgroup: BorrowedFd<'_>) -> Result<Link, libbpf_rs::Error> {
    if section(program).starts_with("cgroup") {
        program.attach_cgroup(cgroup.as_raw_fd())
    } else {
        program.attach()
    }
}

fn run_iterator(object: &Object, name: &str) -> Result<Vec<u8>, libbpf_rs::Error> {
    let mut output = Vec::new();
    if let Some(program) = object.progs_mut().find(|program| program.name() == name) {
        let link = program.attach()?;
        Iter::new(&link)?.read_to_end(&mut output)?;
    }
    Ok(output)
}
