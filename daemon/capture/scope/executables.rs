//! Which executables the TLS scope means: files, which the kernel knows by device and inode.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::sys::stat::{major, minor};

use super::Scope;
use crate::capture::CaptureError;
use crate::capture::bpf::{Loaded, scope_bits, scope_executable_key};

/// The configured names, and the files found for them.
#[derive(Debug)]
pub(in crate::capture) struct Executables {
    rules: Mutex<Vec<(String, u32)>>,
    map: MapHandle,
}

impl Executables {
    pub(in crate::capture) fn of(loaded: &Loaded) -> Result<Self, CaptureError> {
        Ok(Self { rules: Mutex::default(), map: loaded.map("scope_executables")? })
    }

    fn rules(&self) -> MutexGuard<'_, Vec<(String, u32)>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes new names. Files that they lead to are known at once, others by [`Executables::seen`].
    pub(in crate::capture) fn set(&self, scope: &Scope) -> Result<(), CaptureError> {
        let failed = |error| CaptureError::Scope { error };
        let mut rules = self.rules();
        let named =
            |names: &[String], verdict| names.iter().map(move |name| (name.clone(), verdict)).collect();
        let (include, exclude): (Vec<_>, Vec<_>) = (
            named(&scope.include.executables, scope_bits::INCLUDE),
            named(&scope.exclude.executables, scope_bits::EXCLUDE),
        );
        *rules = [include, exclude].concat();
        let old: Vec<_> = self.map.keys().collect();
        for key in old {
            self.map.delete(&key).map_err(failed)?;
        }
        for (path, _) in rules.iter().filter(|(name, _)| name.starts_with('/')) {
            if let Ok(metadata) = fs::metadata(path) {
                let device = (major(metadata.dev()), minor(metadata.dev()));
                self.update(device, metadata.ino(), verdict_of(&rules, path)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Whether executables matter at all.
    pub(in crate::capture) fn is_set(&self) -> bool {
        !self.rules().is_empty()
    }

    /// Takes notice of an executable that a process has mapped: its path there, and `MAJOR:MINOR`
    /// (hexadecimal) and inode as its mappings say. Returns why no plaintext is taken of it.
    pub(in crate::capture) fn seen(&self, path: &str, device: &str, inode: u64) -> Option<&'static str> {
        let rules = self.rules();
        let verdict = verdict_of(&rules, path);
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        if let Some((major, minor)) = device.split_once(':')
            && let (Some(major), Some(minor)) = (number(major), number(minor))
            && let Err(error) = self.update((major, minor), inode, verdict)
        {
            tracing::error!("cannot tell the kernel of {path}, which the TLS scope names: {error}");
        }
        let includes = rules.iter().any(|(_, verdict)| *verdict == scope_bits::INCLUDE);
        if verdict & scope_bits::EXCLUDE != 0 {
            Some("left out by tls.exclude.executables")
        } else if includes && verdict & scope_bits::INCLUDE == 0 {
            Some("left out: tls.include.executables does not name it")
        } else {
            None
        }
    }

    /// Files come and go, and their numbers come again: one that is not meant is taken out.
    fn update(&self, device: (u64, u64), inode: u64, verdict: u32) -> Result<(), libbpf_rs::Error> {
        let key = scope_executable_key(device, inode);
        if verdict != 0 {
            return self.map.update(&key, &verdict.to_ne_bytes(), MapFlags::ANY);
        }
        match self.map.lookup(&key, MapFlags::ANY)? {
            Some(_) => self.map.delete(&key),
            None => Ok(()),
        }
    }
}

/// A name without a path fits wherever the file lies.
fn verdict_of(rules: &[(String, u32)], path: &str) -> u32 {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let name = path.rsplit('/').next().unwrap_or_default();
    let fits = |rule: &str| if rule.starts_with('/') { rule == path } else { rule == name };
    rules.iter().filter(|(rule, _)| fits(rule)).fold(0, |found, (_, verdict)| found | verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_named_by_path_or_wherever_they_lie() {
        let rules = [("/usr/bin/vault".to_owned(), 1), ("vault".to_owned(), 2), ("node".to_owned(), 2)];
        assert_eq!(verdict_of(&rules, "/usr/bin/vault (deleted)"), 3);
        assert_eq!(verdict_of(&rules, "/opt/vault"), 2);
        assert_eq!(verdict_of(&rules, "/usr/bin/vaulted"), 0);
    }
}
