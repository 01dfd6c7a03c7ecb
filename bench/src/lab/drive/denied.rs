//! A target that the exit must not let anybody reach.

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use crate::lab::path::{SocksRefused, Target, Via};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub via: Via,
    #[arg(long)]
    pub host: String,
    #[arg(long, default_value_t = 80)]
    pub port: u16,
    /// The SOCKS reply that is right: 2, "not allowed by ruleset".
    #[arg(long, default_value_t = 2)]
    pub expect: u8,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let target = Target { host: args.host, port: args.port };
    let refused = match args.via.connect(&target).await {
        Ok(_) => {
            let fields = json!({ "target": target.to_string(), "socks_reply": 0 });
            return Ok(Outcome::check(fields, false, || format!("{target} could be reached")));
        }
        Err(error) => error.downcast::<SocksRefused>()?,
    };
    let fields = json!({
        "target": target.to_string(),
        "socks_reply": refused.0,
        "meaning": refused.to_string(),
    });
    Ok(Outcome::check(fields, refused.0 == args.expect, || {
        format!("{refused}; expected {:#04x}", args.expect)
    }))
}
