//! The floor: a bare forwarder on the relay's own sockets, with the AEAD of the same bytes.
//!
//! ```text
//! client --UDP--> listen | GRO train in, AES-128-GCM per datagram, GSO train out | --UDP--> target
//! client --TCP--> listen | a read, AES-128-GCM per 1200 bytes, a write           | --TCP--> target
//! ```
//!
//! What a QUIC relay on these sockets does besides (QUIC, HTTP/3, sessions, policy, metering) is
//! missing, so nothing that relays datagrams over QUIC can cost less. It has no protocol: the load
//! comes by [`crate::spec::Way::Direct`] with the floor's address as the target.
//!
//! **The AEAD.** A UDP datagram keeps its size both ways. Towards the target its bytes are sealed
//! in place and the tag is dropped; on the way back they are sealed again under the same nonce.
//! AES-GCM is AES in counter mode beside a hash, so the second pass removes what the first one put
//! on: the client gets its own bytes back exactly if every datagram went through both passes. A
//! pass is all of a seal: the counter mode, the hash over the result and the tag. Opening differs
//! from it by the order of the two and by comparing the tag (297 instead of 282 ns for 1200 bytes).
//! TCP isn't an echo, so there a copy of each 1200 bytes is sealed and the bytes themselves go on;
//! the copy costs some 20 ns.

mod aead;
mod tcp;
mod udp;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use clap::{Args, ValueEnum};
use weir_io::{BackendChoice, Waker};

pub use aead::{RECORD_BYTES, Seal};

/// `weir-load floor`.
#[derive(Args, Clone, Debug)]
pub struct FloorArgs {
    /// Address for UDP and TCP; port 0 lets the kernel choose.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where everything goes.
    #[arg(long, value_name = "ADDRESS")]
    pub target: SocketAddr,
    #[arg(long, value_enum, default_value_t = FloorBackend::Uring)]
    pub backend: FloorBackend,
    /// Send every datagram by itself instead of in trains.
    #[arg(long)]
    pub singly: bool,
    /// Forward the bytes without encrypting anything.
    #[arg(long)]
    pub no_aead: bool,
    /// Microseconds to look for the next datagram before sleeping [default: the relay's].
    #[arg(long, value_name = "MICROSECONDS")]
    pub spin_us: Option<u64>,
}

/// Which of the relay's backends carries the UDP datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FloorBackend {
    Uring,
    Poll,
}

impl From<FloorBackend> for BackendChoice {
    fn from(backend: FloorBackend) -> BackendChoice {
        match backend {
            FloorBackend::Uring => BackendChoice::Uring,
            FloorBackend::Poll => BackendChoice::Poll,
        }
    }
}

/// Forwards until standard input ends. Prints `{"event":"ready", ...}` when both sockets are open
/// and `{"event":"end", ...}` with the counters at the end.
///
/// # Errors
/// When an address can't be used, io_uring is asked for and refused, or the backend breaks.
pub fn run(args: &FloorArgs) -> anyhow::Result<()> {
    let waker = Waker::new().context("making a waker")?;
    let ended = Arc::new(AtomicBool::new(false));
    let mut udp = udp::Forwarder::open(args, &waker)?;
    let listen = udp.listen();
    tcp::spawn(listen, args.target, !args.no_aead)?;
    print(&serde_json::json!({
        "event": "ready", "listen": listen, "target": args.target,
        "backend": udp.backend().to_string(), "aead": !args.no_aead, "singly": args.singly,
    }))?;
    thread::Builder::new().name("floor-stdin".to_owned()).spawn({
        let ended = Arc::clone(&ended);
        move || {
            // Whatever ends the input, an error included, ends the run.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            ended.store(true, Ordering::Release);
            waker.wake();
        }
    })?;
    while !ended.load(Ordering::Acquire) {
        udp.turn()?;
    }
    print(&udp.summary())
}

fn print(line: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests;
