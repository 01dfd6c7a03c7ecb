//! Two clients and two echoing targets on loopback, a closed loop.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use quinn_proto::{Dir, Side, StreamId};
use weir_sim::{Client, ClientOptions};

const CLIENTS: usize = 2;
const PAYLOAD: [u8; 1200] = [0x5a; 1200];

/// Datagrams under way per client.
const WINDOW: u64 = 64;

/// What has not come back by then is lost; loopback loses nothing but what overflows a buffer.
const LOST_AFTER: Duration = Duration::from_millis(500);

/// Anything that happens at all happens by then.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Load {
    relay: SocketAddr,
    ends: Vec<End>,
    targets: Vec<thread::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

struct End {
    client: Client,
    socket: UdpSocket,
    tunnel: StreamId,
    under_way: u64,
    heard: Instant,
}

impl Load {
    /// Clients with an open tunnel each.
    pub(crate) fn open(relay: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Load { relay, ends: Vec::new(), targets: Vec::new(), stop };
        for n in 0..CLIENTS {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let (address, now) = (socket.local_addr().unwrap(), Instant::now());
            let options = ClientOptions::default();
            let client = Client::new(address, relay, options, [n as u8; 32], now);
            let mut end = End {
                client,
                socket,
                tunnel: StreamId::new(Side::Client, Dir::Bi, 0),
                under_way: 0,
                heard: now,
            };
            end.until(relay, "SETTINGS", |client| client.settings.is_some());
            end.tunnel = end.client.open_udp(&load.target().to_string());
            let tunnel = end.tunnel;
            end.until(relay, "an open tunnel", |client| client.status(tunnel) == 200);
            load.ends.push(end);
        }
        load
    }

    /// Sends and receives until so many datagrams came back.
    pub(crate) fn echo(&mut self, datagrams: u64) {
        let limit = Instant::now() + PATIENCE;
        let mut echoed = 0;
        while echoed < datagrams {
            assert!(Instant::now() < limit, "{echoed} of {datagrams} datagrams came back");
            let mut idle = true;
            for end in &mut self.ends {
                let now = Instant::now();
                let stream = end.client.stream(end.tunnel);
                let back = stream.datagrams.len() as u64;
                stream.datagrams.clear();
                echoed += back;
                end.under_way = end.under_way.saturating_sub(back);
                if back > 0 {
                    end.heard = now;
                } else if now > end.heard + LOST_AFTER {
                    (end.under_way, end.heard) = (0, now);
                }
                while end.under_way < WINDOW && end.client.send_udp(end.tunnel, &PAYLOAD) {
                    end.under_way += 1;
                }
                idle &= !end.turn(self.relay) && back == 0;
            }
            if idle {
                thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// A target that sends everything back.
    fn target(&mut self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::clone(&self.stop);
        self.targets.push(thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        }));
        address
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for target in self.targets.drain(..) {
            let _ = target.join();
        }
    }
}

impl End {
    /// Receives and sends what there is. Whether something was received.
    fn turn(&mut self, relay: SocketAddr) -> bool {
        let mut buffer = [0; 2048];
        let mut received = false;
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.client.handle_packet(relay, &buffer[..length], Instant::now());
            received = true;
        }
        for packet in self.client.pump(Instant::now()) {
            let _ = self.socket.send_to(&packet, relay);
        }
        received
    }

    fn until(&mut self, relay: SocketAddr, what: &str, done: impl Fn(&Client) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done(&self.client) {
            assert!(Instant::now() < limit, "no {what}: {:?}", self.client.closed);
            if !self.turn(relay) {
                thread::sleep(Duration::from_micros(50));
            }
        }
    }
}
