//! `remora snapshot`: windows of raw capture that are kept, and what is made of them.

use std::io::Write as _;
use std::time::Duration;

use remora::api::schema::{DissectionInfo, SnapshotInfo, SnapshotList};
use serde_json::{Value as Json, json};

use crate::client::{Client, Got, encode};
use crate::command::{ExportOptions, SnapshotCommand};
use crate::failure::Failure;
use crate::paint::{Paint, bytes, safe};
use crate::table::Table;

const ROUTE: &str = "/api/v1/snapshots";

/// Between two looks at a dissection that is waited for.
const STEP: Duration = Duration::from_millis(250);

/// Attempts in a row that get nothing of a file.
const TRIES: u32 = 5;

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(1);

fn path_of(name: &str) -> String {
    format!("{ROUTE}/{}", encode(name).replace('/', "%2F"))
}

pub(crate) async fn run(
    client: &Client,
    command: SnapshotCommand,
    json: bool,
    paint: Paint,
) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create(options) => {
            let wanted = json!({
                "name": options.name,
                "note": options.note.unwrap_or_default(),
                "kfl": options.kfl.unwrap_or_default(),
                "peers": options.peers,
                "from": options.from,
                "to": options.to,
                "duration": options.duration,
            });
            one(&client.data("POST", ROUTE, Some(wanted)).await?, json)
        }
        SnapshotCommand::List => list(&client.data("GET", ROUTE, None).await?, json, paint),
        SnapshotCommand::Show { name } => one(&client.data("GET", &path_of(&name), None).await?, json),
        SnapshotCommand::Rename { name, to } => {
            let change = json!({ "name": to });
            one(&client.data("PATCH", &path_of(&name), Some(change)).await?, json)
        }
        SnapshotCommand::Dissect { name, dissection, detach } => {
            let wanted = json!({ "name": dissection.unwrap_or_default() });
            let route = format!("{}/dissections", path_of(&name));
            let begun: DissectionInfo = client.data("POST", &route, Some(wanted)).await?;
            let ended = if detach { begun } else { wait(client, &name, begun).await? };
            dissected(&name, &ended, json)
        }
        SnapshotCommand::Export(options) => export(client, &options).await,
        SnapshotCommand::Import { name, file } => {
            let route = format!("{ROUTE}/import?name={}", encode(&name));
            one(&client.upload(&route, &file).await?, json)
        }
        SnapshotCommand::Delete { name } => {
            let _done: Json = client.data("DELETE", &path_of(&name), None).await?;
            eprintln!("snapshot {} is deleted", safe(&name));
            Ok(())
        }
    }
}

async fn wait(client: &Client, name: &str, begun: DissectionInfo) -> Result<DissectionInfo, Failure> {
    let route = format!("{}/dissections/{}", path_of(name), encode(&begun.name));
    let shows = std::io::IsTerminal::is_terminal(&std::io::stderr());
    loop {
        let live: DissectionInfo = client.data("GET", &route, None).await?;
        if shows {
            eprint!("\r{:>3} %  {} packets  {} entries ", live.progress, live.packets, live.entries);
        }
        if !matches!(live.state.as_str(), "pending" | "running") {
            if shows {
                eprintln!();
            }
            return Ok(live);
        }
        tokio::time::sleep(STEP).await;
    }
}

async fn export(client: &Client, options: &ExportOptions) -> Result<(), Failure> {
    let mut route = format!("{}/pcap?format={}", path_of(&options.name), options.format);
    let given = [
        ("from", &options.from),
        ("to", &options.to),
        ("kfl", &options.kfl),
        ("entry", &options.entry),
        ("scope", &options.scope),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            route.extend(["&", key, "=", &encode(value)]);
        }
    }
    if options.file == std::path::Path::new("-") {
        return client.download(&route, &mut std::io::stdout().lock()).await.map(drop);
    }
    // Complete files only: one that broke off is not left behind under the name.
    let mut unfinished = options.file.clone().into_os_string();
    unfinished.push(".part");
    let mut file = std::fs::File::create(&unfinished)?;
    let done = download(client, &route, &mut file).await;
    let done = done.and_then(|len| Ok(file.flush().map(|()| len)?));
    match done {
        Ok(len) => {
            std::fs::rename(&unfinished, &options.file)?;
            eprintln!("{} written to {}", bytes(len), options.file.display());
            Ok(())
        }
        Err(failure) => {
            let _gone = std::fs::remove_file(&unfinished);
            Err(failure)
        }
    }
}

/// Downloads a file; when the connection breaks, the rest of it.
async fn download(client: &Client, route: &str, to: &mut std::fs::File) -> Result<u64, Failure> {
    let mut got = Got::default();
    let mut tries = 0;
    loop {
        let before = got.length;
        match client.download_rest(route, &mut got, to).await {
            Err(Failure::Io(error)) if got.length > 0 && tries < TRIES => {
                tries = if got.length > before { 0 } else { tries + 1 };
                eprintln!("the connection broke after {}: {error}; going on", bytes(got.length));
                tokio::time::sleep(RETRY).await;
            }
            done => return done.map(|()| got.length),
        }
    }
}

fn one(snapshot: &SnapshotInfo, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(snapshot).map_err(std::io::Error::other)?);
        return Ok(());
    }
    let open = "everything";
    println!("{} ({})", safe(&snapshot.name), snapshot.state);
    println!(
        "  window   {} .. {}",
        snapshot.from.as_deref().unwrap_or(open),
        snapshot.to.as_deref().unwrap_or(open)
    );
    println!(
        "  holds    {} packets, {} in {} segments",
        snapshot.packets,
        bytes(snapshot.bytes),
        snapshot.segments
    );
    println!("  made     {} from {}", snapshot.created_at, snapshot.origin);
    for (title, text) in [("note", &snapshot.note), ("filter", &snapshot.kfl), ("reason", &snapshot.reason)] {
        if !text.is_empty() {
            println!("  {title:<8} {}", safe(text));
        }
    }
    for dissection in &snapshot.dissections {
        let DissectionInfo { name, state, progress, entries, .. } = dissection;
        let held = match (dissection.held_bytes, dissection.max_held_bytes) {
            (0, _) | (_, 0) => String::new(),
            (held, most) => format!(", {} of at most {} held", bytes(held), bytes(most)),
        };
        let resumed = match dissection.resumed_entries {
            0 => String::new(),
            kept => format!(", gone on with after {kept}"),
        };
        println!("  dissection {} is {state} ({progress} %): {entries} entries{resumed}{held}", safe(name));
        dissection.errors.iter().for_each(|error| println!("    {}", safe(error)));
    }
    Ok(())
}

fn dissected(name: &str, dissection: &DissectionInfo, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(dissection).map_err(std::io::Error::other)?);
        return Ok(());
    }
    let DissectionInfo { name: of, state, entries, packets, .. } = dissection;
    println!(
        "dissection {} of {} is {state}: {entries} entries from {packets} packets",
        safe(of),
        safe(name)
    );
    dissection.errors.iter().for_each(|error| println!("  {}", safe(error)));
    println!("see them with `remora entries --snapshot {}/{}`", safe(name), safe(of));
    Ok(())
}

fn list(list: &SnapshotList, json: bool, paint: Paint) -> Result<(), Failure> {
    if json {
        for snapshot in &list.snapshots {
            println!("{}", serde_json::to_string(snapshot).map_err(std::io::Error::other)?);
        }
        return Ok(());
    }
    let heading = ["name", "state", "from", "to", "packets", "size", "dissections"];
    let mut table = Table::new(heading.map(str::to_owned).to_vec(), 4);
    for snapshot in &list.snapshots {
        let end = |moment: &Option<String>| moment.clone().unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            safe(&snapshot.name),
            snapshot.state.clone(),
            end(&snapshot.from),
            end(&snapshot.to),
            snapshot.packets.to_string(),
            bytes(snapshot.bytes),
            snapshot.dissections.len().to_string(),
        ]);
    }
    if list.snapshots.is_empty() {
        eprintln!("there are no snapshots; `remora snapshot create NAME --duration 15m` makes one");
    } else {
        table.print(paint);
        eprintln!("{} of {} in use", bytes(list.used_bytes), bytes(list.max_bytes));
    }
    Ok(())
}
