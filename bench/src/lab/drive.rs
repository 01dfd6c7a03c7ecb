//! Applications. Each does one thing, checks every byte of it, and reports what it saw.

mod denied;
mod dns;
mod h3;
mod latency;
mod rtt;
mod tcp;
mod udp_echo;

use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Subcommand;
use serde_json::{Map, Value, json};

/// Arguments of `weir-lab drive`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Give up after this many seconds.
    #[arg(long, global = true, default_value_t = 60)]
    pub timeout: u64,
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum What {
    /// GET /bytes/N, verify all of it.
    TcpDownload(tcp::Args),
    /// POST /upload, compare the hash that the server computed.
    TcpUpload(tcp::Args),
    /// Send datagrams of mixed sizes to an echo server, verify each reply.
    UdpEcho(udp_echo::Args),
    /// Query a DNS server, verify the answers.
    Dns(dns::Args),
    /// GET /bytes/N over HTTP/3, inside the proxy's UDP.
    H3Get(h3::Args),
    /// Connect to a target that must be refused.
    Denied(denied::Args),
    /// One echo at a time; with --direct, also without the proxy, and the difference.
    Rtt(rtt::Args),
}

/// What an application saw: one JSON object.
#[derive(Debug, Clone)]
pub struct Report {
    /// Everything was as it should be.
    pub ok: bool,
    test: &'static str,
    fields: Map<String, Value>,
    error: Option<String>,
}

impl Report {
    /// One line.
    pub fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("test".into(), self.test.into());
        object.insert("ok".into(), self.ok.into());
        if let Some(error) = &self.error {
            object.insert("error".into(), error.clone().into());
        }
        object.extend(self.fields.clone());
        Value::Object(object).to_string()
    }

    /// A field of the report, for tests.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }
}

/// A finished application: its fields, and what was wrong with what it saw, if anything.
struct Outcome {
    fields: Value,
    problem: Option<String>,
}

impl Outcome {
    fn check(fields: Value, right: bool, problem: impl FnOnce() -> String) -> Outcome {
        Outcome { fields, problem: (!right).then(problem) }
    }
}

/// Runs one application, for at most the timeout.
pub async fn run(args: Args) -> Report {
    let test = match &args.what {
        What::TcpDownload(_) => "tcp-download",
        What::TcpUpload(_) => "tcp-upload",
        What::UdpEcho(_) => "udp-echo",
        What::Dns(_) => "dns",
        What::H3Get(_) => "h3-get",
        What::Denied(_) => "denied",
        What::Rtt(_) => "rtt",
    };
    let limit = Duration::from_secs(args.timeout);
    let result = match tokio::time::timeout(limit, dispatch(args.what)).await {
        Ok(result) => result,
        Err(_) => Err(anyhow!("not finished after {} s", limit.as_secs())),
    };
    match result {
        Ok(Outcome { fields, problem }) => {
            let fields = fields.as_object().cloned().unwrap_or_default();
            Report { ok: problem.is_none(), test, fields, error: problem }
        }
        Err(error) => {
            let mut fields = Map::new();
            if let Some(refused) = error.downcast_ref::<super::path::SocksRefused>() {
                fields.insert("socks_reply".into(), json!(refused.0));
            }
            Report { ok: false, test, fields, error: Some(format!("{error:#}")) }
        }
    }
}

async fn dispatch(what: What) -> Result<Outcome> {
    match what {
        What::TcpDownload(args) => tcp::download(args).await,
        What::TcpUpload(args) => tcp::upload(args).await,
        What::UdpEcho(args) => udp_echo::run(args).await,
        What::Dns(args) => dns::run(args).await,
        What::H3Get(args) => h3::run(args).await,
        What::Denied(args) => denied::run(args).await,
        What::Rtt(args) => rtt::run(args).await,
    }
}
