//! Peers to compare with, on request: other tunnels, each with its own server at the relay's place
//! and its own SOCKS5 client at the generator's.
//!
//! They are not MASQUE relays, and are driven through their clients, so only what the **server**
//! costs compares. `cargo xtask bench --with-peers` installs them under `target/peers`; nothing of
//! them is linked or kept in the tree.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::{path::Path, process::Command};
//! use weir_bench::peers::{Kind, Peer, Place, Programs};
//!
//! let programs = Programs::find(Path::new("target/peers"))?;
//! let here = |program: &Path| Command::new(program);
//! let server = Place { listen: "127.0.0.1:4443".parse()?, command: &here };
//! let client = Place { listen: "127.0.0.1:1080".parse()?, command: &here };
//! let mut peer = Peer::start(Kind::Hysteria2, &programs, &server, &client, Path::new("/tmp/x"))?;
//! println!("{} {}: SOCKS5 on {}", peer.name(), peer.version(), peer.socks());
//! assert!(peer.stop());
//! # Ok(())
//! # }
//! ```

mod config;
mod listening;
mod programs;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run::process::Process;
pub use programs::Programs;

/// A program that does not listen after this long never will.
const START_LIMIT: Duration = Duration::from_secs(10);

/// sing-box ends its sessions in order, which takes a moment.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Which peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hysteria 2 (QUIC) by sing-box.
    Hysteria2,
    /// TUIC 5 (QUIC) by sing-box.
    Tuic,
    /// Shadowsocks with AES-128-GCM by shadowsocks-rust: TCP over TCP, UDP over UDP.
    Shadowsocks,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Hysteria2, Kind::Tuic, Kind::Shadowsocks];

    /// The subject's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Hysteria2 => "hysteria2",
            Kind::Tuic => "tuic",
            Kind::Shadowsocks => "shadowsocks",
        }
    }
}

/// Where one half of a peer runs.
pub struct Place<'a> {
    /// Its address there: the server's own port (UDP, and TCP for Shadowsocks), or the client's
    /// SOCKS5 port. Both must be free.
    pub listen: SocketAddr,
    /// A command that starts a program there: in that namespace, on those CPUs.
    pub command: &'a dyn Fn(&Path) -> Command,
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// A running peer. Dropping it ends both halves.
#[derive(Debug)]
pub struct Peer {
    kind: Kind,
    version: String,
    socks: SocketAddr,
    // Dropped first, so that the client does not complain of a lost server.
    client: Process,
    server: Process,
}

impl Peer {
    /// Starts the server, then the client, and waits until both listen. Configuration,
    /// certificates and logs go to `dir`, which must exist and be empty.
    ///
    /// # Errors
    /// When the peer is not installed, or a half does not come up; with the end of its log.
    pub fn start(
        kind: Kind,
        programs: &Programs,
        server: &Place<'_>,
        client: &Place<'_>,
        dir: &Path,
    ) -> Result<Peer> {
        let program = programs.of(kind)?;
        let files = config::write(kind, server.listen, client.listen, dir)
            .with_context(|| format!("configuring {}", kind.name()))?;
        let version = programs::version(&program.server)?;
        let start = |half: &str, place: &Place<'_>, program: &Path, file: &Path| {
            let mut command = (place.command)(program);
            match kind {
                Kind::Hysteria2 | Kind::Tuic => command.args(["run", "-c"]),
                Kind::Shadowsocks => command.arg("-c"),
            };
            command.arg(file);
            Process::start(&format!("{}-{half}", kind.name()), command, dir)
        };
        let mut up = start("server", server, &program.server, &files.server)?;
        let pid = up.pid();
        up.wait_until(START_LIMIT, || listening::udp(pid, server.listen.port()))?;
        let mut socks = start("client", client, &program.client, &files.client)?;
        let pid = socks.pid();
        socks.wait_until(START_LIMIT, || listening::tcp(pid, client.listen.port()))?;
        Ok(Peer { kind, version, socks: client.listen, client: socks, server: up })
    }

    /// The subject's name in reports.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// What it says of itself, such as `sing-box version 1.14.4`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where the generator reaches it: SOCKS5, without authentication, CONNECT and UDP ASSOCIATE.
    pub fn socks(&self) -> SocketAddr {
        self.socks
    }

    /// Whose CPU time and memory count.
    pub fn server_pid(&self) -> u32 {
        self.server.pid()
    }

    /// Ends both halves; whether both ended when asked to.
    pub fn stop(&mut self) -> bool {
        let client = self.client.stop(STOP_LIMIT);
        self.server.stop(STOP_LIMIT) && client
    }
}
