//! `weir-plain`: the relay that one would write in an afternoon, as a baseline of the benchmark.
//!
//! tokio, quinn, h3 and h3-datagram with CONNECT (RFC 9114 section 4.4) and CONNECT-UDP (RFC 9298).
//! It is neither crippled nor tuned: quinn with its own GSO and GRO and its default transport
//! settings, except where a default forbids a scenario outright; a tokio socket per tunnel, a task
//! per direction. There is no policy, no accounting and no metrics, which is in its favour.
#![forbid(unsafe_code)]

mod auth;
mod server;
mod target;
mod tcp;
mod tls;
mod udp;

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// A plain MASQUE relay on tokio, quinn and h3.
#[derive(Debug, Parser)]
#[command(name = "weir-plain", version)]
struct Args {
    /// UDP address for HTTP/3.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File with a credential per line: "Bearer TOKEN", "Basic BASE64", or a bare bearer token.
    /// Everybody may tunnel without it.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// PEM certificate chain; a self-signed one for "localhost" is made without it.
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// PEM private key.
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// One is a current-thread runtime; more are tokio's work-stealing one.
    #[arg(long, default_value_t = 1)]
    worker_threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.worker_threads > 0, "--worker-threads must be at least 1");
    let mut builder = match args.worker_threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    // The current-thread runtime has no worker threads and ignores the number.
    let runtime = builder.worker_threads(args.worker_threads).enable_all().build()?;
    runtime.block_on(run(args))
}

/// Serves until SIGTERM, SIGINT or the end of standard input.
async fn run(args: Args) -> Result<()> {
    let guard = auth::Guard::read(args.token_file.as_deref())?;
    let identity = tls::Identity::new(args.cert.as_deref(), args.key.as_deref())?;
    let endpoint = quinn::Endpoint::server(server::config(&identity)?, args.listen)
        .with_context(|| format!("listening on {}", args.listen))?;
    let ready = serde_json::json!({
        "ready": true,
        "pid": std::process::id(),
        "address": endpoint.local_addr()?,
        "certificate": identity.pem,
    });
    println!("{ready}");
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = server::serve(&endpoint, guard) => {}
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
        _ = end_of_input() => {}
    }
    endpoint.close(0x100_u32.into(), b"stopping");
    endpoint.wait_idle().await;
    Ok(())
}

/// Fires when whoever started this process is gone or closes its pipe.
fn end_of_input() -> oneshot::Receiver<()> {
    let (fire, fired) = oneshot::channel();
    // A thread of its own, since tokio's standard input would keep the runtime from ending.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut discard = [0; 256];
        while matches!(stdin.read(&mut discard), Ok(length) if length > 0) {}
        let _ = fire.send(());
    });
    fired
}
