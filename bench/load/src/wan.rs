//! A long and lossy way: forwards UDP both ways with a fixed delay and random loss.
//!
//! ```text
//! clients <--UDP--> listen | lose, wait delay_ms | a socket per client | <--UDP--> to
//! ```
//!
//! It stands between the generator and a relay, since the lab's kernel may have no netem. Each
//! direction loses independently, by its own seeded sequence: the same datagrams in the same order
//! lose the same ones. It neither reorders nor limits the rate; what its queue has no room for is
//! counted apart from what it loses on purpose, so that a run it disturbed shows.
//!
//! One thread, `poll`, a system call per datagram: good for some 100,000 datagrams per second.

mod loss;
mod queue;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use loss::Loss;
use queue::{DelayQueue, Full};

/// A scenario has a handful of connections; each costs a socket and a place in `poll`.
const CLIENTS_MAX: usize = 1024;

/// Read from a socket before the next one has its turn.
const READS_PER_SOCKET: usize = 64;

/// A burst of a sender's worth; the kernel grants what its limits allow.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// No UDP payload is larger.
const PAYLOAD_BYTES_MAX: usize = 65_535;

/// `weir-load wan`.
#[derive(Args, Clone, Debug)]
pub struct WanArgs {
    /// UDP address for clients; port 0 lets the kernel choose.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where everything goes.
    #[arg(long, value_name = "ADDRESS")]
    pub to: SocketAddr,
    /// Part of the datagrams that is lost, in each direction: 0.01 is 1 %.
    #[arg(long, default_value_t = 0.0, value_name = "PART")]
    pub loss: f64,
    /// Delay in each direction: the round trip is twice as long.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub delay_ms: u32,
    /// Decides which datagrams are lost.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Forwards until standard input ends. Prints `{"event":"ready", ...}` when its socket is open and
/// `{"event":"end", ...}` with the counters at the end.
///
/// # Errors
/// When an address can't be used or the part to lose is none.
pub fn run(args: &WanArgs) -> anyhow::Result<()> {
    let mut wan = Wan::open(args)?;
    print(&json!({
        "event": "ready", "pid": std::process::id(), "listen": wan.address()?, "to": args.to,
        "loss": args.loss, "delay_ms": args.delay_ms, "seed": args.seed,
    }))?;
    let stdin = io::stdin();
    while !wan.turn(Some(&stdin))? {}
    let Counters { up, down } = wan.counters;
    print(&json!({"event": "end", "up": up.json(), "down": down.json()}))
}

fn print(line: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The forwarder.
#[derive(Debug)]
struct Wan {
    listen: UdpSocket,
    to: SocketAddr,
    clients: Vec<Client>,
    by_address: HashMap<SocketAddr, usize>,
    up: Direction,
    down: Direction,
    counters: Counters,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    /// Connected to where everything goes, so that its answers are this client's.
    socket: UdpSocket,
}

/// Which client a waiting datagram is from or for.
#[derive(Clone, Copy, Debug)]
struct ClientIndex(usize);

#[derive(Debug)]
struct Direction {
    loss: Loss,
    queue: DelayQueue<ClientIndex>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    up: Counts,
    down: Counts,
}

/// Datagrams of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    received: u64,
    /// On purpose.
    lost: u64,
    /// No room in the queue, in a socket, or in the table of clients: the way was too narrow.
    dropped: u64,
    forwarded: u64,
}

impl Counts {
    fn json(self) -> serde_json::Value {
        let Counts { received, lost, dropped, forwarded } = self;
        json!({"received": received, "lost": lost, "dropped": dropped, "forwarded": forwarded})
    }
}

impl Direction {
    fn take(&mut self, counts: &mut Counts, at: Instant, client: ClientIndex, bytes: &[u8]) {
        counts.received += 1;
        if self.loss.next() {
            counts.lost += 1;
        } else if let Err(Full) = self.queue.push(at, client, bytes) {
            counts.dropped += 1;
        }
    }
}

impl Wan {
    fn open(args: &WanArgs) -> anyhow::Result<Wan> {
        ensure!(
            (0.0..=1.0).contains(&args.loss),
            "--loss is a part of all datagrams, between 0 and 1, and {} is not",
            args.loss
        );
        ensure!(
            args.listen.is_ipv4() == args.to.is_ipv4(),
            "--listen {} and --to {} are of different address families",
            args.listen,
            args.to
        );
        let delay = Duration::from_millis(args.delay_ms.into());
        // Two sequences of one seed: the directions lose independently.
        let direction = |salt| Direction {
            loss: Loss::new(args.loss, args.seed ^ salt),
            queue: DelayQueue::new(delay),
        };
        Ok(Wan {
            listen: socket(args.listen)
                .with_context(|| format!("--listen {}: no UDP socket", args.listen))?,
            to: args.to,
            clients: Vec::new(),
            by_address: HashMap::new(),
            up: direction(0),
            down: direction(u64::MAX),
            counters: Counters::default(),
            buffer: vec![0; PAYLOAD_BYTES_MAX],
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listen.local_addr()
    }

    /// Waits for datagrams or for the next that is due, and forwards. True when `stop` ended.
    fn turn(&mut self, stop: Option<&io::Stdin>) -> anyhow::Result<bool> {
        let readable = self.wait(stop)?;
        if let Some(mut stdin) = stop.filter(|_| readable.stop)
            && matches!(stdin.read(&mut [0; 64]), Ok(0) | Err(_))
        {
            return Ok(true);
        }
        if readable.listen {
            self.read_clients()?;
        }
        for index in readable.clients {
            self.read_client(ClientIndex(index))?;
        }
        self.send_due(Instant::now());
        Ok(false)
    }

    fn wait(&self, stop: Option<&io::Stdin>) -> anyhow::Result<Readable> {
        let due = [self.up.queue.due(), self.down.queue.due()].into_iter().flatten().min();
        let timeout = due.map(|due| {
            let wait = due.saturating_duration_since(Instant::now());
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() }
        });
        let sockets = self.clients.iter().map(|client| &client.socket);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(&self.listen)
            .chain(sockets)
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        fds.extend(stop.map(|stdin| PollFd::new(stdin, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("poll: {error}"),
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let clients = &fds[1..=self.clients.len()];
        Ok(Readable {
            listen: ready(&fds[0]),
            clients: (0..clients.len()).filter(|&index| ready(&clients[index])).collect(),
            stop: stop.is_some() && fds.last().is_some_and(ready),
        })
    }

    fn read_clients(&mut self) -> anyhow::Result<()> {
        for _ in 0..READS_PER_SOCKET {
            let (length, from) = match self.listen.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if passing(&error) => return Ok(()),
                Err(error) => return Err(error).context("reading from clients"),
            };
            let now = Instant::now();
            let Some(client) = self.client(from)? else {
                self.counters.up.received += 1;
                self.counters.up.dropped += 1;
                continue;
            };
            self.up.take(&mut self.counters.up, now, client, &self.buffer[..length]);
        }
        Ok(())
    }

    fn read_client(&mut self, client: ClientIndex) -> anyhow::Result<()> {
        for _ in 0..READS_PER_SOCKET {
            match self.clients[client.0].socket.recv(&mut self.buffer) {
                Ok(length) => {
                    let bytes = &self.buffer[..length];
                    self.down.take(&mut self.counters.down, Instant::now(), client, bytes);
                }
                Err(error) if passing(&error) => return Ok(()),
                Err(error) => return Err(error).context("reading answers"),
            }
        }
        Ok(())
    }

    fn send_due(&mut self, now: Instant) {
        let clients = &self.clients;
        let up = &mut self.counters.up;
        self.up.queue.pop_due(now, |client, bytes| {
            count(up, clients[client.0].socket.send(bytes));
        });
        let down = &mut self.counters.down;
        self.down.queue.pop_due(now, |client, bytes| {
            count(down, self.listen.send_to(bytes, clients[client.0].address));
        });
    }

    /// The client with this address, made on its first datagram; none when there are too many.
    fn client(&mut self, address: SocketAddr) -> anyhow::Result<Option<ClientIndex>> {
        if let Some(&index) = self.by_address.get(&address) {
            return Ok(Some(ClientIndex(index)));
        }
        if self.clients.len() == CLIENTS_MAX {
            return Ok(None);
        }
        let any: SocketAddr = match self.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = socket(any).context("a socket for a client")?;
        socket.connect(self.to).with_context(|| format!("--to {}", self.to))?;
        self.by_address.insert(address, self.clients.len());
        self.clients.push(Client { address, socket });
        Ok(Some(ClientIndex(self.clients.len() - 1)))
    }
}

/// What `poll` found.
#[derive(Debug)]
struct Readable {
    listen: bool,
    clients: Vec<usize>,
    stop: bool,
}

fn count(counts: &mut Counts, sent: io::Result<usize>) {
    match sent {
        Ok(_) => counts.forwarded += 1,
        Err(_) => counts.dropped += 1,
    }
}

/// Nothing to read, or an ICMP message about an earlier datagram: neither ends the way.
fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
    )
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
