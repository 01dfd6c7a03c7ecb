//! What AF_XDP alone does: everything takes the way of frames, and what can't is counted.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use weir_core::port::{EgressOp, Transmit};
use weir_io::BackendKind;

use super::lab::{self, Lab};
use super::{Event, Rig, id, pattern, place};

/// Ethernet, IPv4 and UDP headers.
const HEADERS: u64 = 42;

fn warm(rig: &mut Rig, peer: &UdpSocket) {
    rig.open_udp(id(0), peer.local_addr().unwrap());
    rig.udp_send(id(0), 4, b"warm");
    rig.until("sent", |seen| seen.accounted(id(0)).0 == 1);
    let (_, from) = peer.recv_from(&mut [0; 100]).unwrap();
    assert_eq!(Some(from), rig.seen.local(id(0)));
    // The kernel has found the neighbour by now; give it the time to look again.
    rig.turn(Duration::from_millis(30));
}

pub(crate) fn both_sides_travel_as_frames(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let peer = place::udp(kind);
    peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
    warm(&mut rig, &peer);
    let by_kernel = rig.io.stats().xsk_kernel_sends;
    let (before, received) = (rig.io.stats().xsk_tx_frames, rig.io.stats().xsk_rx_frames);
    let train = pattern(50 * 1000 + 7, 1);
    rig.udp_send(id(0), 1000, &train);
    rig.until("the train", |seen| seen.accounted(id(0)).0 == 52);
    let (to_target, to_client) = (rig.seen.local(id(0)).unwrap(), rig.listen[0]);
    for datagram in train.chunks(1000) {
        let mut buffer = [0; 2000];
        let len = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], datagram);
        peer.send_to(datagram, to_target).unwrap();
        peer.send_to(datagram, to_client).unwrap();
    }
    rig.until("the echo", |seen| seen.datagrams(id(0)).len() == 51 && seen.packets.len() == 51);
    assert_eq!(rig.seen.datagrams(id(0)).concat(), train);
    let destination = peer.local_addr().unwrap();
    let transmit = Transmit { destination, src_ip: None, ecn: None, segment_size: Some(1000) };
    rig.reply(transmit, &train);
    rig.turn(Duration::ZERO);
    for datagram in train.chunks(1000) {
        let mut buffer = [0; 2000];
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (datagram, to_client));
    }
    let stats = rig.io.stats();
    assert_eq!(stats.xsk_tx_frames - before, 102, "51 to the target, 51 to the client");
    assert_eq!(stats.xsk_rx_frames - received, 102);
    assert_eq!((stats.xsk_kernel_sends, stats.xsk_foreign), (by_kernel, 0));
}

/// Ledger B's own count is exact, and what the kernel sent is the rest.
pub(crate) fn what_is_sent_is_counted_where_it_is_sent(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let peer = place::udp(kind);
    peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
    warm(&mut rig, &peer);
    let warmed = Lab::with(|lab| lab.sent(id(0)));
    for n in 0..20 {
        rig.udp_send(id(0), 100, &pattern(950, n));
        rig.udp_send(id(0), 0, b"");
        rig.udp_send(id(0), 2000, &pattern(2000, n));
    }
    rig.until("all accounted", |seen| seen.accounted(id(0)) == (221, 20, 4 + 20 * 2950));
    rig.turn(Duration::ZERO);
    let sent = Lab::with(|lab| lab.sent(id(0)));
    let (packets, bytes) = (20 * 11, 20 * 950);
    assert_eq!(sent.packets - warmed.packets, packets);
    assert_eq!(sent.payload_bytes - warmed.payload_bytes, bytes);
    assert_eq!(sent.wire_bytes - warmed.wire_bytes, bytes + packets * HEADERS);
    rig.udp_send(id(0), 1, b"x");
    rig.close(id(0), false);
    assert_eq!(Lab::with(|lab| lab.sent(id(0))).packets, sent.packets + 1, "told before the end");
}

pub(crate) fn an_unknown_neighbour_is_left_to_the_kernel(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let peer = place::udp(kind);
    peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
    Lab::with(|lab| lab.ip("neigh flush dev near"));
    rig.open_udp(id(0), peer.local_addr().unwrap());
    rig.udp_send(id(0), 5, b"first");
    let (len, from) = peer.recv_from(&mut [0; 100]).unwrap();
    assert_eq!((len, Some(from)), (5, rig.seen.local(id(0))), "from the flow's own port");
    rig.until("sent", |seen| seen.has(id(0), &Event::UdpSent(1, 5)));
    assert_eq!((rig.io.stats().xsk_kernel_sends, rig.io.stats().xsk_tx_frames), (1, 0));
    rig.turn(Duration::from_millis(30));
    rig.udp_send(id(0), 6, b"second");
    rig.turn(Duration::ZERO);
    assert_eq!(peer.recv(&mut [0; 100]).unwrap(), 6);
    assert_eq!((rig.io.stats().xsk_kernel_sends, rig.io.stats().xsk_tx_frames), (1, 1));
}

pub(crate) fn only_the_target_is_heard(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let (peer, other) = (place::udp(kind), place::udp(kind));
    let local = rig.open_udp(id(0), peer.local_addr().unwrap());
    other.send_to(b"not for you", local).unwrap();
    peer.send_to(b"late", SocketAddr::new(local.ip(), local.port() - 1)).unwrap();
    peer.send_to(b"yes", local).unwrap();
    rig.until("the answer", |seen| seen.datagrams(id(0)).len() == 1);
    assert_eq!(rig.seen.datagrams(id(0)), [b"yes".to_vec()]);
    assert_eq!(rig.io.stats().xsk_foreign, 2);
    // What was in the ring when the flow was closed is still handed on, before the end.
    for n in 0..100u8 {
        peer.send_to(&[n], local).unwrap();
    }
    rig.op(EgressOp::Close { id: id(0), reset: false });
    rig.until("Closed", |seen| seen.has(id(0), &Event::Closed));
    assert_eq!(rig.seen.datagrams(id(0)).len(), 101);
}

/// A thousand flows need no descriptor each.
pub(crate) fn flows_cost_no_descriptor(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let peer = place::udp(kind);
    let target = peer.local_addr().unwrap();
    rig.open_udp(id(0), target);
    for n in 1..1000 {
        rig.op(EgressOp::UdpOpen { id: id(n), target, source: None });
    }
    rig.until("all open", |seen| (0..1000).all(|n| seen.local(id(n)).is_some()));
    let sockets = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let of_flows = sockets.lines().filter(|line| {
        let port = line.split(':').nth(2).and_then(|rest| rest.get(..4));
        let port = port.and_then(|hex| u16::from_str_radix(hex, 16).ok());
        port.is_some_and(|port| port >= 61_000)
    });
    assert_eq!(of_flows.count(), 0);
    assert_eq!(rig.seen.local(id(7)).unwrap().ip(), lab::NEAR_V4);
}
