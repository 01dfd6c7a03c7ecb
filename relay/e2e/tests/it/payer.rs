//! `weir client` as who pays, and the application behind it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::chain::{json_of, text_of};
use crate::lab::socks::connect;
use crate::lab::{Relay, binary, free_port, wait_for};
use crate::market::{Market, PRICE_PER_GIB, grant};

/// A running client of a lane. It ends with its value, by `kill -9`.
pub(crate) struct Payer {
    child: Child,
    pub(crate) socks: SocketAddr,
    pub(crate) http: SocketAddr,
    admin: String,
    journal: PathBuf,
    log: PathBuf,
}

impl Drop for Payer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What makes a client pay for a lane.
pub(crate) fn options(market: &Market, lane: u32, price_max: u128) -> Vec<String> {
    let (chain, journal) = (&market.chain, market.chain.path(&format!("payer-{lane}.journal")));
    let words = format!(
        "--token env:WEIR_TEST_TOKEN --payer-channel {} --payer-lane {lane} --payer-chain-id {} \
         --payer-escrow {} --payer-price-max {price_max} --payer-period-ms 100",
        market.channel,
        chain.id(),
        chain.contract("escrow"),
    );
    let mut options: Vec<String> = words.split(' ').map(str::to_owned).collect();
    for (option, file) in [("--payer-key", chain.path("session.key")), ("--payer-state", journal)] {
        options.extend([option.to_owned(), file.to_str().unwrap().to_owned()]);
    }
    options
}

/// A client with these options, its log, and the address that it answers questions at.
pub(crate) fn run(
    relay: &Relay,
    lane: u32,
    mut options: Vec<String>,
) -> Result<(Child, PathBuf, String), String> {
    let admin = format!("127.0.0.1:{}", free_port());
    options.extend(["--admin".to_owned(), admin.clone()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (child, log) = relay.client_with("127.0.0.1", &options, &grant(lane))?;
    Ok((child, log, admin))
}

impl Payer {
    /// A client of a lane; `more` options are separated by blanks.
    pub(crate) fn start(market: &Market, relay: &Relay, lane: u32, more: &str) -> Payer {
        let [socks, http] =
            [free_port(), free_port()].map(|p| SocketAddr::from(([127, 0, 0, 1], p)));
        let more = format!("--socks {socks} --http {http} {more}");
        let mut options = options(market, lane, PRICE_PER_GIB);
        options.extend(more.split_whitespace().map(str::to_owned));
        let (child, log, admin) = run(relay, lane, options).unwrap_or_else(|log| panic!("{log}"));
        let journal = market.chain.path(&format!("payer-{lane}.journal"));
        Payer { child, socks, http, admin, journal, log }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, which pays for the rest and closes the journal.
    pub(crate) fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.ends().success(), "{}", self.said());
    }

    /// Waits until it ends by itself.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        wait_for("the client to end", || self.child.try_wait().unwrap())
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn usage_by(&self, more: &[&str]) -> Output {
        let mut command = Command::new(binary::weir());
        command.args(["client", "usage", "--admin", &self.admin]).args(more).output().unwrap()
    }

    /// `weir client usage --json`.
    pub(crate) fn usage(&self) -> Value {
        json_of(&self.usage_by(&["--json"]))
    }

    /// `weir client usage`, for people.
    pub(crate) fn usage_text(&self) -> String {
        text_of(&self.usage_by(&[]))
    }

    /// How payment stands.
    pub(crate) fn payment(&self) -> Value {
        self.usage()["client"]["payment"].clone()
    }

    /// What was signed so far, in units.
    pub(crate) fn signed(&self) -> u64 {
        number(&self.payment()["signed_amount"])
    }

    /// What the journal says, by the command that needs no running client.
    pub(crate) fn journal(&self) -> Value {
        let mut command = Command::new(binary::weir());
        command.args(["client", "usage", "--json", "--journal"]).arg(&self.journal);
        json_of(&command.output().unwrap())["journals"][0].clone()
    }

    /// `weir client settle`: both sides agree, and all of it is paid.
    pub(crate) fn settle(&self) {
        settle(&self.admin);
    }

    /// Waits for a tunnel: the exit serves once the sidecar has told it of the channel.
    pub(crate) fn connect(&self, target: SocketAddr) -> TcpStream {
        wait_for("a tunnel", || connect(self.socks, target).ok())
    }
}

/// Has the client at this address pay for everything, to the byte.
pub(crate) fn settle(admin: &str) {
    let mut command = Command::new(binary::weir());
    command.args(["client", "settle", "--timeout", "20", "--admin", admin]);
    let report = json_of(&command.output().unwrap());
    assert_eq!(report["settled"], true, "{report}");
}

/// A decimal string as a number.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

/// What the relay's engines forwarded since its start, up and down.
pub(crate) fn engine(relay: &Relay) -> (u64, u64) {
    let totals = &relay.status()["totals"];
    let sum = |direction: &str| {
        let of = |kind: &str| totals[kind]["a"][direction]["forwarded"]["bytes"].as_u64().unwrap();
        of("tcp") + of("udp")
    };
    (sum("up"), sum("down"))
}

/// Sends so many bytes to an echo, gets them back, and closes the tunnel.
pub(crate) fn echo(mut stream: TcpStream, bytes: usize) {
    let mut half = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        half.write_all(&vec![0x5a; bytes]).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got.len() == bytes && got.iter().all(|byte| *byte == 0x5a));
    sender.join().unwrap();
}

/// Traffic to an echo, at a bounded rate, until it is told to stop or the tunnel breaks.
pub(crate) struct Trickle {
    stop: Arc<AtomicBool>,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Trickle {
    pub(crate) fn start(stream: TcpStream, chunk: usize, pause: Duration) -> Trickle {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut tunnel) = (Arc::clone(&stop), stream.try_clone().unwrap());
        let thread = std::thread::spawn(move || {
            let mut payload = vec![0x5a; chunk];
            while !stopped.load(Ordering::Relaxed) {
                let sent = tunnel.write_all(&payload);
                if sent.and_then(|()| tunnel.read_exact(&mut payload)).is_err() {
                    return;
                }
                std::thread::sleep(pause);
            }
        });
        Trickle { stop, stream, thread: Some(thread) }
    }

    /// Ends when all that was sent has come back, and the tunnel with it.
    pub(crate) fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().unwrap();
        self.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(self.stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The other end may have closed it before.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
