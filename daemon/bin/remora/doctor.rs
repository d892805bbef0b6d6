//! `remora doctor`: what is seen, what is not, and why.

use std::process::ExitCode;

use remora::api::schema::{Doctor, DoctorJob};

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
