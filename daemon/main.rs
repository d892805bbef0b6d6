//! remorad: arguments -> configuration -> `App::build` -> run -> drain.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use remora::api::ApiError;
use remora::app::App;
use remora::capture::CaptureError;
use remora::config::{Config, Sources};
use remora::runtime::ExitCode;
use remora::store::StoreError;
use remora::telemetry::logs;

/// Entries are made on one thread and dropped on another, thousands of times a second: glibc's allocator
/// spent an eighth of the daemon's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Watches this host's API calls with eBPF and serves them as a stream.
///
/// Runs in the foreground, under systemd or without. Needs root (or the capabilities that
/// remorad.service grants) and Linux 5.10 or newer.
#[derive(Debug, Parser)]
#[command(
    name = "remorad",
    version,
    after_help = "Examples:\n  remorad                         run with /etc/remora/remora.toml, or with defaults if there is none\n  remorad --config ./remora.toml  run with another file\n  remorad --check                 print the effective configuration and what is wrong with it\n  REMORA_LOG__LEVEL=debug remorad any key can be set in the environment\n\nSee what it sees:\n  remora tail                     a line per call\n  remora doctor                   which mechanism does each job, and why not a better one"
)]
struct Arguments {
    /// Configuration file; `<file>.d/*.toml` beside it is read too.
    #[arg(long, value_name = "FILE", env = "REMORA_CONFIG")]
    config: Option<PathBuf>,

    /// Print the effective configuration and exit.
    #[arg(long)]
    check: bool,

    /// Log level: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// Print the manual page and exit.
    #[arg(long, hide = true)]
    man: bool,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    if arguments.man {
        return print_manual();
    }
    let sources = Sources::new(arguments.config, arguments.log_level);
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("remorad: {errors}");
            return ExitCode::Config.into();
        }
    };
    if arguments.check {
        println!("{}", config.render());
        return ExitCode::Ok.into();
    }
    if let Err(error) = logs::init(&config.log.level, logs::Destination::Detect) {
        eprintln!("remorad: {error}");
        return ExitCode::Config.into();
    }
    match App::build(config, sources).and_then(App::run) {
        Ok(()) => ExitCode::Ok.into(),
        Err(error) => {
            // The whole chain on one line: what failed, and every cause down to the kernel's answer.
            eprintln!("remorad: {error:#}");
            code_of(&error).into()
        }
    }
}

/// For `scripts/install`.
fn print_manual() -> std::process::ExitCode {
    let page = clap_mangen::Man::new(Arguments::command()).section("8");
    match page.render(&mut std::io::stdout()) {
        Ok(()) => ExitCode::Ok.into(),
        Err(error) => {
            eprintln!("remorad: cannot print the manual page: {error}");
            ExitCode::Os.into()
        }
    }
}

/// What kind of failure ended the start, for a supervisor.
fn code_of(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<CaptureError>() {
        return match error {
            CaptureError::NotPermitted { .. } => ExitCode::NoPermission,
            _ => ExitCode::Unavailable,
        };
    }
    if error.is::<StoreError>() {
        return ExitCode::CannotCreate;
    }
    if error.is::<ApiError>() {
        return ExitCode::Unavailable;
    }
    ExitCode::Os
}
