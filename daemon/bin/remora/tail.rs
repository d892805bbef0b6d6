//! `remora tail`: calls as they happen.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value as Json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{Client, Socket};
use crate::command::TailOptions;
use crate::failure::Failure;
use crate::line::render;
use crate::paint::{Paint, safe};

/// Silence after which a person is told what may be the reason.
const SILENCE: Duration = Duration::from_secs(8);

struct Tail<'a> {
    client: &'a Client,
    options: &'a TailOptions,
    raw: bool,
    paint: Paint,
    shown: u64,
}

pub(crate) async fn run(
    client: &Client,
    options: &TailOptions,
    json: bool,
    paint: Paint,
) -> Result<(), Failure> {
    let raw = json || options.base;
    let route = if options.base { "ws" } else { "wsFull" };
    let notices = if !raw || options.notices { "?notices=1" } else { "" };
    let mut socket = client.stream(&format!("/api/{route}{notices}")).await?;
    let filter = options.filter.clone().unwrap_or_default();
    socket.send(Message::text(filter)).await.map_err(|error| Failure::Closed(error.to_string()))?;
    let mut tail = Tail { client, options, raw, paint, shown: 0 };
    if std::io::stderr().is_terminal() {
        tail.say_if_paused().await;
    }
    let ended = tokio::select! {
        ended = tail.follow(&mut socket) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let _gone = socket.close(None).await;
    ended
}

impl Tail<'_> {
    async fn follow(&mut self, socket: &mut Socket) -> Result<(), Failure> {
        let mut told = !std::io::stderr().is_terminal();
        while self.options.limit.is_none_or(|limit| self.shown < limit) {
            let frame = if told || self.shown > 0 {
                socket.next().await
            } else {
                let Ok(frame) = tokio::time::timeout(SILENCE, socket.next()).await else {
                    told = true;
                    self.explain_silence().await;
                    continue;
                };
                frame
            };
            match frame {
                Some(Ok(Message::Text(text))) => self.show(&text)?,
                Some(Ok(Message::Close(frame))) => {
                    return closed(frame.map(|frame| (frame.code, frame.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Failure::Closed(error.to_string())),
                None => return Err(Failure::Closed("the connection ended".to_owned())),
            }
        }
        Ok(())
    }

    fn show(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        // Frames that are notices begin with that key; entries never do.
        let is_notice = text.starts_with("{\"notice\":");
        if self.raw {
            writeln!(out, "{text}")?;
        } else {
            let json: Json =
                serde_json::from_str(text).map_err(|error| Failure::Answer(error.to_string()))?;
            if !is_notice {
                writeln!(out, "{}", render(&json, self.paint))?;
            } else if let Some(line) = notice(&json["notice"]) {
                writeln!(out, "{}", self.paint.yellow(&line))?;
            }
        }
        out.flush()?;
        self.shown += u64::from(!is_notice);
        Ok(())
    }

    async fn say_if_paused(&self) {
        if let Ok(state) = self.client.plain("GET", "/mcp/dissection", None).await
            && state["enabled"] == false
        {
            eprintln!("dissection is paused: no calls will show until `remora dissection resume`");
        }
    }

    async fn explain_silence(&self) {
        match &self.options.filter {
            Some(filter) if !filter.trim().is_empty() => eprintln!(
                "nothing has matched {filter:?} yet; `remora tail` without a filter shows whether there are calls at all"
            ),
            _ => eprintln!(
                "no calls yet; make one (`curl http://...` on this host), or ask `remora doctor` what is seen"
            ),
        }
        self.say_if_paused().await;
    }
}

fn closed(frame: Option<(CloseCode, String)>) -> Result<(), Failure> {
    match frame {
        Some((CloseCode::Normal, _)) => Ok(()),
        Some((CloseCode::Policy, reason)) => Err(Failure::Filter(safe(&reason))),
        Some((_, reason)) => Err(Failure::Closed(safe(&reason))),
        None => Err(Failure::Closed("without a reason".to_owned())),
    }
}

/// A notice for a person; heartbeats are for programs.
fn notice(notice: &Json) -> Option<String> {
    match notice["type"].as_str()? {
        "gap" => {
            let (count, detail) = (&notice["count"], notice["detail"].as_str().unwrap_or_default());
            Some(format!("-- {count} missing here: {} --", safe(detail)))
        }
        "paused" => Some("-- dissection was paused --".to_owned()),
        "resumed" => Some("-- dissection was resumed --".to_owned()),
        _ => None,
    }
}
