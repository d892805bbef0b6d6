//! `remora flows`: live connections.

use remora::api::schema::{Flow, FlowEnd, FlowTls, Flows};

use crate::client::{Client, encode};
use crate::command::FlowsOptions;
use crate::failure::Failure;
use crate::paint::{bytes, safe};

/// The application of a connection of which only the encrypted side is known.
const ENCRYPTED: &str = "tlsx";

pub(crate) async fn run(client: &Client, options: &FlowsOptions, json: bool) -> Result<(), Failure> {
    let answer: Flows = client.data("GET", &path(options), None).await?;
    if json {
        for flow in &answer.flows {
            println!("{}", serde_json::to_string(flow).map_err(std::io::Error::other)?);
        }
        return Ok(());
    }
    if answer.flows.is_empty() {
        eprintln!(
            "no live connection fits; connections show up with their first packet after the daemon's start"
        );
        return Ok(());
    }
    println!(
        "{:<6} {:<12} {:<38} {:<38} {:>10} {:>10} {:>9}  TLS",
        "PROTO", "STATE", "CLIENT", "SERVER", "SENT", "RECEIVED", "RTT"
    );
    for flow in &answer.flows {
        println!("{}", line(flow));
    }
    if answer.truncated {
        eprintln!("{} of {} shown; -n shows more", answer.flows.len(), answer.total);
    }
    Ok(())
}

fn path(options: &FlowsOptions) -> String {
    let mut path = format!("/api/v1/flows?limit={}", options.limit);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            path.extend(["&", name, "=", &encode(&value)]);
        }
    };
    add("protocol", options.protocol.clone());
    add("ip", options.ip.map(|ip| ip.to_string()));
    add("port", options.port.map(|port| port.to_string()));
    add("pid", options.pid.map(|pid| pid.to_string()));
    add("process", options.process.clone());
    path
}

fn line(flow: &Flow) -> String {
    let protocol = if flow.application.is_empty() { &flow.protocol } else { &flow.application };
    let rtt = flow.tcp.get("handshake_rtt_us").filter(|rtt| **rtt > 0);
    let rtt = rtt.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt}us"));
    format!(
        "{:<6} {:<12} {:<38} {:<38} {:>10} {:>10} {:>9}  {}",
        safe(if protocol == ENCRYPTED { "tls" } else { protocol }),
        safe(&flow.state),
        end(&flow.client),
        end(&flow.server),
        bytes(flow.client.bytes),
        bytes(flow.server.bytes),
        rtt,
        flow.tls.as_ref().map_or_else(|| "-".to_owned(), tls),
    )
}

/// Version and server name, and whether Remora reads it in clear text.
fn tls(tls: &FlowTls) -> String {
    let access = if tls.decrypted { format!("read at {}", tls.library) } else { "encrypted".to_owned() };
    let parts = [&tls.version, &tls.sni, &access, &tls.alert].map(|part| safe(part));
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn end(end: &FlowEnd) -> String {
    let address = if end.ip.contains(':') {
        format!("[{}]:{}", end.ip, end.port)
    } else {
        format!("{}:{}", end.ip, end.port)
    };
    match (end.process.is_empty(), end.name.is_empty()) {
        (false, _) => format!("{address} {}[{}]", safe(&end.process), end.pid),
        (true, false) => format!("{address} {}", safe(&end.name)),
        (true, true) => address,
    }
}
