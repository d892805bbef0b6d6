//! The command line's words.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use remora::api::Role;

const EXAMPLES: &str = "\
Examples:
  remora tail                                        every call, one line each
  remora tail 'http and response.status >= 500'      only failed ones
  remora tail 'dst.name == \"nginx\"' --json    full entries for a program
  remora entries 'request.path.startsWith(\"/api\")'   calls that were kept, newest first
  remora doctor                                      what is seen, what is not, and why

The daemon is asked over its unix socket; root and members of group remora may do that. For another
host give --address and --token.";

/// Shows the API calls of this host.
#[derive(Debug, Parser)]
#[command(name = "remora", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON instead of text, one document per line where there are many
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: When,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the daemon is.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// The daemon's unix socket
    #[arg(
        long,
        global = true,
        env = "REMORA_SOCKET",
        default_value = "/run/remora/remora.sock",
        value_name = "PATH"
    )]
    pub(crate) socket: PathBuf,
    /// The daemon's TCP address instead: http://127.0.0.1:8899 or https://HOST:PORT
    #[arg(long, global = true, env = "REMORA_ADDRESS", value_name = "URL")]
    pub(crate) address: Option<String>,
    /// A token, needed from other hosts; better given in the environment than on the command line
    #[arg(long, global = true, env = "REMORA_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Certificates to trust for https; the system's without
    #[arg(long, global = true, env = "REMORA_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show calls as they happen
    #[command(
        after_help = "Each line: time, method, status, duration, who asked -> who was asked, host and path, \
        bytes asked and answered. A `!` marks errors, `~` cut or incomplete bodies.\n\n\
        Examples:\n  remora tail\n  remora tail -n 10 'http and elapsed_time > 100000'\n  \
        remora tail 'request.headers[\"User-Agent\"].contains(\"curl\")'\n  remora tail --json | jq .request.path\n  \
        remora tail --from 2026-11-21T12:00:00Z     what happened since, then what happens\n\n\
        When the connection is lost it is made again, and goes on where it was."
    )]
    Tail(TailOptions),
    /// Show the calls in a capture file; needs no daemon and no privileges
    #[command(
        after_help = "Reads pcap and pcapng files of tcpdump, tshark and Remora, also compressed with gzip or zstd.\n\n\
        Examples:\n  remora dissect incident.pcapng 'response.status >= 500'\n  \
        tcpdump -i any -w - port 80 | remora dissect - --json\n\n\
        Names of gRPC fields come from what `protoc --include_imports --descriptor_set_out=DIR/shop.binpb shop.proto`\n\
        writes:\n  remora dissect calls.pcap --descriptors DIR --json"
    )]
    Dissect(DissectOptions),
    /// Show calls that were kept, newest first
    #[command(
        after_help = "Examples:\n  remora entries --limit 20\n  remora entries 'response.status == 404'\n  \
        remora entries --before 1234        the page after the one that ended with `--before 1234`"
    )]
    Entries(EntriesOptions),
    /// Show one call with everything known about it
    Entry {
        /// Its id, NODE/STREAM-INDEX, as `remora tail --json` and `remora entries` show it
        id: String,
    },
    /// Show live connections, busiest first
    #[command(
        after_help = "Examples:\n  remora flows\n  remora flows --port 443\n  remora flows --process nginx"
    )]
    Flows(FlowsOptions),
    /// Count kept calls: rates, errors, latencies, by any field
    #[command(
        after_help = "Errors are calls without a complete answer and those with a status of 500 and above. \
        Latencies are off by 1.6 % at most.\n\nExamples:\n  remora stats --by dst.name\n  \
        remora stats 'http' --by method,status_code --from 1h\n  remora stats --interval 1m --from 15m"
    )]
    Stats(StatsOptions),
    /// Show who calls whom
    #[command(after_help = "Examples:\n  remora map\n  remora map 'http' --from 15m\n  remora map --json")]
    Map(MapOptions),
    /// Show what runs, and what was lost
    Status,
    /// Explain what is seen, what is not, and what to do about it
    Doctor {
        #[command(subcommand)]
        about: Option<DoctorCommand>,
    },
    /// Pause or resume dissection; connections are counted all the time
    Dissection {
        #[command(subcommand)]
        command: DissectionCommand,
    },
    /// Manage tokens for callers on other hosts (admins only)
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Keep windows of what was captured, dissect them later, exchange them as files
    #[command(
        after_help = "Examples:\n  remora snapshot create incident --duration 15m\n  remora snapshot dissect incident\n  \
        remora entries --snapshot incident 'response.status >= 500'\n  remora snapshot export incident incident.pcapng"
    )]
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Help with filters
    Kfl {
        #[command(subcommand)]
        command: KflCommand,
    },
    /// Print a completion script
    #[command(after_help = "Example:\n  remora completions bash > /etc/bash_completion.d/remora")]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  remora man > /usr/local/share/man/man1/remora.1")]
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct TailOptions {
    /// Which calls; all without
    #[arg(value_name = "KFL")]
    pub(crate) filter: Option<String>,
    /// Begin in the past: a moment (2026-11-21T12:00:00Z), milliseconds since 1970, or an entry's seq
    #[arg(long, value_name = "WHEN")]
    pub(crate) from: Option<String>,
    /// Those of a snapshot, or of SNAPSHOT/DISSECTION, from the first to the last
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// End after this many
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Print base entries (the rows of a list) as JSON
    #[arg(long)]
    pub(crate) base: bool,
    /// With --json or --base: print notices (gaps, pauses) as {"notice":...} instead of on stderr
    #[arg(long)]
    pub(crate) notices: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DissectOptions {
    /// The file; `-` is the standard input
    pub(crate) file: PathBuf,
    /// Which calls; all without
    #[arg(value_name = "KFL")]
    pub(crate) filter: Option<String>,
    /// End after this many
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Folder of protobuf descriptor sets, which name the fields of gRPC messages
    #[arg(long, value_name = "DIR")]
    pub(crate) descriptors: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EntriesOptions {
    /// Which calls; all without
    #[arg(value_name = "KFL")]
    pub(crate) filter: Option<String>,
    /// How many
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u64,
    /// Those of a snapshot, or of SNAPSHOT/DISSECTION
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Only older ones than this cursor, which the page before ended with
    #[arg(long, value_name = "CURSOR")]
    pub(crate) before: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct FlowsOptions {
    /// How many
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u64,
    /// tcp or udp
    #[arg(long)]
    pub(crate) protocol: Option<String>,
    /// With this address at either end
    #[arg(long)]
    pub(crate) ip: Option<std::net::IpAddr>,
    /// With this port at either end
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// With this process id at either end
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// With this process name at either end
    #[arg(long)]
    pub(crate) process: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsOptions {
    /// Which calls; all without
    #[arg(value_name = "KFL")]
    pub(crate) filter: Option<String>,
    /// Count by the values of this field; several with commas
    #[arg(long, value_name = "FIELD")]
    pub(crate) by: Vec<String>,
    /// Count by time as well: 10s, 1m, 1h
    #[arg(long, value_name = "DURATION")]
    pub(crate) interval: Option<String>,
    /// Only calls from here on: 15m (ago), 2026-03-14T22:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only calls before this
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Those of a snapshot, or of SNAPSHOT/DISSECTION
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// How many groups; the rest is counted together
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: u64,
}

#[derive(Debug, Args)]
pub(crate) struct MapOptions {
    /// Which calls; all without
    #[arg(value_name = "KFL")]
    pub(crate) filter: Option<String>,
    /// Only calls from here on: 15m (ago), 2026-03-14T22:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only calls before this
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Those of a snapshot, or of SNAPSHOT/DISSECTION
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// How many pairs, busiest first
    #[arg(short = 'n', long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum DoctorCommand {
    /// Per process: its TLS libraries, what is seen of them, and why not more
    Tls,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum DissectionCommand {
    /// Stop making entries; connections are still counted
    Pause,
    /// Make entries again
    Resume,
    /// Say whether it is on
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; it is printed once and only its hash is kept
    #[command(after_help = "Example:\n  remora token create ci --role viewer --expires 30d")]
    Create {
        /// What it is for
        name: String,
        /// What it allows: viewer (secrets hidden), operator, admin
        #[arg(long, default_value = "viewer")]
        role: Role,
        /// After how long it ends: 12h, 30d; never without
        #[arg(long, value_name = "DURATION", value_parser = seconds)]
        expires: Option<u64>,
    },
    /// List tokens, without their secrets
    List,
    /// End a token
    Revoke {
        /// Its id or name
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Keep a window of raw capture until it is deleted; costs next to nothing
    Create(CreateOptions),
    /// List snapshots
    List,
    /// Show one with its dissections
    Show {
        /// Its name
        name: String,
    },
    /// Give one another name
    Rename {
        /// Its name
        name: String,
        /// Its new name
        to: String,
    },
    /// Make the entries of one, and wait for them
    Dissect {
        /// Its name
        name: String,
        /// What the dissection is called; numbered without
        #[arg(long = "as", value_name = "NAME")]
        dissection: Option<String>,
        /// Do not wait
        #[arg(long)]
        detach: bool,
    },
    /// Write the packets of one to a file for other programs
    Export(ExportOptions),
    /// Make a snapshot of a pcap or pcapng file, also compressed
    Import {
        /// What the snapshot is called
        name: String,
        /// The file
        file: PathBuf,
    },
    /// Delete one with all that was made of it
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// What it is called
    pub(crate) name: String,
    /// Length of the window up to its end: 15m, 1h; everything that is kept without
    #[arg(long)]
    pub(crate) duration: Option<String>,
    /// Beginning: 15m (ago), 2026-03-14T22:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// End; now without
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Which calls it is about: its dissections hold no others, its exports only their connections
    #[arg(long, value_name = "KFL")]
    pub(crate) kfl: Option<String>,
    /// Only calls that this address or name made or got; may be given several times
    #[arg(long = "peer", value_name = "PEER")]
    pub(crate) peers: Vec<String>,
    /// For people
    #[arg(long)]
    pub(crate) note: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    /// Its name
    pub(crate) name: String,
    /// Where to; `-` is the standard output
    pub(crate) file: PathBuf,
    /// pcapng has owners, plaintext and events as well; pcap has the packets alone
    #[arg(long, default_value = "pcapng", value_parser = ["pcapng", "pcap"])]
    pub(crate) format: String,
    /// Only connections with a call that matches
    #[arg(long, value_name = "KFL", conflicts_with = "entry")]
    pub(crate) kfl: Option<String>,
    /// Only what the entry of this id belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) entry: Option<String>,
    /// With --entry: the packets of the call, of its connection, or of all from its client to its server
    #[arg(long, requires = "entry", value_parser = ["call", "connection", "flow"])]
    pub(crate) scope: Option<String>,
    /// Only packets from here on: 15m (ago), 2026-03-14T22:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only packets before this
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KflCommand {
    /// Say whether a filter is right, and where it is not
    Check {
        /// The filter
        #[arg(value_name = "KFL")]
        filter: String,
    },
    /// Show what may stand at a place of a filter
    Complete {
        /// The filter so far
        #[arg(value_name = "KFL")]
        filter: String,
        /// The place, in bytes; the end without
        #[arg(long)]
        pos: Option<usize>,
    },
    /// List all fields
    Fields,
}

/// `90s`, `15m`, `12h`, `30d` in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no duration; write 90s, 15m, 12h or 30d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86400,
        _ => return Err(wrong()),
    };
    // The last character was one of the ASCII letters above.
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_words_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(["90s", "15m", "12h", "30d"].map(seconds), [Ok(90), Ok(900), Ok(43200), Ok(2_592_000)]);
        for wrong in ["", "5", "d", "-1d", "1w", "99999999999999999999d", "é"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
