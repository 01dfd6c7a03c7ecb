//! TCP target-facing connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use weir_core::port::{EgressError, EgressId, EgressOp};
use weir_io::{BackendKind, IoConfig};

use super::{Event, Rig, id, pattern, place};

/// A rig with one connection, and its other end.
fn connected(kind: BackendKind) -> (Rig, TcpStream) {
    let mut rig = Rig::new(kind);
    let listener = place::tcp(kind);
    let local = rig.open_tcp(id(0), listener.local_addr().unwrap());
    let (peer, from) = listener.accept().unwrap();
    assert_eq!(from, local);
    peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
    (rig, peer)
}

fn credit(rig: &mut Rig, id: EgressId, bytes: usize) {
    rig.op(EgressOp::TcpCredit { id, bytes });
}

fn received(rig: &Rig, id: EgressId) -> Vec<u8> {
    let data = rig.seen.of(id).filter_map(|e| if let Event::Tcp(d) = e { Some(d) } else { None });
    data.flatten().copied().collect()
}

pub(crate) fn ten_mebibytes_come_back_on_small_credits(kind: BackendKind) {
    const TOTAL: usize = 10 << 20;
    /// Bytes that are credited at a time, and that may be outstanding.
    const CREDIT: usize = 3000;
    const OUTSTANDING: usize = 300_000;
    let (mut rig, mut peer) = connected(kind);
    let echo = thread::spawn(move || {
        let mut buffer = vec![0; 50_000];
        loop {
            match peer.read(&mut buffer).unwrap() {
                0 => return peer.shutdown(Shutdown::Write).unwrap(),
                len => peer.write_all(&buffer[..len]).unwrap(),
            }
        }
    });
    let data = pattern(TOTAL, 7);
    let end = Instant::now() + 3 * super::PATIENCE;
    let (mut queued, mut back, mut events, mut sent) = (0, 0, 0, 0);
    let mut eof = false;
    credit(&mut rig, id(0), CREDIT);
    rig.seen.events.clear();
    while back < TOTAL || !eof {
        assert!(Instant::now() < end, "{queued} queued, {sent} sent, {back} back");
        while queued < TOTAL && queued - sent < OUTSTANDING {
            let piece = &data[queued..TOTAL.min(queued + 60_000)];
            rig.tcp_send(id(0), piece);
            queued += piece.len();
            if queued == TOTAL {
                rig.op(EgressOp::TcpShutdown { id: id(0) });
            }
        }
        rig.turn(Duration::from_millis(50));
        for (_, event) in std::mem::take(&mut rig.seen.events) {
            events += 1;
            match event {
                Event::Tcp(piece) => {
                    assert!(piece.len() <= CREDIT, "{} bytes on credit {CREDIT}", piece.len());
                    assert_eq!(piece, data[back..back + piece.len()]);
                    back += piece.len();
                    credit(&mut rig, id(0), piece.len());
                }
                Event::TcpSent(bytes) => sent += bytes,
                Event::TcpEof if back == TOTAL => eof = true,
                other => panic!("{other:?} after {events} events"),
            }
        }
    }
    assert_eq!((sent, back), (TOTAL, TOTAL));
    echo.join().unwrap();
    rig.close(id(0), false);
}

pub(crate) fn nothing_is_read_without_credit(kind: BackendKind) {
    let (mut rig, mut peer) = connected(kind);
    peer.write_all(&pattern(100_000, 1)).unwrap();
    rig.turn(Duration::from_millis(50));
    assert_eq!(received(&rig, id(0)).len(), 0);
    credit(&mut rig, id(0), 10);
    rig.until("10 bytes", |seen| seen.of(id(0)).any(|e| matches!(e, Event::Tcp(_))));
    rig.turn(Duration::from_millis(50));
    assert_eq!(received(&rig, id(0)), pattern(100_000, 1)[..10]);
    credit(&mut rig, id(0), usize::MAX / 2);
    rig.until("the rest", |seen| {
        let total: usize =
            seen.of(id(0)).map(|e| if let Event::Tcp(d) = e { d.len() } else { 0 }).sum();
        total == 100_000
    });
    assert_eq!(received(&rig, id(0)), pattern(100_000, 1));
}

pub(crate) fn a_refused_connection_fails(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let listener = place::tcp(kind);
    let target = listener.local_addr().unwrap();
    drop(listener);
    rig.op(EgressOp::TcpConnect { id: id(0), target, source: None });
    rig.tcp_send(id(0), b"early");
    rig.until("Refused", |seen| seen.error(id(0)) == Some(EgressError::Refused));
    rig.tcp_send(id(0), b"late");
    rig.close(id(0), false);
    assert_eq!(rig.seen.of(id(0)).collect::<Vec<_>>().len(), 2, "Failed and Closed");
}

pub(crate) fn a_connection_that_hangs_can_be_closed(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    // A listener that accepts nothing, and whose queue is full, leaves a SYN unanswered.
    let listener = place::tcp_with_backlog(kind, 0);
    let target = listener.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(target).unwrap();
    for n in 0..3 {
        rig.op(EgressOp::TcpConnect { id: id(n), target, source: None });
    }
    rig.turn(Duration::from_millis(100));
    let hanging: Vec<EgressId> =
        (0..3).map(id).filter(|id| rig.seen.local(*id).is_none()).collect();
    assert!(!hanging.is_empty(), "one handshake at least has no answer");
    for id in hanging {
        let start = Instant::now();
        rig.close(id, true);
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(rig.seen.error(id), None, "closing is no failure");
    }
}

pub(crate) fn fin_goes_after_everything_that_was_queued(kind: BackendKind) {
    let mut rig = Rig::new(kind);
    let listener = place::tcp(kind);
    let target = listener.local_addr().unwrap();
    // Everything is queued before the handshake is even sent.
    rig.op(EgressOp::TcpConnect { id: id(0), target, source: None });
    let pieces: Vec<Vec<u8>> = (0..50).map(|n| pattern(60_000, n)).collect();
    for piece in &pieces {
        rig.tcp_send(id(0), piece);
    }
    rig.op(EgressOp::TcpShutdown { id: id(0) });
    let reader = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(super::PATIENCE)).unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        (peer, all)
    });
    rig.until("all sent", |seen| seen.tcp_sent(id(0)) == 50 * 60_000);
    // The last TcpSent may be delivered just before the FIN is sent.
    rig.turn(Duration::from_millis(1));
    let (mut peer, all) = reader.join().unwrap();
    assert_eq!(all, pieces.concat());
    // The other direction is still open.
    peer.write_all(b"bye").unwrap();
    credit(&mut rig, id(0), 10);
    rig.until("the answer", |seen| seen.has(id(0), &Event::Tcp(b"bye".to_vec())));
}

pub(crate) fn eof_comes_after_the_last_byte_and_sending_goes_on(kind: BackendKind) {
    let (mut rig, mut peer) = connected(kind);
    peer.write_all(&pattern(5000, 2)).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    credit(&mut rig, id(0), 4000);
    rig.turn(Duration::from_millis(50));
    assert!(!rig.seen.has(id(0), &Event::TcpEof), "1000 bytes come before it");
    credit(&mut rig, id(0), 4000);
    rig.until("EOF", |seen| seen.has(id(0), &Event::TcpEof));
    assert_eq!(received(&rig, id(0)), pattern(5000, 2));
    rig.tcp_send(id(0), b"still here");
    rig.until("sent", |seen| seen.tcp_sent(id(0)) == 10);
    let mut buffer = [0; 10];
    peer.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"still here");
    rig.turn(Duration::from_millis(20));
    let eofs = rig.seen.of(id(0)).filter(|e| **e == Event::TcpEof).count();
    assert_eq!(eofs, 1);
    rig.close(id(0), false);
}

pub(crate) fn a_reset_by_the_target_is_reported_once(kind: BackendKind) {
    let (mut rig, peer) = connected(kind);
    credit(&mut rig, id(0), 100);
    rig.turn(Duration::from_millis(10));
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    rig.until("Reset", |seen| seen.error(id(0)) == Some(EgressError::Reset));
    rig.tcp_send(id(0), b"too late");
    credit(&mut rig, id(0), 100);
    rig.op(EgressOp::TcpShutdown { id: id(0) });
    rig.turn(Duration::from_millis(20));
    rig.close(id(0), false);
    let failures = rig.seen.of(id(0)).filter(|e| matches!(e, Event::Failed(_))).count();
    assert_eq!(failures, 1);
}

pub(crate) fn closing_sends_fin_or_reset_as_asked(kind: BackendKind) {
    for reset in [false, true] {
        let (mut rig, mut peer) = connected(kind);
        // A receive is in flight while the connection is closed.
        credit(&mut rig, id(0), 100);
        rig.turn(Duration::from_millis(10));
        rig.close(id(0), reset);
        let end = peer.read(&mut [0; 10]);
        match reset {
            false => assert_eq!(end.unwrap(), 0, "FIN"),
            true => {
                assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
    }
}

pub(crate) fn a_target_that_does_not_read_holds_no_send_buffer(kind: BackendKind) {
    let config = IoConfig { send_buffers: 4, ..IoConfig::default() };
    let mut rig = Rig::with(kind, &config);
    let listener = place::tcp(kind);
    rig.open_tcp(id(0), listener.local_addr().unwrap());
    let (mut peer, _) = listener.accept().unwrap();
    let mut queued = Vec::new();
    for n in 0..200 {
        // 12 MB: far more than the sockets hold.
        let piece = pattern(60_000, n);
        rig.tcp_send(id(0), &piece);
        queued.extend_from_slice(&piece);
        rig.turn(Duration::ZERO);
    }
    assert!(rig.seen.tcp_sent(id(0)) < queued.len(), "the target is stuck");
    let all: Vec<_> =
        std::iter::from_fn(|| weir_core::port::Io::take_buffer(&mut rig.io)).collect();
    assert_eq!(all.len(), 4, "every send buffer is free");
    for buffer in all {
        weir_core::port::Io::give_back(&mut rig.io, buffer);
    }
    let reader = thread::spawn(move || {
        let mut all = vec![0; queued.len()];
        peer.read_exact(&mut all).unwrap();
        assert!(all == queued);
    });
    rig.until("the rest", |seen| seen.tcp_sent(id(0)) == 200 * 60_000);
    reader.join().unwrap();
}

pub(crate) fn closing_while_data_is_stuck_ends(kind: BackendKind) {
    for reset in [false, true] {
        let (mut rig, _peer) = connected(kind);
        credit(&mut rig, id(0), 1 << 20);
        for n in 0..200 {
            rig.tcp_send(id(0), &pattern(60_000, n));
            rig.turn(Duration::ZERO);
        }
        rig.tcp_send(id(0), b"in this turn");
        rig.close(id(0), reset);
        assert!(rig.seen.tcp_sent(id(0)) < 200 * 60_000);
    }
}
