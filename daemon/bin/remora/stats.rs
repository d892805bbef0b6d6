//! `remora stats`: counts, rates, errors and latencies of kept calls.

use serde_json::Value as Json;

use crate::client::{Client, encode};
use crate::command::StatsOptions;
use crate::failure::Failure;
use crate::paint::{Paint, bytes, safe};
use crate::table::Table;

pub(crate) async fn run(
    client: &Client,
    options: &StatsOptions,
    json: bool,
    paint: Paint,
) -> Result<(), Failure> {
    let mut path = format!(
        "/api/v1/stats?limit={}&kfl={}",
        options.limit,
        encode(options.filter.as_deref().unwrap_or(""))
    );
    let by = options.by.join(",");
    for (name, value) in [
        ("group_by", Some(by.as_str()).filter(|by| !by.is_empty())),
        ("interval", options.interval.as_deref()),
        ("from", options.from.as_deref()),
        ("to", options.to.as_deref()),
        ("snapshot", options.snapshot.as_deref()),
    ] {
        if let Some(value) = value {
            path.extend(["&", name, "=", &encode(value)]);
        }
    }
    let stats: Json = client.data("GET", &path, None).await?;
    if json {
        println!("{stats}");
        return Ok(());
    }
    let fields = stats["groupBy"].as_array().map(Vec::as_slice).unwrap_or_default();
    let with_time = options.interval.is_some();
    let mut heading: Vec<String> = fields.iter().map(text).collect();
    if with_time {
        heading.insert(0, "time".to_owned());
    }
    if heading.is_empty() {
        heading.push(String::new());
    }
    let width = heading.len();
    heading
        .extend(["calls", "rate/s", "errors", "p50", "p90", "p99", "asked", "answered"].map(str::to_owned));
    let mut table = Table::new(heading, width);
    rows(&stats, with_time, width, &mut table);
    table.print(paint);
    notes(&stats, options, width);
    Ok(())
}

fn rows(stats: &Json, with_time: bool, width: usize, table: &mut Table) {
    let groups = stats["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    for group in groups {
        let key: Vec<String> = group["key"].as_array().into_iter().flatten().map(key_text).collect();
        if with_time {
            for point in group["series"].as_array().into_iter().flatten() {
                let mut cells = vec![text(&point["at"])];
                cells.extend(key.iter().cloned());
                table.row(with_numbers(cells, point));
            }
        } else {
            table.row(with_numbers(key, group));
        }
    }
    let label = |label: &str| {
        let mut cells = vec![String::new(); width];
        if let Some(first) = cells.first_mut() {
            label.clone_into(first);
        }
        cells
    };
    if with_time && groups.is_empty() {
        for point in stats["series"].as_array().into_iter().flatten() {
            let mut cells = label(&text(&point["at"]));
            cells.truncate(width);
            table.row(with_numbers(cells, point));
        }
    }
    if !stats["other"].is_null() {
        table.row(with_numbers(label("(other)"), &stats["other"]));
    }
    table.row(with_numbers(label("(all)"), &stats["total"]));
}

fn with_numbers(mut cells: Vec<String>, row: &Json) -> Vec<String> {
    let number = |name: &str| row[name].as_u64().unwrap_or(0);
    let latency = |name: &str| row["latency"][name].as_u64().map_or_else(|| "-".to_owned(), micros);
    let share = row["errorShare"].as_f64().unwrap_or(0.0) * 100.0;
    let errors = number("errors");
    cells.push(number("calls").to_string());
    cells.push(format!("{:.2}", row["rate"].as_f64().unwrap_or(0.0)));
    cells.push(if errors == 0 { "0".to_owned() } else { format!("{errors} ({share:.1}%)") });
    cells.extend(["p50", "p90", "p99"].map(latency));
    cells.push(bytes(number("requestBytes")));
    cells.push(bytes(number("responseBytes")));
    cells
}

fn notes(stats: &Json, options: &StatsOptions, width: usize) {
    let calls = stats["total"]["calls"].as_u64().unwrap_or(0);
    if calls == 0 {
        eprintln!("no kept call matches; `remora entries` shows what there is");
        return;
    }
    eprintln!("{calls} calls from {} to {}", text(&stats["from"]), text(&stats["to"]));
    let others = stats["otherGroups"].as_u64().unwrap_or(0);
    if !stats["other"].is_null() {
        let more = if stats["otherGroupsExact"] == true { "" } else { " or more" };
        eprintln!("(other): {others}{more} further groups; --limit {} shows more", options.limit * 2);
    }
    if stats["complete"] == false {
        eprintln!("older calls were not counted because it took too long; give --from");
    }
    if width == 1 && options.by.is_empty() && options.interval.is_none() {
        eprintln!("--by FIELD counts by a field, such as --by dst.name or --by method,status_code");
    }
}

fn key_text(value: &Json) -> String {
    match text(value) {
        empty if empty.is_empty() => "-".to_owned(),
        text => text,
    }
}

fn text(value: &Json) -> String {
    safe(value.as_str().unwrap_or_default())
}

/// Microseconds for people.
pub(crate) fn micros(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} us"),
        1_000..1_000_000 => format!("{:.1} ms", count as f64 / 1e3),
        _ => format!("{:.2} s", count as f64 / 1e6),
    }
}
