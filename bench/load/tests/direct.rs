//! The generator against targets that are reached without a relay: a good one, and a bad one.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use support::{Process, Target, run};
use weir_load::spec::{Pace, Payload, Udp, Way, Work};

fn echo(target: SocketAddr, payload: Payload, pace: Pace, batch: bool) -> Work {
    Work::Udp(Udp { target, targets: 1, tunnels: 3, payload, pace, batch })
}

#[test]
fn everything_comes_back_from_an_echo() {
    let target = Target::start();
    for (payload, pace, batch) in [
        (Payload::Bytes(1200), Pace::Window(64), true),
        (Payload::Bytes(64), Pace::Window(64), false),
        (Payload::Imix, Pace::Window(64), true),
    ] {
        let report = run(Way::Direct, echo(target.udp, payload, pace, batch)).unwrap();
        assert!(report.units > 0 && report.units.is_multiple_of(2), "{report:?}");
        assert_eq!((report.lost, report.corrupt), (0, 0), "{report:?}");
        let latency = report.latency.unwrap();
        assert_eq!(latency.count, report.units / 2);
        assert!(latency.p50 > 0.0 && latency.p50 <= latency.p99, "{latency:?}");
        assert!((0.4..5.0).contains(&report.seconds), "{}", report.seconds);
    }
    target.process.end();
}

#[test]
fn an_open_loop_sends_at_its_rate() {
    let target = Target::start();
    let work = echo(target.udp, Payload::Bytes(200), Pace::PerSecond(1000.0), true);
    let report = run(Way::Direct, work).unwrap();
    // What was due shortly before the end may still be under way.
    let expected = 1000.0 * report.seconds;
    let answered = report.units as f64 / 2.0 + report.lost as f64;
    assert!((answered - expected).abs() <= expected / 4.0, "{answered} of {expected}");
    target.process.end();
}

#[test]
fn a_bad_target_is_found_out() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        for number in 0u32.. {
            let Ok((len, peer)) = socket.recv_from(&mut buffer) else { return };
            match number % 8 {
                0 => continue,
                1 => buffer[len - 1] ^= 1,
                2 => drop(socket.send_to(&buffer[..len], peer)),
                _ => {}
            }
            let _ = socket.send_to(&buffer[..len], peer);
        }
    });
    let work = echo(address, Payload::Bytes(300), Pace::Window(32), true);
    let report = run(Way::Direct, work).unwrap();
    // Lost ones and corrupt ones hold their place in the window for 200 ms, no longer.
    assert!(report.lost > 0 && report.corrupt > 0, "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("came twice")), "{report:?}");
}

#[test]
fn tcp_flows_both_ways_and_requests_are_answered() {
    let target = Target::start();
    let tcp = target.tcp;
    for work in [
        Work::TcpDownload { target: tcp, streams: 2 },
        Work::TcpUpload { target: tcp, streams: 2 },
        Work::TcpSmall { target: tcp, concurrency: 4, request: 1024, response: 3000 },
    ] {
        let report = run(Way::Direct, work).unwrap();
        assert!(report.units > 0, "{report:?}");
        assert_eq!((report.lost, report.corrupt), (0, 0), "{report:?}");
    }
    target.process.end();
}

#[test]
fn idle_tunnels_are_held_until_stop() {
    let target = Target::start();
    let work = Work::Idle { target: target.udp, connections: 2, tunnels_per_connection: 5 };
    let report = run(Way::Direct, work).unwrap();
    assert_eq!((report.units, report.lost), (10, 0), "{report:?}");
    target.process.end();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let small = echo(nowhere, Payload::Bytes(8), Pace::Window(1), true);
    assert!(run(Way::Direct, small).unwrap_err().contains("at least 16 bytes"));
    let handshakes = Work::Handshakes { resumed: false, concurrency: 1 };
    assert!(run(Way::Direct, handshakes).unwrap_err().contains("MASQUE"));
    let mut process = Process::start(&["run"]);
    process.say("no json");
    assert!(process.hear().contains("no spec"));
    process.end();
}
