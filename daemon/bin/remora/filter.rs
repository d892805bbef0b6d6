//! `remora kfl`: help with filters.

use std::process::ExitCode;

use remora::api::schema::{Completion, FieldInfo, Validation};
use remora::runtime::ExitCode as Code;

use crate::client::{Client, encode};
use crate::command::KflCommand;
use crate::failure::Failure;
use crate::paint::{Paint, safe};

pub(crate) async fn run(
    client: &Client,
    command: KflCommand,
    json: bool,
    paint: Paint,
) -> Result<ExitCode, Failure> {
    match command {
        KflCommand::Check { filter } => return check(client, &filter, json, paint).await,
        KflCommand::Complete { filter, pos } => {
            let pos = pos.unwrap_or(filter.len());
            let path = format!("/api/v1/kfl/complete?q={}&pos={pos}", encode(&filter));
            let completion: Completion = client.data("GET", &path, None).await?;
            for candidate in &completion.candidates {
                if json {
                    println!("{}", serde_json::to_string(candidate).map_err(std::io::Error::other)?);
                } else {
                    println!("{:<32} {}", candidate.text, paint.dim(&candidate.doc));
                }
            }
        }
        KflCommand::Fields => {
            for field in client.data::<Vec<FieldInfo>>("GET", "/api/v1/kfl/fields", None).await? {
                if json {
                    println!("{}", serde_json::to_string(&field).map_err(std::io::Error::other)?);
                } else {
                    println!("{:<32} {:<16} {}", field.name, paint.cyan(&field.ty), paint.dim(&field.doc));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(client: &Client, filter: &str, json: bool, paint: Paint) -> Result<ExitCode, Failure> {
    let answer = client.plain("GET", &format!("/api/query/validate?q={}", encode(filter)), None).await?;
    if json {
        println!("{answer}");
    }
    let validation: Validation =
        serde_json::from_value(answer).map_err(|error| Failure::Answer(error.to_string()))?;
    if validation.valid {
        if !json {
            println!("{}", paint.green("the filter is right"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !json {
        show(filter, &validation, paint);
    }
    Ok(Code::Data.into())
}

/// The line with the error, and a mark under what is wrong.
fn show(filter: &str, validation: &Validation, paint: Paint) {
    println!("{}", paint.red(&safe(&validation.message)));
    let line = filter.lines().nth(validation.line.saturating_sub(1)).unwrap_or_default();
    let span = validation.span.clone().unwrap_or_default();
    let width =
        filter.get(span).map_or(1, |text| text.lines().next().unwrap_or_default().chars().count()).max(1);
    println!("  {}", safe(line));
    println!("  {}{}", " ".repeat(validation.column.saturating_sub(1)), paint.red(&"^".repeat(width)));
    if !validation.expected.is_empty() {
        println!("expected: {}", safe(&validation.expected.join(", ")));
    }
    // The message ends with the hints that fit into it.
    for hint in validation.hints.iter().filter(|hint| !validation.message.contains(hint.as_str())) {
        println!("hint: {}", safe(hint));
    }
}
