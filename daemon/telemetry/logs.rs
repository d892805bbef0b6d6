//! Sets up logging: structured to journald under systemd, readable to stderr elsewhere.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::sync::OnceLock;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level's text is not understood.
    #[error(
        "log level {text:?} is not valid: {reason}; write error, warn, info, debug or trace, or target=level pairs"
    )]
    Level {
        /// As configured.
        text: String,
        /// Why not.
        reason: String,
    },
    /// Logging was already set up in this process.
    #[error("logging is already set up")]
    Twice,
    /// The level cannot be changed because [`init`] has not run.
    #[error("logging is not set up")]
    NotSetUp,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// journald when stderr is connected to it, stderr otherwise.
    Detect,
    /// stderr always.
    Stderr,
}

/// Starts logging at `level` (`info`, or `info,remora::capture=debug`). Once per process.
pub fn init(level: &str, destination: Destination) -> Result<(), LogError> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let output: Box<dyn Layer<_> + Send + Sync> = match journal(destination) {
        Some(journal) => journal.boxed(),
        None => stderr(),
    };
    Registry::default().with(filter).with(output).try_init().map_err(|_| LogError::Twice)?;
    LEVEL.set(handle).map_err(|_| LogError::Twice)
}

/// Changes the level while running, as a configuration reload does.
pub fn set_level(level: &str) -> Result<(), LogError> {
    let filter = parse(level)?;
    let handle = LEVEL.get().ok_or(LogError::NotSetUp)?;
    handle.reload(filter).map_err(|_| LogError::NotSetUp)
}

/// Checks a level's text without changing anything.
pub fn check_level(level: &str) -> Result<(), LogError> {
    parse(level).map(drop)
}

fn parse(level: &str) -> Result<EnvFilter, LogError> {
    let failed = |reason: String| LogError::Level { text: level.to_owned(), reason };
    if level.trim().is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    // A bare word that is no level would be taken as the name of a target and silence everything.
    for part in level.split(',').filter(|part| !part.contains(['=', ':', '['])) {
        if part.trim().parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
            return Err(failed(format!("{:?} is no level", part.trim())));
        }
    }
    EnvFilter::builder().parse(level).map_err(|error| failed(error.to_string()))
}

fn journal(destination: Destination) -> Option<tracing_journald::Layer> {
    if destination == Destination::Stderr || !stderr_is_the_journal() {
        return None;
    }
    let layer = tracing_journald::layer().ok()?;
    Some(layer.with_syslog_identifier("remorad".to_owned()))
}

/// systemd sets `JOURNAL_STREAM` to device and inode of the stream it made; comparing them tells a
/// redirected stderr from the journal's own (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = nix::sys::stat::fstat(std::io::stderr().as_fd()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

fn stderr<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_target_levels_are_understood() {
        for level in ["info", "TRACE", "warn,remora::capture=debug", "off"] {
            check_level(level).unwrap();
        }
    }

    #[test]
    fn a_level_that_would_silence_everything_is_refused() {
        for level in ["", "verbose", "info,chatty", "remora=loud"] {
            assert!(check_level(level).is_err(), "{level}");
        }
    }

    #[test]
    fn logging_can_be_set_up_once_and_changed_later() {
        assert!(set_level("info").is_err());
        init("info", Destination::Stderr).unwrap();
        set_level("debug").unwrap();
        assert!(matches!(init("info", Destination::Stderr), Err(LogError::Twice)));
    }
}
