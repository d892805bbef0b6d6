//! `remora map`: who calls whom.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::client::{Client, encode};
use crate::command::MapOptions;
use crate::failure::Failure;
use crate::paint::{Paint, bytes, safe};
use crate::stats::micros;
use crate::table::Table;

pub(crate) async fn run(
    client: &Client,
    options: &MapOptions,
    json: bool,
    paint: Paint,
) -> Result<(), Failure> {
    let filter = options.filter.as_deref().unwrap_or("");
    let mut path = format!("/api/v1/map?limit={}&kfl={}", options.limit, encode(filter));
    for (name, value) in [("from", &options.from), ("to", &options.to), ("snapshot", &options.snapshot)] {
        if let Some(value) = value {
            path.extend(["&", name, "=", &encode(value)]);
        }
    }
    let map: Json = client.data("GET", &path, None).await?;
    if json {
        println!("{map}");
        return Ok(());
    }
    let nodes: HashMap<&str, String> = map["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, label(node))))
        .collect();
    let heading = ["from", "to", "protocol", "calls", "errors", "p50", "p99", "asked", "answered"];
    let mut table = Table::new(heading.map(str::to_owned).to_vec(), 3);
    for edge in map["edges"].as_array().into_iter().flatten() {
        let end = |name: &str| {
            let id = edge[name].as_str().unwrap_or_default();
            nodes.get(id).cloned().unwrap_or_else(|| safe(id))
        };
        let number = |name: &str| edge[name].as_u64().unwrap_or(0);
        let latency = |name: &str| edge["latency"][name].as_u64().map_or_else(|| "-".to_owned(), micros);
        table.row(vec![
            end("src"),
            end("dst"),
            safe(edge["protocol"].as_str().unwrap_or_default()),
            number("calls").to_string(),
            number("errors").to_string(),
            latency("p50"),
            latency("p99"),
            bytes(number("requestBytes")),
            bytes(number("responseBytes")),
        ]);
    }
    table.print(paint);
    if nodes.is_empty() {
        eprintln!("no kept call matches; `remora entries` shows what there is");
    }
    match map["otherCalls"].as_u64() {
        Some(0) | None => {}
        Some(calls) => eprintln!("{calls} calls of further pairs; --limit {} shows more", options.limit * 2),
    }
    if map["complete"] == false {
        eprintln!("older calls were not counted because it took too long; give --from");
    }
    Ok(())
}

/// The name, with its kind where that is not plain.
fn label(node: &Json) -> String {
    let name = safe(node["name"].as_str().unwrap_or_default());
    match node["kind"].as_str() {
        Some("container") => format!("{name} (container)"),
        Some("address") | None => name,
        Some("unit") => name,
        Some(_) => format!("{name} (process)"),
    }
}
