//! Files with TLS in them, each looked into once and attached to once, whoever maps it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libbpf_rs::Object;

use super::binary::{Binary, FileId};
use super::census::TlsUse;
use super::keylog;
use super::recipe::{self, Hook, Recipe, Verdict};
use crate::capture::bpf::{Links, UprobeMethod, attach_uprobes};
use crate::engine::model::TlsLibrary;

/// Most files that are attached to. Hosts have a few, plus one for each image of a container.
const MAX_ATTACHED: usize = 1024;
/// Most files remembered as having no TLS; all are forgotten then, which costs another look.
const MAX_REMEMBERED: usize = 65_536;
/// How long a file that nobody maps stays attached: programs come back.
const UNUSED_PATIENCE: Duration = Duration::from_secs(120);
/// How long an attach that failed is not tried again.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// What a file is.
#[derive(Debug)]
enum Known {
    Nothing,
    /// Cannot be looked into, or has TLS that is not covered: which, and why.
    Opaque {
        has_tls: bool,
        why: String,
    },
    Refused {
        library: TlsLibrary,
        why: String,
        at: Instant,
    },
    Attached(Box<Attachment>),
}

#[derive(Debug)]
struct Attachment {
    recipe: Recipe,
    links: Links,
    /// Probes of the recipe that could not be attached.
    failures: Vec<String>,
    last_used: Instant,
    /// Stays without users: short-lived processes of it would else be missed.
    is_standing: bool,
}

/// All files that were looked into.
#[derive(Debug)]
pub(super) struct Attachments {
    object: Arc<Object>,
    method: UprobeMethod,
    known: HashMap<FileId, Known>,
    takes_secrets: bool,
}

/// What came of looking into a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its part of a process's report; `None`: it has no TLS.
    pub(super) used: Option<TlsUse>,
    /// It was attached to just now, and not all went well.
    pub(super) has_failed: bool,
}

impl Attachments {
    /// `takes_secrets`: key material is wanted as well.
    pub(super) fn new(object: Arc<Object>, method: UprobeMethod, takes_secrets: bool) -> Self {
        Self { object, method, known: HashMap::new(), takes_secrets }
    }

    /// Whether the file was looked into, so that it need not be opened.
    pub(super) fn is_known(&self, id: &FileId) -> bool {
        match self.known.get(id) {
            Some(Known::Refused { at, .. }) => at.elapsed() < RETRY_AFTER,
            Some(_) => true,
            None => false,
        }
    }

    /// Looks into a file if that was not done, and attaches if there is reason to.
    pub(super) fn visit(&mut self, id: &FileId, file: File, path: &str, is_standing: bool) -> Found {
        let has_failed = !self.is_known(id) && self.examine(id, file, path, is_standing);
        Found { used: self.use_of(id, path), has_failed }
    }

    /// What a process has in a file; marks the file as used.
    pub(super) fn use_of(&mut self, id: &FileId, path: &str) -> Option<TlsUse> {
        match self.known.get_mut(id)? {
            Known::Nothing | Known::Opaque { .. } => None,
            Known::Refused { library, why, .. } => Some(TlsUse {
                library: *library,
                version: String::new(),
                path: path.to_owned(),
                found_by: "",
                functions: Vec::new(),
                is_costly: false,
                attached: false,
                reason: why.clone(),
            }),
            Known::Attached(attachment) => {
                attachment.last_used = Instant::now();
                Some(attachment.describe(path))
            }
        }
    }

    /// Why nothing is seen of a file that no library is known in; `None`: there is nothing to be seen.
    /// What cannot be looked into matters only if it is what the process executes.
    pub(super) fn reason_of(&self, id: &FileId, is_executable: bool) -> Option<&str> {
        match self.known.get(id)? {
            Known::Opaque { has_tls, why } if *has_tls || is_executable => Some(why),
            _ => None,
        }
    }

    /// Returns whether something failed.
    fn examine(&mut self, id: &FileId, file: File, path: &str, is_standing: bool) -> bool {
        if self.known.len() >= MAX_REMEMBERED {
            self.known.retain(|_, known| !matches!(known, Known::Nothing | Known::Opaque { .. }));
        }
        let looked = Binary::new(file).and_then(|binary| {
            let mut verdict = recipe::examine(&binary, path)?;
            if let (true, Verdict::Tls(recipe)) = (self.takes_secrets, &mut verdict) {
                keylog::extend(&binary, recipe);
            }
            Ok((binary, verdict))
        });
        let (known, has_failed) = match looked {
            Err(error) => (Known::Opaque { has_tls: false, why: error.to_string() }, false),
            Ok((_, Verdict::Nothing)) => (Known::Nothing, false),
            Ok((_, Verdict::Uncovered(why))) => (Known::Opaque { has_tls: true, why: why.to_owned() }, false),
            Ok((_, Verdict::Unsupported(library, why))) => {
                (Known::Refused { library, why, at: Instant::now() }, false)
            }
            Ok((binary, Verdict::Tls(recipe))) => match self.attach(&binary, recipe, path, is_standing) {
                Known::Attached(attachment) if attachment.failures.is_empty() => {
                    (Known::Attached(attachment), false)
                }
                known => (known, true),
            },
        };
        self.known.insert(id.clone(), known);
        has_failed
    }

    fn attach(&self, binary: &Binary, recipe: Recipe, path: &str, is_standing: bool) -> Known {
        let library = recipe.library;
        let refuse = |why: String| Known::Refused { library, why, at: Instant::now() };
        if self.attached() >= MAX_ATTACHED {
            return refuse(format!("{MAX_ATTACHED} files are attached to already; narrow the capture scope"));
        }
        if recipe.cookie != 0 && self.method != UprobeMethod::Multi {
            return refuse("Linux is too old for it: 6.6 is needed".to_owned());
        }
        let (mut links, mut failures) = (Links::default(), Vec::new());
        for ((program, at_return), offsets) in by_program(&recipe.hooks) {
            let (object, method, cookie) = (&self.object, self.method, recipe.cookie);
            match attach_uprobes(object, method, program, at_return, binary.file(), &offsets, cookie) {
                Ok(attached) => links.append(attached.into()),
                Err(error) => failures.push(format!("{program}: the kernel refused to attach it: {error}")),
            }
        }
        if links.is_empty() {
            tracing::warn!(path, "cannot see TLS of {}: {}", library.name(), failures.join("; "));
            return refuse(failures.join("; "));
        }
        tracing::debug!(
            path,
            hooks = recipe.hooks.len(),
            costly = recipe.is_costly,
            "attached to {}",
            library.name()
        );
        let last_used = Instant::now();
        Known::Attached(Box::new(Attachment { recipe, links, failures, last_used, is_standing }))
    }

    /// How many files are attached to.
    pub(super) fn attached(&self) -> usize {
        self.known.values().filter(|known| matches!(known, Known::Attached(_))).count()
    }

    /// Detaches from files that nobody used for long.
    pub(super) fn drop_unused(&mut self) {
        self.detach(|attachment| {
            !attachment.is_standing && attachment.last_used.elapsed() >= UNUSED_PATIENCE
        });
    }

    fn detach(&mut self, is_over: impl Fn(&Attachment) -> bool) {
        let mut links = Links::default();
        self.known.retain(|_, known| match known {
            Known::Attached(attachment) if is_over(attachment) => {
                links.append(std::mem::take(&mut attachment.links));
                false
            }
            _ => true,
        });
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        self.detach(|_| true);
    }
}

impl Attachment {
    fn describe(&self, path: &str) -> TlsUse {
        let recipe = &self.recipe;
        let reasons: Vec<_> = recipe.skipped.iter().chain(&self.failures).map(String::as_str).collect();
        TlsUse {
            library: recipe.library,
            version: recipe.version.clone(),
            path: path.to_owned(),
            found_by: recipe.found_by,
            functions: recipe.functions.clone(),
            is_costly: recipe.is_costly,
            attached: true,
            reason: reasons.join("; "),
        }
    }
}

/// Returns are attached first: a call whose return would be missed is then not begun.
fn by_program(hooks: &[Hook]) -> Vec<((&'static str, bool), Vec<u64>)> {
    let mut programs: BTreeMap<(bool, &'static str), Vec<u64>> = BTreeMap::new();
    for hook in hooks {
        let is_first = hook.at_return || hook.program.ends_with("_leave");
        programs.entry((!is_first, hook.program)).or_default();
    }
    let mut grouped = Vec::new();
    for (_, program) in programs.into_keys() {
        for at_return in [true, false] {
            let of_it = hooks.iter().filter(|hook| hook.program == program && hook.at_return == at_return);
            let offsets: Vec<_> = of_it.map(|hook| hook.offset).collect();
            let is_new = !grouped.iter().any(|(key, _)| *key == (program, at_return));
            if !offsets.is_empty() && is_new {
                grouped.push(((program, at_return), offsets));
            }
        }
    }
    grouped
}
