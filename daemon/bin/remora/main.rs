//! The command line: a client of the daemon's API.

#![deny(unsafe_code)]

mod client;
mod command;
mod dissect;
mod doctor;
mod entries;
mod failure;
mod filter;
mod flows;
mod line;
mod map;
mod paint;
mod snapshot;
mod stats;
mod status;
mod table;
mod tail;
mod tokens;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use client::Client;
use command::{Arguments, Command, DissectionCommand, DoctorCommand};
use failure::Failure;
use paint::Paint;

fn main() -> ExitCode {
    end_quietly_without_reader();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// `println!` panics when nobody reads any more, as `head` does after its lines: that is no failure.
// Nothing is there to drain: a command only reads from the daemon.
#[allow(clippy::disallowed_methods)]
fn end_quietly_without_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to stdout: Broken pipe")) {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::Completions { shell } => {
            let mut to = std::io::stdout();
            clap_complete::generate(*shell, &mut Arguments::command(), "remora", &mut to);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Man => {
            clap_mangen::Man::new(Arguments::command()).render(&mut std::io::stdout())?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Dissect(options) => {
            dissect::run(options, arguments.json, Paint::new(arguments.color))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let client = Client::new(&arguments.connection)?;
    let paint = Paint::new(arguments.color);
    let json = arguments.json;
    match arguments.command {
        Command::Tail(options) => tail::run(&client, &options, json, paint).await?,
        Command::Entries(options) => entries::list(&client, &options, json, paint).await?,
        Command::Entry { id } => entries::one(&client, &id, json, paint).await?,
        Command::Flows(options) => flows::run(&client, &options, json).await?,
        Command::Stats(options) => stats::run(&client, &options, json, paint).await?,
        Command::Map(options) => map::run(&client, &options, json, paint).await?,
        Command::Status => return status::run(&client, json, paint).await,
        Command::Doctor { about: None } => return doctor::run(&client, json, paint).await,
        Command::Doctor { about: Some(DoctorCommand::Tls) } => doctor::tls(&client, json, paint).await?,
        Command::Dissection { command } => dissection(&client, command, json).await?,
        Command::Token { command } => tokens::run(&client, command, json).await?,
        Command::Snapshot { command } => snapshot::run(&client, command, json, paint).await?,
        Command::Kfl { command } => return filter::run(&client, command, json, paint).await,
        Command::Dissect(_) | Command::Completions { .. } | Command::Man => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn dissection(client: &Client, command: DissectionCommand, json: bool) -> Result<(), Failure> {
    let answer = match command {
        DissectionCommand::Pause => client.plain("POST", "/mcp/dissection/disable", None).await?,
        DissectionCommand::Resume => client.plain("POST", "/mcp/dissection/enable", None).await?,
        DissectionCommand::Status => client.plain("GET", "/mcp/dissection", None).await?,
    };
    if json {
        println!("{answer}");
    } else if answer["enabled"] == true {
        println!("dissection is on: calls are shown as they happen");
    } else {
        println!(
            "dissection is paused: connections are still counted; `remora dissection resume` turns it on"
        );
    }
    Ok(())
}
