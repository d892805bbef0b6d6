//! Which cgroups the rules of a scope mean, by a walk through the tree.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use compact_str::CompactString;

use super::Scope;
use crate::capture::bpf::scope_bits;

/// Directories that are looked at; a host has some hundreds.
const MAX_CGROUPS: usize = 65_536;

/// Says which container the cgroup at a path (below the root, with a leading slash) is in: its id, or the name
/// of a machine. How runtimes name their cgroups is not capture's to know.
pub type ContainerOf = fn(&str) -> Option<CompactString>;

/// How a cgroup is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupRule {
    /// By cgroup v2 id (inode number).
    Id(u64),
    /// By path below the cgroup2 root, or by the whole path.
    Path(String),
    /// By the name of the systemd unit that it is made for.
    Unit(String),
    /// By the id of the container that it is made for, or how that begins; or by a machine's name.
    Container(String),
}

impl fmt::Display for CgroupRule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(to, "cgroup {id}"),
            Self::Path(path) => write!(to, "cgroup {path}"),
            Self::Unit(name) => write!(to, "unit {name}"),
            Self::Container(id) => write!(to, "container {id}"),
        }
    }
}

impl CgroupRule {
    /// Whether the cgroup at `path` (below the root, with a leading slash) is meant. What is below it is,
    /// too, but that is the kernel's to see.
    fn fits(&self, id: u64, root: &Path, path: &str, container_of: ContainerOf) -> bool {
        let is_at = |wanted: &str| wanted.trim_matches('/') == path.trim_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        match self {
            Self::Id(wanted) => *wanted == id,
            Self::Path(wanted) => {
                let below = Path::new(wanted).strip_prefix(root);
                is_at(wanted) || below.is_ok_and(|below| is_at(&below.to_string_lossy()))
            }
            Self::Unit(wanted) => wanted == name,
            Self::Container(wanted) => container_of(path).is_some_and(|found| {
                found.starts_with(wanted.as_str()) && container_of(parent).as_ref() != Some(&found)
            }),
        }
    }
}

/// What a walk through the cgroups found.
#[derive(Clone, Debug, Default)]
pub(in crate::capture) struct Verdicts {
    /// cgroup id -> what the scope says of it.
    pub(super) of: BTreeMap<u64, u32>,
    /// All ids that there are.
    pub(super) known: HashSet<u64>,
    /// Rules that no cgroup fits by now.
    pub(super) unmet: Vec<String>,
}

/// Looks the rules of a scope up below `root`.
pub(in crate::capture) fn resolve(root: Option<&Path>, container_of: ContainerOf, scope: &Scope) -> Verdicts {
    let mut found = Verdicts::default();
    let rules: Vec<(&CgroupRule, u32)> =
        (scope.include.cgroups.iter().map(|rule| (rule, scope_bits::INCLUDE)))
            .chain(scope.exclude.cgroups.iter().map(|rule| (rule, scope_bits::EXCLUDE)))
            .collect();
    let mut is_met = vec![false; rules.len()];
    for ((rule, verdict), is_met) in rules.iter().zip(&mut is_met) {
        // Whether it exists or not.
        if let CgroupRule::Id(id) = rule {
            *found.of.entry(*id).or_default() |= verdict;
            *is_met = true;
        }
    }
    if is_met.contains(&false)
        && let Some(root) = root
    {
        walk(root, |id, path| {
            found.known.insert(id);
            for ((rule, verdict), is_met) in rules.iter().zip(&mut is_met) {
                if rule.fits(id, root, path, container_of) {
                    *found.of.entry(id).or_default() |= verdict;
                    *is_met = true;
                }
            }
        });
    }
    let unmet = rules.iter().zip(is_met).filter(|(_, is_met)| !is_met);
    found.unmet = unmet.map(|((rule, _), _)| rule.to_string()).collect();
    found
}

/// Shows every directory below `root`; those that vanish meanwhile are left out.
fn walk(root: &Path, mut show: impl FnMut(u64, &str)) {
    let mut waiting: Vec<PathBuf> = vec![root.to_path_buf()];
    let mut seen = 0;
    while let Some(directory) = waiting.pop() {
        seen += 1;
        if seen > MAX_CGROUPS {
            return;
        }
        let Ok(metadata) = fs::metadata(&directory) else { continue };
        if let Ok(below) = directory.strip_prefix(root) {
            show(metadata.ino(), &format!("/{}", below.display()));
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        waiting.extend(entries.filter(is_directory).map(|entry| entry.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ScopeLists;

    /// Of `docker-ID.scope` and `pod:RUNTIME:ID`, and what is in them.
    fn container_of(path: &str) -> Option<CompactString> {
        let name = path.split('/').rev().find(|name| name.contains(['-', ':']))?;
        name.trim_end_matches(".scope").rsplit(['-', ':']).next().map(CompactString::from)
    }

    #[test]
    fn rules_find_their_cgroups_and_say_what_they_do_not_find() {
        let root = tempfile::tempdir().expect("directory");
        let id = "0123456789abcdef".repeat(4);
        let make = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(&path).expect("directory");
            fs::metadata(&path).expect("made").ino()
        };
        let slice = make("kubepods.slice");
        let (nginx, docker) = (make("system.slice/nginx.service"), make(&format!("docker-{id}.scope")));
        make(&format!("docker-{id}.scope/init"));
        let pod = make(&format!("kubepods.slice/pod:cri-containerd:{}", "f".repeat(64)));
        let rules = |rules: Vec<CgroupRule>| ScopeLists { cgroups: rules, ..ScopeLists::default() };
        let scope = Scope {
            include: rules(vec![
                CgroupRule::Unit("nginx.service".to_owned()),
                CgroupRule::Container("0123456789ab".to_owned()),
                CgroupRule::Container("ffff".to_owned()),
                CgroupRule::Unit("nginx".to_owned()),
                CgroupRule::Id(7),
            ]),
            exclude: rules(vec![
                CgroupRule::Path("/system.slice/nginx.service/".to_owned()),
                CgroupRule::Path(root.path().join("kubepods.slice").display().to_string()),
            ]),
        };
        let found = resolve(Some(root.path()), container_of, &scope);
        let (both, include) = (scope_bits::INCLUDE | scope_bits::EXCLUDE, scope_bits::INCLUDE);
        let wanted =
            [(slice, scope_bits::EXCLUDE), (7, include), (nginx, both), (docker, include), (pod, include)];
        assert_eq!(found.of, BTreeMap::from(wanted));
        assert_eq!(found.unmet, ["unit nginx"]);
        assert_eq!(found.known.len(), 7);
    }
}
