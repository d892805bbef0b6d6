//! `remora tail`: calls as they happen, across restarts of the daemon.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use remora::api::schema::Info;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{Client, Socket, encode};
use crate::command::TailOptions;
use crate::failure::Failure;
use crate::line::render;
use crate::paint::{Paint, safe};

/// More missing numbers than calls can be lost.
const CRASH_JUMP: u64 = 500_000_000;

/// Silence after which a person is told what may be the reason.
const SILENCE: Duration = Duration::from_secs(8);

/// Silence after which the connection is given up: the daemon pings every 25 s.
const DEAD: Duration = Duration::from_secs(80);

/// First pause before the daemon is called again; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

struct Tail<'a> {
    client: &'a Client,
    options: &'a TailOptions,
    raw: bool,
    paint: Paint,
    shown: u64,
    /// Where a new connection goes on.
    from: Option<String>,
    pause: Duration,
    /// When the daemon said that it was started.
    started: Option<String>,
}

/// Why nothing more comes on a connection.
enum End {
    /// All that was asked for was shown.
    Done,
    /// A new connection may go on.
    Lost(String),
}

pub(crate) async fn run(
    client: &Client,
    options: &TailOptions,
    json: bool,
    paint: Paint,
) -> Result<(), Failure> {
    let raw = json || options.base;
    let from = options.from.clone();
    let mut tail = Tail { client, options, raw, paint, shown: 0, from, pause: PAUSE_MIN, started: None };
    tokio::select! {
        ended = tail.run() => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

impl Tail<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut socket = self.connect().await?;
        self.started = self.started_at().await;
        if std::io::stderr().is_terminal() {
            self.say_if_paused().await;
        }
        loop {
            match self.follow(&mut socket).await? {
                End::Done => {
                    let _gone = socket.close(None).await;
                    return Ok(());
                }
                End::Lost(reason) => {
                    drop(socket);
                    socket = self.reconnect(&reason).await?;
                }
            }
        }
    }

    async fn connect(&self) -> Result<Socket, Failure> {
        let route = if self.options.base { "ws" } else { "wsFull" };
        let mut path = format!("/api/{route}?notices=1");
        if let Some(from) = &self.from {
            path.push_str("&from=");
            path.push_str(&encode(from));
        }
        if let Some(snapshot) = &self.options.snapshot {
            path.push_str("&snapshot=");
            path.push_str(&encode(snapshot));
        }
        let mut socket = self.client.stream(&path).await?;
        let filter = self.options.filter.clone().unwrap_or_default();
        socket.send(Message::text(filter)).await.map_err(|error| Failure::Closed(error.to_string()))?;
        Ok(socket)
    }

    /// Calls again until the daemon answers, and says what the interruption cost.
    async fn reconnect(&mut self, reason: &str) -> Result<Socket, Failure> {
        eprintln!("connection lost: {}; calling again", safe(reason));
        let since = Instant::now();
        loop {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            match self.connect().await {
                Ok(socket) => {
                    self.say_what_it_cost(since.elapsed()).await;
                    return Ok(socket);
                }
                Err(failure) if !is_passing(&failure) => return Err(failure),
                Err(_) => {}
            }
        }
    }

    async fn say_what_it_cost(&mut self, away: Duration) {
        let seconds = away.as_secs_f32();
        let started = self.started_at().await;
        if started.is_some() && started != self.started {
            eprintln!(
                "connected again after {seconds:.1} s. The daemon was restarted: calls while it was not running were \
                 not seen; what it saw before and after follows."
            );
        } else {
            eprintln!("connected again after {seconds:.1} s: what happened meanwhile follows");
        }
        self.started = started;
    }

    async fn started_at(&self) -> Option<String> {
        self.client.data::<Info>("GET", "/api/info", None).await.ok().map(|info| info.started_at)
    }

    async fn follow(&mut self, socket: &mut Socket) -> Result<End, Failure> {
        let mut told = !std::io::stderr().is_terminal();
        while self.options.limit.is_none_or(|limit| self.shown < limit) {
            let silence = if told || self.shown > 0 { DEAD } else { SILENCE };
            let Ok(frame) = tokio::time::timeout(silence, socket.next()).await else {
                if silence == DEAD {
                    return Ok(End::Lost("the daemon has not been heard of for 80 s".to_owned()));
                }
                told = true;
                self.explain_silence().await;
                continue;
            };
            match frame {
                Some(Ok(Message::Text(text))) => self.show(&text)?,
                Some(Ok(Message::Close(frame))) => {
                    return closed(frame.map(|frame| (frame.code, frame.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Ok(End::Lost(error.to_string())),
                None => return Ok(End::Lost("it ended".to_owned())),
            }
        }
        Ok(End::Done)
    }

    fn show(&mut self, text: &str) -> Result<(), Failure> {
        // Frames that are notices begin with that key; entries never do.
        if text.starts_with("{\"notice\":") {
            return self.show_notice(text);
        }
        let mut out = std::io::stdout().lock();
        if self.raw {
            let numbered: Numbered = read(text)?;
            self.go_on_after(numbered.seq);
            writeln!(out, "{text}")?;
        } else {
            let json: Json = read(text)?;
            self.go_on_after(json["seq"].as_u64().unwrap_or_default());
            writeln!(out, "{}", render(&json, self.paint))?;
        }
        out.flush()?;
        self.shown += 1;
        Ok(())
    }

    fn show_notice(&mut self, text: &str) -> Result<(), Failure> {
        let json: Json = read(text)?;
        let json = &json["notice"];
        if json["type"] == "live" {
            self.go_on_after(json["seq"].as_u64().unwrap_or_default());
        }
        let mut out = std::io::stdout().lock();
        if self.raw && self.options.notices {
            writeln!(out, "{text}")?;
        } else if let Some(line) = notice(json) {
            if self.raw {
                eprintln!("{line}");
            } else {
                writeln!(out, "{}", self.paint.yellow(&line))?;
            }
        }
        out.flush()?;
        Ok(())
    }

    /// A connection works: the next one goes on behind this entry, and is made without delay.
    fn go_on_after(&mut self, seq: u64) {
        self.from = Some(format!("seq:{}", seq.saturating_add(1)));
        self.pause = PAUSE_MIN;
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

/// What raw output needs of an entry.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Answer(error.to_string()))
}

/// Whether calling again later may help.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::NoDaemon { source, .. } => source.kind() != std::io::ErrorKind::PermissionDenied,
        Failure::NoDaemonAt { .. } | Failure::Tls { .. } | Failure::Closed(_) | Failure::Answer(_) => true,
        Failure::Refused(body) => body.code == "UNAVAILABLE" || body.code == "TOO_MANY_REQUESTS",
        _ => false,
    }
}

fn closed(frame: Option<(CloseCode, String)>) -> Result<End, Failure> {
    match frame {
        Some((CloseCode::Normal, _)) => Ok(End::Done),
        Some((CloseCode::Policy, reason)) => Err(Failure::Filter(safe(&reason))),
        Some((_, reason)) => Ok(End::Lost(reason)),
        None => Ok(End::Lost("it was closed without a reason".to_owned())),
    }
}

/// A notice for a person; heartbeats are for programs.
fn notice(notice: &Json) -> Option<String> {
    match notice["type"].as_str()? {
        "gap" => {
            let (count, detail) = (&notice["count"], notice["detail"].as_str().unwrap_or_default());
            Some(format!("-- {count} missing here: {} --", safe(detail)))
        }
        "missing" => {
            let number = |key: &str| notice[key].as_u64().unwrap_or_default();
            let detail = safe(notice["detail"].as_str().unwrap_or_default());
            Some(match number("before").saturating_sub(number("after")).saturating_sub(1) {
                // So many were not lost: numbers are passed over after a crash.
                CRASH_JUMP.. => format!("-- calls are missing here: {detail} --"),
                count => format!("-- up to {count} calls are missing here: {detail} --"),
            })
        }
        "paused" => Some("-- dissection was paused --".to_owned()),
        "resumed" => Some("-- dissection was resumed --".to_owned()),
        _ => None,
    }
}
