//! `remora doctor`: what is seen, what is not, and why.

use std::process::ExitCode;

use remora::api::schema::{Doctor, DoctorJob, TlsDoctor, TlsProcess, TlsUse};

use crate::client::Client;
use crate::failure::Failure;
use crate::paint::{Paint, safe};

/// Exit code when something could be better, so that scripts can tell.
const UNHEALTHY: u8 = 1;

pub(crate) async fn run(client: &Client, json: bool, paint: Paint) -> Result<ExitCode, Failure> {
    let doctor: Doctor = client.data("GET", "/api/v1/doctor", None).await?;
    let code = if doctor.healthy { ExitCode::SUCCESS } else { ExitCode::from(UNHEALTHY) };
    if json {
        println!("{}", serde_json::to_string(&doctor).map_err(std::io::Error::other)?);
        return Ok(code);
    }
    let word = if doctor.healthy { paint.green("healthy") } else { paint.yellow("not all is well") };
    println!("{word}: {}", safe(&doctor.summary));
    println!("remorad {}, kernel {}", safe(&doctor.version), safe(&doctor.kernel));
    for job in &doctor.jobs {
        show(job, paint);
    }
    for finding in &doctor.findings {
        let severity = match finding.severity.as_str() {
            "error" => paint.red("error"),
            "warning" => paint.yellow("warning"),
            other => safe(other),
        };
        println!("\n{severity}: {}", safe(&finding.what));
        advise(&finding.advice, paint);
    }
    Ok(code)
}

/// `remora doctor tls`.
pub(crate) async fn tls(client: &Client, json: bool, paint: Paint) -> Result<(), Failure> {
    let doctor: TlsDoctor = client.data("GET", "/api/v1/doctor/tls", None).await?;
    if json {
        println!("{}", serde_json::to_string(&doctor).map_err(std::io::Error::other)?);
        return Ok(());
    }
    if doctor.processes.is_empty() {
        println!("no process with a TLS library was found");
    }
    for process in &doctor.processes {
        show_process(process, paint);
    }
    if !doctor.settled {
        println!("{}", paint.yellow("not all processes have been looked at yet; ask again in a moment"));
    }
    Ok(())
}

fn show_process(process: &TlsProcess, paint: Paint) {
    let (read, written) = (process.bytes_read, process.bytes_written);
    println!("{} {}: {read} bytes read, {written} written", process.pid, paint.bold(&safe(&process.name)));
    for used in &process.libraries {
        show_library(used, paint);
    }
    let bound: Vec<_> = process.chunks.iter().filter(|(_, count)| **count > 0).collect();
    let bound: Vec<_> =
        bound.into_iter().map(|(how, count)| format!("{count} {}", how.replace('_', " "))).collect();
    if !bound.is_empty() {
        println!("    chunks bound: {}", bound.join(", "));
    }
    advise(&process.reason, paint);
}

fn show_library(used: &TlsUse, paint: Paint) {
    let state = if used.attached { paint.green("seen") } else { paint.red("not seen") };
    let name = format!("{} {}", used.library, used.version);
    println!("    {state} {} {}", safe(name.trim()), paint.dim(&safe(&used.path)));
    if used.attached {
        let cost = if used.costly { "; some probes are single-stepped" } else { "" };
        let how = used.found_by.replace('_', " ");
        println!("        by {how}: {}{cost}", safe(&used.functions.join(", ")));
    }
    advise(&used.reason, paint);
}

fn show(job: &DoctorJob, paint: Paint) {
    let state = match job.state.as_str() {
        "ok" => paint.green("ok"),
        "off" => paint.red("off"),
        other => paint.yellow(&safe(other)),
    };
    println!("\n{} {state}: {}", paint.bold(&safe(&job.job)), safe(&job.mechanism));
    for attempt in &job.attempts {
        println!("    {:<24} {}", safe(&attempt.mechanism), paint.dim(&safe(&attempt.outcome)));
    }
    advise(&job.advice, paint);
}

fn advise(advice: &str, paint: Paint) {
    if !advice.is_empty() {
        println!("  {} {}", paint.cyan("->"), safe(advice));
    }
}
