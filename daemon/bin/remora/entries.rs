//! `remora entries` and `remora entry`: calls that were kept.

use serde_json::Value as Json;

use crate::client::{Client, encode};
use crate::command::EntriesOptions;
use crate::failure::Failure;
use crate::line::render;
use crate::paint::{Paint, safe, safe_lines};

/// Characters of a body that are shown; `--json` has all of it.
const MAX_BODY: usize = 16 << 10;

pub(crate) async fn list(
    client: &Client,
    options: &EntriesOptions,
    json: bool,
    paint: Paint,
) -> Result<(), Failure> {
    let filter = options.filter.clone().unwrap_or_default();
    let before = options.before.map(|before| format!("&before={before}")).unwrap_or_default();
    let snapshot = options.snapshot.as_deref().map(|name| format!("&snapshot={}", encode(name)));
    let snapshot = snapshot.unwrap_or_default();
    let path = format!("/api/v1/entries?limit={}&kfl={}{before}{snapshot}", options.limit, encode(&filter));
    let page: Json = client.data("GET", &path, None).await?;
    let entries = page["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    for entry in entries {
        if json {
            println!("{entry}");
        } else {
            println!(
                "{} {}",
                render(entry, paint),
                paint.dim(&safe(entry["id"].as_str().unwrap_or_default()))
            );
        }
    }
    let next = page["next"].as_str();
    if let Some(next) = next {
        eprintln!("older ones: --before {next}");
    }
    if entries.is_empty() {
        eprintln!("{}", why_empty(client, &filter, next.is_some()).await);
    }
    Ok(())
}

async fn why_empty(client: &Client, filter: &str, more: bool) -> String {
    if more {
        return "nothing that matches among those looked at; go on with --before".to_owned();
    }
    if !filter.trim().is_empty() {
        return format!(
            "no kept call matches {filter:?}; `remora entries` without a filter shows what there is"
        );
    }
    match client.plain("GET", "/mcp/dissection", None).await {
        Ok(state) if state["enabled"] == false => {
            "no calls are kept, and dissection is paused; `remora dissection resume` turns it on".to_owned()
        }
        _ => "no calls are kept yet; `remora tail` shows them as they come, `remora doctor` what is seen"
            .to_owned(),
    }
}

pub(crate) async fn one(client: &Client, id: &str, json: bool, paint: Paint) -> Result<(), Failure> {
    let entry: Json = client.data("GET", &format!("/api/v1/entries/{}", encode(id)), None).await?;
    if json {
        println!("{entry}");
        return Ok(());
    }
    println!("{}", render(&entry, paint));
    for (title, peer) in [("from", &entry["src"]), ("to", &entry["dst"])] {
        println!("{}", paint.bold(title));
        fields(peer, paint);
    }
    for (title, message) in [("request", &entry["request"]), ("response", &entry["response"])] {
        println!("{}", paint.bold(title));
        message_of(message, paint);
    }
    Ok(())
}

/// The known scalar fields of an object.
fn fields(object: &Json, paint: Paint) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let shown = match value {
            Json::String(text) if !text.is_empty() => safe(text),
            Json::Number(number) if number.as_f64() != Some(0.0) => number.to_string(),
            Json::Bool(true) => "yes".to_owned(),
            _ => continue,
        };
        println!("  {} {shown}", paint.dim(&format!("{name}:")));
    }
}

fn message_of(message: &Json, paint: Paint) {
    if message.is_null() {
        println!("  {}", paint.dim("not seen"));
        return;
    }
    fields(message, paint);
    for group in ["headers", "cookies", "queryString"] {
        if message[group].as_object().is_some_and(|map| !map.is_empty()) {
            println!("  {}", paint.dim(&format!("{group}:")));
            for (name, value) in message[group].as_object().into_iter().flatten() {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                println!("    {}: {}", paint.cyan(&safe(name)), safe(&value));
            }
        }
    }
    let contents = [&message["postData"], &message["content"]];
    if let Some(body) =
        contents.into_iter().find_map(|content| content["text"].as_str().map(|text| (content, text)))
    {
        show_body(body.0, body.1, paint);
    }
}

fn show_body(content: &Json, text: &str, paint: Paint) {
    let decoded = (content["encoding"] == "base64").then(|| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    });
    let shown = match decoded.flatten().map(String::from_utf8) {
        Some(Ok(text)) => text,
        Some(Err(binary)) => format!("({} bytes that are no text; --json has them)", binary.as_bytes().len()),
        None => text.to_owned(),
    };
    if shown.is_empty() {
        return;
    }
    let cut: String = shown.chars().take(MAX_BODY).collect();
    println!("  {}\n{}", paint.dim("body:"), safe_lines(&cut));
    if cut.len() < shown.len() {
        println!("{}", paint.dim(&format!("({} more bytes; --json has all)", shown.len() - cut.len())));
    }
}
