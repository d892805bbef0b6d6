//! `remora token`: tokens for callers on other hosts.

use remora::api::schema::{NewToken, TokenInfo};
use serde_json::{Value as Json, json};

use crate::client::{Client, encode};
use crate::command::TokenCommand;
use crate::failure::Failure;
use crate::paint::safe;

const ROUTE: &str = "/api/v1/tokens";

pub(crate) async fn run(client: &Client, command: TokenCommand, json: bool) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { name, role, expires } => {
            let body = json!({ "name": name, "role": role, "expires_in": expires });
            let made: NewToken = client.data("POST", ROUTE, Some(body)).await?;
            if json {
                println!("{}", serde_json::to_string(&made).map_err(std::io::Error::other)?);
            } else {
                // Only the secret on stdout, so that it can be captured.
                println!("{}", made.token);
                eprintln!(
                    "this is the only time that the token of {:?} ({}) is shown",
                    made.info.name, made.info.role
                );
            }
        }
        TokenCommand::List => list(&client.data::<Vec<TokenInfo>>("GET", ROUTE, None).await?, json)?,
        TokenCommand::Revoke { id } => {
            let done: Json =
                client.data("DELETE", &format!("{ROUTE}/{}", encode(&id).replace('/', "%2F")), None).await?;
            if json {
                println!("{done}");
            } else {
                println!("token {} is revoked", safe(&id));
            }
        }
    }
    Ok(())
}

fn list(tokens: &[TokenInfo], json: bool) -> Result<(), Failure> {
    for token in tokens {
        if json {
            println!("{}", serde_json::to_string(token).map_err(std::io::Error::other)?);
        } else {
            let expires = token.expires_at.as_deref().unwrap_or("never");
            println!(
                "{:>4}  {:<24} {:<9} made {}  expires {expires}",
                token.id,
                safe(&token.name),
                token.role.name(),
                token.created_at
            );
        }
    }
    if tokens.is_empty() && !json {
        eprintln!("there are no tokens; `remora token create NAME --role viewer` makes one");
    }
    Ok(())
}
