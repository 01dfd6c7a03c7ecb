//! What a relayed datagram costs in I/O alone: a forwarder without QUIC between many clients and
//! many flows, no two datagrams of a turn alike. Run it by name, in a release build:
//!
//! ```text
//! cargo test --release -p weir-io --test backends -- --ignored --nocapture cost
//! ```

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_core::port::{EgressEvent, EgressId, EgressOp, Handler, Io, PacketMeta, Transmit};
use weir_io::{Backend, BackendKind, IoConfig, affinity};

use super::{Rig, id, place};

const CLIENTS: u32 = 256;
const BYTES: usize = 1200;
const RUN: Duration = Duration::from_secs(2);
/// Between two turns, instead of the work of an engine: turns without it would find one datagram
/// each, because the generator is slower than either backend.
const REST: Duration = Duration::from_micros(500);

/// What a turn brought, to be sent on.
#[derive(Default)]
struct Forwarder {
    flows: HashMap<SocketAddr, EgressId>,
    clients: Vec<SocketAddr>,
    up: Vec<(EgressId, Vec<u8>)>,
    down: Vec<(SocketAddr, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    datagrams: u64,
}

impl Forwarder {
    fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        copy
    }

    fn flush(&mut self, io: &mut Backend) {
        for (id, bytes) in std::mem::take(&mut self.up) {
            if let Some(mut buffer) = io.take_buffer() {
                buffer.extend_from_slice(&bytes);
                let op = EgressOp::UdpSend { id, segment_size: bytes.len(), datagrams: 1 };
                io.egress(op, buffer);
            }
            self.spare.push(bytes);
        }
        for (destination, bytes) in std::mem::take(&mut self.down) {
            if let Some(mut buffer) = io.take_buffer() {
                buffer.extend_from_slice(&bytes);
                let (src_ip, ecn, segment_size) = (None, None, None);
                io.transmit(&Transmit { destination, src_ip, ecn, segment_size }, buffer);
            }
            self.spare.push(bytes);
        }
    }
}

impl Handler for Forwarder {
    fn handle_packets(&mut self, _: Instant, meta: &PacketMeta, train: &[u8]) {
        let Some(&id) = self.flows.get(&meta.remote) else { return };
        for packet in train.chunks(meta.segment_size) {
            self.datagrams += 1;
            let copy = self.copy(packet);
            self.up.push((id, copy));
        }
    }

    fn handle_egress(&mut self, _: Instant, event: EgressEvent<'_>) {
        if let EgressEvent::UdpReceived { id, train, segment_size } = event {
            for packet in train.chunks(segment_size.max(1)) {
                self.datagrams += 1;
                let copy = self.copy(packet);
                self.down.push((self.clients[id.index as usize], copy));
            }
        }
    }
}

pub(crate) fn of_a_scattered_datagram(kind: BackendKind) -> f64 {
    let config = IoConfig { send_buffers: 2_048, ..IoConfig::default() };
    let mut rig = Rig::with(kind, &config);
    let clients: Vec<UdpSocket> = (0..CLIENTS).map(|_| place::udp(kind)).collect();
    let targets: Vec<UdpSocket> = (0..CLIENTS).map(|_| place::udp(kind)).collect();
    let mut forwarder = Forwarder::default();
    for (n, (client, target)) in (0..).zip(clients.iter().zip(&targets)) {
        let target = target.local_addr().unwrap();
        rig.op(EgressOp::UdpOpen { id: id(n), target, source: None });
        forwarder.flows.insert(client.local_addr().unwrap(), id(n));
        forwarder.clients.push(client.local_addr().unwrap());
    }
    rig.until("all open", |seen| (0..CLIENTS).all(|n| seen.local(id(n)).is_some()));
    let cpus = affinity::allowed().unwrap();
    affinity::pin(cpus[0]).unwrap();
    let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let far = {
        let (stop, lost, listen) = (Arc::clone(&stop), Arc::clone(&lost), rig.listen[0]);
        thread::spawn(move || {
            affinity::pin(*cpus.last().unwrap()).unwrap();
            generate(&clients, &targets, listen, &stop, &lost);
        })
    };
    let mut turn_until = |forwarder: &mut Forwarder, end: Instant| {
        while Instant::now() < end {
            let soon = Some(Instant::now() + Duration::from_millis(50));
            rig.io.turn(soon, forwarder).unwrap();
            forwarder.flush(&mut rig.io);
            thread::sleep(REST);
        }
    };
    turn_until(&mut forwarder, Instant::now() + RUN / 4);
    let (before, datagrams, start) = (cpu_ns(), forwarder.datagrams, Instant::now());
    turn_until(&mut forwarder, start + RUN);
    let (used, carried) = (cpu_ns() - before, forwarder.datagrams - datagrams);
    stop.store(true, Ordering::Relaxed);
    far.join().unwrap();
    let stats = rig.io.stats();
    println!(
        "{kind}: {:.0} ns per datagram, {carried} in {RUN:?}, {} per turn, {:.0} % busy, {} lost \
         (xsk {} rx {} tx {} dropped {} by the kernel)",
        used as f64 / carried as f64,
        carried / stats.turns.max(1),
        used as f64 * 100.0 / RUN.as_nanos() as f64,
        lost.load(Ordering::Relaxed),
        stats.xsk_rx_frames,
        stats.xsk_tx_frames,
        stats.xsk_rx_dropped,
        stats.xsk_kernel_sends,
    );
    used as f64 / carried as f64
}

/// One datagram of each client is on its way at any time; targets send back what they get.
fn generate(
    clients: &[UdpSocket],
    targets: &[UdpSocket],
    listen: SocketAddr,
    stop: &AtomicBool,
    lost: &AtomicU64,
) {
    let mut buffer = [7; 2048];
    let mut since = vec![Instant::now(); clients.len()];
    for socket in clients.iter().chain(targets) {
        socket.set_nonblocking(true).unwrap();
    }
    for client in clients {
        client.send_to(&buffer[..BYTES], listen).unwrap();
    }
    while !stop.load(Ordering::Relaxed) {
        for target in targets {
            while let Ok((len, from)) = target.recv_from(&mut buffer) {
                let _ = target.send_to(&buffer[..len], from);
            }
        }
        let now = Instant::now();
        for (client, since) in clients.iter().zip(&mut since) {
            let back = client.recv_from(&mut buffer).is_ok();
            if !back && now < *since + Duration::from_millis(200) {
                continue;
            }
            lost.fetch_add(u64::from(!back), Ordering::Relaxed);
            *since = now;
            let _ = client.send_to(&buffer[..BYTES], listen);
        }
    }
}

/// What this thread has used so far.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
