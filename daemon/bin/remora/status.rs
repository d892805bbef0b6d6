//! `remora status`: what runs, and what was lost.

use std::process::ExitCode;

use remora::api::schema::Status;

use crate::client::Client;
use crate::failure::Failure;
use crate::paint::{Paint, bytes, safe};

/// Exit code when the daemon runs but says that something is wrong, so that scripts can tell.
const ISSUES: u8 = 1;

pub(crate) async fn run(client: &Client, json: bool, paint: Paint) -> Result<ExitCode, Failure> {
    let status: Status = client.data("GET", "/api/v1/status", None).await?;
    let code = if status.status == "ok" { ExitCode::SUCCESS } else { ExitCode::from(ISSUES) };
    if json {
        println!("{}", serde_json::to_string(&status).map_err(std::io::Error::other)?);
        return Ok(code);
    }
    let word = if status.status == "ok" { paint.green("ok") } else { paint.red(&safe(&status.status)) };
    println!("{word} {}", safe(&status.message));
    println!("remorad {} on {}, up {}", safe(&status.version), safe(&status.node), safe(&status.uptime));
    let state = if status.dissection_enabled { "on" } else { "paused (`remora dissection resume`)" };
    println!("dissection {state}, {} live streams", status.stream.subscribers);
    if !status.rungs.is_empty() {
        println!("\n{}", paint.bold("mechanisms"));
    }
    for rung in &status.rungs {
        let mechanism = if rung.mechanism.is_empty() { "none" } else { &rung.mechanism };
        println!("  {:<12} {} {}", safe(&rung.job), safe(mechanism), paint.dim(&safe(&rung.why)));
    }
    stages(&status, paint);
    drops(&status, paint);
    Ok(code)
}

fn stages(status: &Status, paint: Paint) {
    if !status.stages.is_empty() {
        println!("\n{}", paint.bold("stages"));
    }
    for stage in &status.stages {
        let counters: Vec<String> =
            stage.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let details = [safe(&stage.detail), safe(&counters.join(", "))].join(" ");
        println!("  {:<12} {:<9} {}", safe(&stage.name), safe(&stage.state), paint.dim(details.trim()));
    }
    if !status.queues.is_empty() {
        println!("\n{}", paint.bold("queues"));
    }
    for queue in &status.queues {
        let full = format!("{} of {}", bytes(queue.bytes), bytes(queue.capacity_bytes));
        println!("  {:<12} {:>8} waiting, {full}", safe(&queue.name), queue.items);
    }
}

fn drops(status: &Status, paint: Paint) {
    let lost: Vec<_> = status.drops.iter().filter(|drop| drop.count > 0).collect();
    if lost.is_empty() {
        println!("\nnothing was lost");
        return;
    }
    println!("\n{}", paint.bold("lost since the start"));
    for drop in lost {
        let count = paint.yellow(&format!("{:>10}", drop.count));
        println!("  {count} {:<18} {}", safe(&drop.reason), paint.dim(&safe(&drop.meaning)));
    }
}
