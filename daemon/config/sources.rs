//! Where configuration comes from, later sources winning over earlier ones.

use std::path::{Path, PathBuf};

use super::Problem;

/// Read when no other file is named; may be absent.
pub const DEFAULT_FILE: &str = "/etc/remora/remora.toml";
/// Begins the name of an environment variable that sets a key.
const ENV_PREFIX: &str = "REMORA_";

/// Files, then `REMORA_SECTION__KEY` variables, then flags. Files are read anew at each load, so the
/// same value serves a reload.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None` for [`DEFAULT_FILE`], which may be absent. `<file>.d/*.toml` is read after it.
    pub file: Option<PathBuf>,
    /// Name and value of environment variables that set a key.
    pub environment: Vec<(String, String)>,
    /// Flag (for messages), key and value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// One text of configuration.
pub(super) struct Text {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Sources {
    /// What the daemon's command line and this process's environment say.
    pub fn new(file: Option<PathBuf>, log_level: Option<String>) -> Self {
        let environment = std::env::vars().filter(|(name, _)| key_of_variable(name).is_some()).collect();
        let flags = log_level.map(|level| ("--log-level", "log.level", level)).into_iter().collect();
        Self { file, environment, flags }
    }

    /// The texts in the order in which they are applied: the file, then its drop-ins by name.
    pub(super) fn texts(&self, problems: &mut Vec<Problem>) -> Vec<Text> {
        let path = self.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let mut texts = Vec::new();
        match std::fs::read_to_string(&path) {
            Ok(text) => texts.push(Text { path: path.clone(), text }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.file.is_none() => {}
            Err(error) => problems.push(unreadable(&path, &error)),
        }
        for path in drop_ins(&path, problems) {
            match std::fs::read_to_string(&path) {
                Ok(text) => texts.push(Text { path, text }),
                Err(error) => problems.push(unreadable(&path, &error)),
            }
        }
        texts
    }
}

/// `REMORA_STORE__MAX_SIZE` -> `store.max-size`; variables without `__` are not about keys.
pub(super) fn key_of_variable(name: &str) -> Option<String> {
    let path = name.strip_prefix(ENV_PREFIX)?;
    path.contains("__").then(|| path.to_ascii_lowercase().replace("__", ".").replace('_', "-"))
}

fn drop_ins(file: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut directory = file.as_os_str().to_owned();
    directory.push(".d");
    let directory = PathBuf::from(directory);
    let listed = match std::fs::read_dir(&directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(unreadable(&directory, &error));
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = listed.filter_map(|item| Some(item.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem { origin: path.display().to_string(), message: format!("cannot be read: {error}") }
}
