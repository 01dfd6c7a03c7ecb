//! UDP target-facing sockets.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir_core::port::{EgressError, EgressId, EgressOp};
use weir_io::{BackendKind, IoConfig};

use super::{Event, Rig, id, pattern, place};

/// Sends every datagram back until one says "stop".
fn echo(kind: BackendKind) -> (SocketAddr, JoinHandle<usize>) {
    let socket = place::udp(kind);
    socket.set_read_timeout(Some(super::PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        let mut count = 0;
        loop {
            let (len, from) = socket.recv_from(&mut buffer).expect("a datagram in time");
            if &buffer[..len] == b"stop" {
                return count;
            }
            socket.send_to(&buffer[..len], from).unwrap();
            count += 1;
        }
    });
    (address, thread)
}

pub(crate) fn every_size_comes_back_once(kind: BackendKind) {
    let (target, thread) = echo(kind);
    let mut rig = Rig::new(kind);
    rig.open_udp(id(0), target);
    let mut sizes: Vec<usize> = (0..=1472).step_by(7).collect();
    sizes.extend([1472, 0, 1, 0, 0, 1471]);
    for (n, &size) in sizes.iter().enumerate() {
        rig.udp_send(id(0), if size == 0 { 0 } else { size }, &pattern(size, size as u8));
        rig.until("the echo", |seen| seen.datagrams(id(0)).len() == n + 1);
    }
    for (got, &size) in rig.seen.datagrams(id(0)).iter().zip(&sizes) {
        assert_eq!(*got, pattern(size, size as u8));
    }
    let bytes: usize = sizes.iter().sum();
    let (sent, dropped, accounted) = rig.seen.accounted(id(0));
    assert_eq!((sent as usize, dropped, accounted), (sizes.len(), 0, bytes as u64));
    rig.udp_send(id(0), 4, b"stop");
    rig.turn(Duration::ZERO);
    assert_eq!(thread.join().unwrap(), sizes.len());
}

pub(crate) fn a_train_that_is_too_long_for_the_kernel_is_sent_singly(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let peer = place::udp(kind);
    peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
    rig.open_udp(id(0), peer.local_addr().unwrap());
    let payload = pattern(140 * 10 + 3, 9);
    rig.udp_send(id(0), 10, &payload);
    rig.until("141 sent", |seen| seen.accounted(id(0)) == (141, 0, 1403));
    let mut buffer = [0; 100];
    for datagram in payload.chunks(10) {
        let len = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], datagram);
    }
}

pub(crate) fn a_datagram_that_is_too_big_is_dropped_and_counted(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let peer = place::udp(kind);
    peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
    rig.open_udp(id(0), peer.local_addr().unwrap());
    // 65,507 bytes are the most that IPv4 can carry.
    rig.udp_send(id(0), 65_530, &pattern(65_530, 0));
    rig.until("the drop", |seen| {
        seen.has(id(0), &Event::UdpDropped(1, 65_530, EgressError::TooBig))
    });
    assert_eq!(rig.seen.error(id(0)), None, "the target has not failed");
    rig.udp_send(id(0), 2, b"ok");
    rig.until("the next one", |seen| seen.has(id(0), &Event::UdpSent(1, 2)));
    let mut buffer = [0; 100];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 2);
}

pub(crate) fn a_refusal_is_reported_and_the_socket_stays_usable(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let place = place::udp(kind);
    let target = place.local_addr().unwrap();
    drop(place);
    rig.open_udp(id(0), target);
    rig.udp_send(id(0), 3, b"one");
    rig.until("Refused", |seen| seen.error(id(0)) == Some(EgressError::Refused));
    // Several in one turn: the queued error must not swallow any of them.
    let train = pattern(30, 5);
    for _ in 0..3 {
        rig.udp_send(id(0), 10, &train);
    }
    rig.until("all accounted", |seen| {
        let (sent, dropped, bytes) = seen.accounted(id(0));
        sent + dropped == 10 && bytes == 93
    });
    let peer = place::udp_at(kind, target);
    peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
    rig.turn(Duration::from_millis(20));
    rig.udp_send(id(0), 5, b"alive");
    rig.until("sent", |seen| seen.has(id(0), &Event::UdpSent(1, 5)));
    let mut buffer = [0; 100];
    let (len, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"alive");
    peer.send_to(b"yes", from).unwrap();
    rig.until("the answer", |seen| seen.datagrams(id(0)) == [b"yes".to_vec()]);
    rig.close(id(0), false);
}

pub(crate) fn a_socket_that_cannot_be_opened_fails_and_then_closes(kind: BackendKind) {
    let config = IoConfig { egress_sockets: 4, ..IoConfig::default() };
    let mut rig = Rig::with(kind, &config);
    let target = rig.listen[0];
    // An address that isn't ours.
    let source = Some("192.0.2.99".parse().unwrap());
    rig.op(EgressOp::UdpOpen { id: id(0), target, source });
    rig.udp_send(id(0), 3, b"abc");
    rig.op(EgressOp::TcpConnect { id: id(1), target, source });
    rig.until("both failures", |seen| seen.error(id(0)).is_some() && seen.error(id(1)).is_some());
    assert_eq!(rig.seen.error(id(0)), Some(EgressError::AddrInUse));
    assert_eq!(rig.seen.accounted(id(0)), (0, 1, 3));
    rig.close(id(0), false);
    rig.close(id(1), true);
    // An index beyond the limit is no different.
    rig.op(EgressOp::UdpOpen { id: id(4), target, source: None });
    rig.until("no place", |seen| seen.error(id(4)) == Some(EgressError::NoResources));
    rig.close(id(4), false);
    assert_eq!(rig.io.stats().egress_opened, 0);
}

pub(crate) fn many_sockets_share_the_buffers(kind: BackendKind) {
    const SOCKETS: u32 = 300;
    let config = IoConfig { target_buffers: 4, ..IoConfig::default() };
    let mut rig = Rig::with(kind, &config);
    let peer = place::udp(kind);
    for n in 0..SOCKETS {
        let target = peer.local_addr().unwrap();
        rig.op(EgressOp::UdpOpen { id: id(n), target, source: None });
    }
    rig.until("all open", |seen| (0..SOCKETS).all(|n| seen.local(id(n)).is_some()));
    let locals: Vec<SocketAddr> = (0..SOCKETS).map(|n| rig.seen.local(id(n)).unwrap()).collect();
    for (n, local) in locals.iter().enumerate() {
        peer.send_to(&(n as u32).to_le_bytes(), local).unwrap();
        peer.send_to(b"", local).unwrap();
    }
    rig.until("two for each", |seen| (0..SOCKETS).all(|n| seen.datagrams(id(n)).len() == 2));
    for n in 0..SOCKETS {
        assert_eq!(rig.seen.datagrams(id(n)), [n.to_le_bytes().to_vec(), Vec::new()]);
        rig.op(EgressOp::Close { id: id(n), reset: false });
    }
    rig.until("all closed", |seen| (0..SOCKETS).all(|n| seen.has(id(n), &Event::Closed)));
    let stats = rig.io.stats();
    assert_eq!((stats.egress_opened, stats.egress_closed), (300, 300));
}

pub(crate) fn an_index_is_used_again_with_the_next_epoch(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let peer = place::udp(kind);
    let target = peer.local_addr().unwrap();
    for epoch in 0..20 {
        let id = EgressId { index: 3, epoch };
        let local = rig.open_udp(id, target);
        peer.send_to(&[epoch as u8], local).unwrap();
        rig.until("the datagram", |seen| seen.datagrams(id).len() == 1);
        rig.udp_send(id, 1, b"x");
        rig.close(id, false);
        assert_eq!(rig.seen.accounted(id), (1, 0, 1), "accounted before Closed");
        // The old name means nothing any more.
        rig.udp_send(id, 1, b"x");
        rig.op(EgressOp::Close { id, reset: false });
        rig.turn(Duration::ZERO);
    }
}
