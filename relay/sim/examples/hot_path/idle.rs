//! What connections hold that do nothing. The engine runs in a process of its own, so that the
//! memory that is resident there is its alone.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_sim::world::RELAY;
use weir_sim::{Client, ClientOptions, tls};

use crate::Outcome;
use crate::rig::{Rig, address, meta};

/// The mode of the engine's process.
pub(crate) const CHILD: &str = "idle-engine";

/// Connections before the first measurement: what the process needs anyway.
const WARM_UP: usize = 20;

const TUNNELS: usize = 15;

/// Opens `units` connections with [`TUNNELS`] UDP tunnels each.
pub(crate) fn parent(units: u64) -> Outcome {
    let count = units.min(4000) as usize;
    let exe = std::env::current_exe().expect("a path");
    let mut child = Command::new(exe)
        .arg(CHILD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the same program starts");
    let mut from = child.stdout.take().expect("piped");
    let (_, certificate) = read_packet(&mut from);
    let mut wire = Wire {
        to: child.stdin.take().expect("piped"),
        from,
        tls: tls::client_of(certificate.into()),
        clients: Vec::new(),
        now: Instant::now(),
        rss: 0,
    };
    for _ in 0..WARM_UP {
        let n = wire.connect();
        (0..TUNNELS).for_each(|_| wire.open(n));
    }
    let start = wire.settled();
    for _ in 0..count {
        wire.connect();
    }
    let connected = wire.settled();
    (WARM_UP..WARM_UP + count).for_each(|n| wire.open(n));
    let first = wire.settled();
    for _ in 1..TUNNELS {
        (WARM_UP..WARM_UP + count).for_each(|n| wire.open(n));
    }
    let all = wire.settled();
    drop(wire);
    child.wait().expect("it ends with its input");
    let each = |bytes: u64, per: usize| bytes as f64 / per as f64 / 1024.0;
    Outcome {
        unit: "connection",
        units: count as u64,
        engine: Duration::ZERO,
        note: format!(
            "\n  {:.1} KiB per connection, {:.1} KiB with its first UDP tunnel, {:.2} KiB per \
             further UDP tunnel",
            each(connected - start, count),
            each(first - start, count),
            each(all - first, count * (TUNNELS - 1)),
        ),
    }
}

/// The engine's process: packets in, packets and the resident bytes out, until the input ends.
pub(crate) fn child() {
    let mut rig = Rig::new();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    write_packet(&mut output, 0, &tls::certificate());
    output.flush().expect("a pipe");
    while let Some(trains) = read_u32(&mut input) {
        for _ in 0..trains {
            let (n, packet) = read_packet(&mut input);
            rig.trains.push((meta(address(n), packet.len()), packet));
        }
        rig.turn();
        // What the turn has sent went nowhere: the clients are in the other process.
        let sent = std::mem::take(&mut rig.undelivered);
        output.write_all(&(sent.len() as u32).to_le_bytes()).expect("a pipe");
        for (n, packet) in sent {
            write_packet(&mut output, n, &packet);
        }
        output.write_all(&resident().to_le_bytes()).expect("a pipe");
        output.flush().expect("a pipe");
    }
}

struct Wire {
    to: std::process::ChildStdin,
    from: std::process::ChildStdout,
    tls: Arc<rustls::ClientConfig>,
    clients: Vec<Client>,
    now: Instant,
    rss: u64,
}

impl Wire {
    fn connect(&mut self) -> usize {
        let n = self.clients.len();
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let options = ClientOptions { tls: Some(self.tls.clone()), ..ClientOptions::default() };
        let client = Client::new(address(n), RELAY, options, seed, self.now);
        self.clients.push(client);
        while self.clients[n].settings.is_none() {
            self.turn(n);
        }
        self.turn(n);
        n
    }

    fn open(&mut self, n: usize) {
        let target = format!("1.2.3.4:{}", 10_000 + n % 50_000);
        let stream = self.clients[n].open_udp(&target);
        while self.clients[n].status(stream) == 0 {
            self.turn(n);
        }
        assert_eq!(self.clients[n].status(stream), 200);
    }

    /// Resident bytes when all acknowledgements are through.
    fn settled(&mut self) -> u64 {
        for _ in 0..3 {
            (0..self.clients.len()).for_each(|n| self.turn(n));
        }
        self.rss
    }

    fn turn(&mut self, n: usize) {
        let packets = self.clients[n].pump(self.now);
        self.to.write_all(&(packets.len() as u32).to_le_bytes()).expect("a pipe");
        for packet in packets {
            write_packet(&mut self.to, n, &packet);
        }
        self.to.flush().expect("a pipe");
        self.now += Duration::from_micros(200);
        for _ in 0..read_u32(&mut self.from).expect("an answer") {
            let (n, packet) = read_packet(&mut self.from);
            self.clients[n].handle_packet(RELAY, &packet, self.now);
        }
        let mut rss = [0; 8];
        self.from.read_exact(&mut rss).expect("an answer");
        self.rss = u64::from_le_bytes(rss);
    }
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

fn read_u32(from: &mut impl Read) -> Option<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes).ok().map(|()| u32::from_le_bytes(bytes))
}

fn read_packet(from: &mut impl Read) -> (usize, Vec<u8>) {
    let n = read_u32(from).expect("a whole packet") as usize;
    let mut packet = vec![0; read_u32(from).expect("a whole packet") as usize];
    from.read_exact(&mut packet).expect("a whole packet");
    (n, packet)
}

fn write_packet(to: &mut impl Write, n: usize, packet: &[u8]) {
    to.write_all(&(n as u32).to_le_bytes()).expect("a pipe");
    to.write_all(&(packet.len() as u32).to_le_bytes()).expect("a pipe");
    to.write_all(packet).expect("a pipe");
}
