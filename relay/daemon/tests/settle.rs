//! The link to the settlement sidecar, seen from its other end: records form a chain without gaps
//! over reconnects, and credit stops and releases a payer, whatever dies.

#[expect(dead_code, reason = "these tests need one tunnel")]
mod lab;
mod sidecar;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::socks::connect;
use lab::target::{sink_and_source, tcp_echo};
use lab::{PATIENCE, Relay, wait_for};
use rustix::process::Signal;
use sidecar::{CHANNEL, EXIT, LANE, Sidecar};
use weir_usage::{CreditState, Frame, Funding, RecordChain, UsageRecord};

impl Sidecar {
    /// The next record, checked against the chain, without an acknowledgement.
    fn record(&mut self, chain: &mut RecordChain) -> UsageRecord {
        let Frame::Record(record) = self.next() else { panic!("not a record") };
        chain.accept(&record).unwrap();
        record.check().unwrap();
        assert_eq!((record.channel, record.lane), (CHANNEL, LANE));
        *record
    }
}

fn start(dir: &Path) -> (Relay, UnixListener) {
    start_with(dir, 1)
}

fn start_with(dir: &Path, workers: u16) -> (Relay, UnixListener) {
    start_credit(dir, workers, "overdraft_percent = 0")
}

fn start_credit(dir: &Path, workers: u16, credit: &str) -> (Relay, UnixListener) {
    let socket = dir.join("settle.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let hash = lab::sha256_hex("payer-token");
    let extra = format!(
        "[settle]\nsocket = \"{}\"\nexit_id = \"{EXIT}\"\nwindow = \"1 MiB\"\ngrace_s = 1\n\
         {credit}\n[[grant]]\nname = \"payer\"\ntoken_sha256 = \"{hash}\"\nchannel = \"{CHANNEL}\"\n\
         lane = {LANE}\n",
        socket.display()
    );
    (Relay::start(workers, &extra), listener)
}

#[test]
fn credit_stops_and_releases_and_the_chain_has_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (relay, listener) = start(dir.path());
    let mut chain = None;
    let mut sidecar = Sidecar::accept(&listener, &mut chain);
    let mut chain = chain.unwrap();
    sidecar.credit(0, 0);
    let client = relay.client_at("127.0.0.1", 1, "payer-token").unwrap();
    let stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    let total = 2 << 20;
    let echo = send_and_read(&stream, total);

    // The window is 1 MiB; the payer stops close behind it, whatever it sends.
    let grant = |status: &serde_json::Value| status["grants"][1].clone();
    let stopped = wait_for("the payer to be stopped", || {
        let found = grant(&relay.status());
        (found["exhausted"] == true).then_some(found)
    });
    assert_eq!(stopped["limit_bytes"], 1 << 20, "{stopped}");

    // A connection that breaks before the acknowledgement: the next one goes on where the
    // journal ends.
    let first = sidecar.record(&mut chain);
    drop(sidecar);
    let mut sidecar = Sidecar::accept(&listener, &mut Some(chain));
    let used = first.up.forwarded.bytes + first.down.forwarded.bytes;
    sidecar.send(&Frame::RecordAck { next_seq: chain.next_seq() });
    sidecar.credit(used, 64 << 20);
    assert!(echo.join().unwrap().iter().all(|byte| *byte == 7));
    drop(stream);

    let last = loop {
        let record = sidecar.record(&mut chain);
        if record.is_final {
            break record;
        }
    };
    assert_eq!(last.up.forwarded.bytes, total as u64);
    assert_eq!(last.down.forwarded.bytes, total as u64);
    assert_eq!(relay.status()["export"]["tunnels_waiting"], 0);
    assert_eq!(relay.status()["export"]["records_in_flight"].as_u64().map(|n| n > 0), Some(true));
    sidecar.send(&Frame::RecordAck { next_seq: chain.next_seq() });
    wait_for("the acknowledgement to be noted", || {
        (relay.status()["export"]["records_in_flight"] == 0).then_some(())
    });
}

#[test]
fn a_grant_that_a_reload_brings_gets_the_credit_that_was_announced_before() {
    let dir = tempfile::tempdir().unwrap();
    let (relay, listener) = start(dir.path());
    let mut sidecar = Sidecar::accept(&listener, &mut None);
    let (channel, funding) = (CHANNEL, Funding::Funded);
    let state = CreditState { channel, lane: 9, used_bytes: 0, paid_bytes: 0, funding };
    sidecar.send(&Frame::Credit(state));
    sidecar.credit(0, 0);
    let has_credit = |grant: usize| {
        let status = relay.status();
        (status["grants"][grant]["limit_bytes"] == 1 << 20).then_some(())
    };
    wait_for("both frames to be read", || has_credit(1));
    let file = relay.path("relay.toml");
    let more = format!(
        "{}\n[[grant]]\nname = \"late\"\ntoken_sha256 = \"{}\"\nchannel = \"{CHANNEL}\"\nlane = 9\n",
        std::fs::read_to_string(&file).unwrap(),
        lab::sha256_hex("late-token"),
    );
    std::fs::write(&file, more).unwrap();
    relay.signal(Signal::HUP);
    // The sidecar has no news, so it says nothing.
    wait_for("the credit of the new grant", || has_credit(2));
}

#[test]
fn what_is_carried_for_nothing_is_counted_while_no_sidecar_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (relay, listener) = start(dir.path());
    drop(listener);
    let client = relay.client(1);
    let mut stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    stream.write_all(b"counted").unwrap();
    stream.read_exact(&mut [0; 7]).unwrap();
    wait_for("the totals to go on", || {
        (relay.status()["totals"]["tcp"]["a"]["up"]["forwarded"]["bytes"] == 7).then_some(())
    });
}

#[test]
fn a_payer_gets_nothing_while_no_sidecar_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (relay, _listener) = start(dir.path());
    assert_eq!(relay.status()["grants"][1]["limit_bytes"], 0);
    let client = relay.client_at("127.0.0.1", 1, "payer-token").unwrap();
    if let Ok(mut stream) = connect(client.socks, tcp_echo("127.0.0.1")) {
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        stream.write_all(b"anything").unwrap();
        assert!(
            stream.read(&mut [0; 8]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
        );
    }
    assert_eq!(relay.status()["totals"]["tcp"]["a"]["up"]["forwarded"]["bytes"], 0);
}

const WINDOW: u64 = 1 << 20;

/// Of the grant that is paid for.
fn payer(relay: &Relay, field: &str) -> u64 {
    relay.status()["grants"][1][field].as_u64().unwrap()
}

/// Sends so many bytes to an echo, and reads them meanwhile: one that nobody reads stops as soon as
/// the buffers on the way are full.
fn send_and_read(stream: &TcpStream, total: usize) -> JoinHandle<Vec<u8>> {
    let (mut up, mut down) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
    std::thread::spawn(move || up.write_all(&vec![7; total]).unwrap());
    std::thread::spawn(move || {
        // It is stopped meanwhile.
        down.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let mut got = vec![0; total];
        down.read_exact(&mut got).unwrap();
        got
    })
}

fn holds(what: &str, time: Duration, check: impl Fn() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(check(), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_payer_that_never_signs_gets_one_window_over_all_lives_of_a_killed_relay() {
    let dir = tempfile::tempdir().unwrap();
    let (mut relay, listener) = start(dir.path());
    let mut sidecar = Sidecar::accept(&listener, &mut None);
    sidecar.credit(0, 0);
    let client = relay.client_at("127.0.0.1", 1, "payer-token").unwrap();
    // Nothing comes back: a socket that is closed with something to be read resets the tunnel.
    let mut stream = connect(client.socks, sink_and_source("127.0.0.1", 0)).unwrap();
    let sender = std::thread::spawn(move || stream.write_all(&vec![7; 8 << 20]).is_ok());
    wait_for("the payer to be stopped", || (payer(&relay, "used_bytes") >= WINDOW).then_some(()));
    // Nothing of it ever reaches the journal, in none of these lives.
    for _ in 0..3 {
        relay.signal(Signal::KILL);
        relay.wait_exit();
        drop(sidecar);
        relay.restart();
        sidecar = Sidecar::accept(&listener, &mut None);
        sidecar.credit(0, 0);
        holds("no new window", Duration::from_millis(500), || payer(&relay, "limit_bytes") == 0);
    }
    // The sidecar counts it: acknowledged first, then said.
    drop(sidecar);
    let mut chain = None;
    let mut sidecar = Sidecar::accept(&listener, &mut chain);
    let mut chain = chain.unwrap();
    sidecar.credit(0, 0);
    let record = sidecar.record(&mut chain);
    let used = record.up.forwarded.bytes + record.down.forwarded.bytes;
    assert!(used >= WINDOW && record.is_final, "{record:?}");
    sidecar.send(&Frame::RecordAck { next_seq: chain.next_seq() });
    holds("the news are to come", Duration::from_millis(500), || payer(&relay, "limit_bytes") == 0);
    sidecar.credit(used, 0);
    holds("all is used", Duration::from_millis(2_500), || payer(&relay, "limit_bytes") == 0);
    sidecar.credit(used, used);
    wait_for("what was signed to open the window", || {
        (payer(&relay, "limit_bytes") == WINDOW).then_some(())
    });
    assert_eq!(payer(&relay, "used_bytes"), 0, "nothing but the first life served");
    drop(client);
    sender.join().unwrap();
}

#[test]
fn many_short_sessions_share_one_window() {
    const SESSIONS: usize = 10;
    const CARRIED: usize = 16 << 10;
    let dir = tempfile::tempdir().unwrap();
    let (relay, listener) = start_with(dir.path(), 2);
    let mut sidecar = Sidecar::accept(&listener, &mut None);
    sidecar.credit(0, 0);
    wait_for("the credit", || (payer(&relay, "limit_bytes") == WINDOW).then_some(()));
    let target = tcp_echo("127.0.0.1");
    let session = || {
        // Once the window is used up, a tunnel is refused or pauses.
        let Ok(client) = relay.client_at("127.0.0.1", 1, "payer-token") else { return };
        for _ in 0..10 {
            let Ok(mut stream) = connect(client.socks, target) else { return };
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let sent = stream.write_all(&[7; CARRIED]);
            if sent.and_then(|()| stream.read_exact(&mut [0; CARRIED])).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(session);
        }
    });
    // Each session has one tunnel at a time, and no tunnel carries more than this.
    let over = (SESSIONS * 2 * CARRIED) as u64;
    let used = payer(&relay, "used_bytes");
    assert!((WINDOW..=WINDOW + over).contains(&used), "{used}");
}

#[test]
fn a_payer_that_does_not_sign_is_slowed_down_then_stopped_and_let_go_by_a_voucher() {
    let dir = tempfile::tempdir().unwrap();
    // 256 KiB at 128 KiB per second.
    let (relay, listener) = start_credit(dir.path(), 2, "throttle_kbps = 1048");
    let mut sidecar = Sidecar::accept(&listener, &mut None);
    sidecar.credit(0, 0);
    let client = relay.client_at("127.0.0.1", 1, "payer-token").unwrap();
    let stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    let total = 2 << 20;
    let echo = send_and_read(&stream, total);
    let stands = |word: &str| relay.status()["grants"][1]["standing"] == word;
    wait_for("the payer to be slowed down", || stands("throttled").then_some(()));
    let slow_since = Instant::now();
    let text = lab::http(relay.admin, "GET", "/metrics").unwrap().1;
    assert!(text.contains("weir_credit_sessions{standing=\"throttled\"} 1"), "{text}");
    wait_for("the payer to be stopped", || stands("stopped").then_some(()));
    let slow = slow_since.elapsed();
    // 2 s, of which a busy host may see less.
    assert!(slow > Duration::from_secs(1), "{slow:?} at 128 KiB per second");
    let (limit, used) = (payer(&relay, "limit_bytes"), payer(&relay, "used_bytes"));
    assert_eq!(limit, WINDOW + WINDOW / 100 * 25);
    assert!((limit..limit + (64 << 10)).contains(&used), "{used}");

    sidecar.credit(used, 64 << 20);
    let paid = Instant::now();
    echo.join().unwrap();
    // At the slow rate it would be 22 s.
    assert!(paid.elapsed() < Duration::from_secs(10), "{:?} at full speed", paid.elapsed());
    let text = lab::http(relay.admin, "GET", "/metrics").unwrap().1;
    for line in ["open\"} 1", "throttled\"} 1", "stopped\"} 1"] {
        assert!(text.contains(&format!("weir_credit_turns_total{{standing=\"{line}")), "{text}");
    }
}

#[test]
fn a_hundred_reconnects_share_one_window() {
    const CARRIED: usize = 16 << 10;
    let dir = tempfile::tempdir().unwrap();
    let (relay, listener) = start_with(dir.path(), 2);
    let mut sidecar = Sidecar::accept(&listener, &mut None);
    sidecar.credit(0, 0);
    wait_for("the credit", || (payer(&relay, "limit_bytes") == WINDOW).then_some(()));
    let target = tcp_echo("127.0.0.1");
    let whole = WINDOW as usize / (2 * CARRIED);
    let mut served = 0;
    for round in 0..100 {
        let client = relay.client_at("127.0.0.1", 1, "payer-token").unwrap();
        // However slow this host is, the window is served; what is beyond it may just hang.
        let patience = if round < whole { PATIENCE } else { Duration::from_millis(200) };
        let Ok(mut stream) = connect(client.socks, target) else { continue };
        stream.set_read_timeout(Some(patience)).unwrap();
        let sent = stream.write_all(&[7; CARRIED]);
        served += usize::from(sent.and_then(|()| stream.read_exact(&mut [0; CARRIED])).is_ok());
    }
    assert_eq!(served, whole);
    let used = payer(&relay, "used_bytes");
    assert!((WINDOW..=WINDOW + 2 * CARRIED as u64).contains(&used), "{used}");
}

#[test]
fn credit_ends_with_the_time_of_grace_and_comes_back_with_the_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let (relay, listener) = start(dir.path());
    let mut sidecar = Sidecar::accept(&listener, &mut None);
    sidecar.credit(0, 0);
    let client = relay.client_at("127.0.0.1", 1, "payer-token").unwrap();
    let mut stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut echo = || {
        let sent = stream.write_all(b"12345678");
        sent.and_then(|()| stream.read_exact(&mut [0; 8])).is_ok()
    };
    assert!(echo());
    std::fs::remove_file(dir.path().join("settle.sock")).unwrap();
    drop((sidecar, listener));
    assert!(echo(), "service goes on in the time of grace");
    wait_for("the time of grace to end", || (payer(&relay, "limit_bytes") == 0).then_some(()));
    assert!(!echo(), "served beyond the time of grace");
    let listener = UnixListener::bind(dir.path().join("settle.sock")).unwrap();
    let mut sidecar = Sidecar::accept(&listener, &mut None);
    // What waited may come at once; the credit is what was there before.
    sidecar.credit(16, 0);
    wait_for("service to resume", || echo().then_some(()));
}
