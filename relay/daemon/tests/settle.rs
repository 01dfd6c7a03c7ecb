//! The link to the settlement sidecar, seen from its other end: records form a chain without gaps
//! over reconnects, and credit stops and releases a payer.

#[expect(dead_code, reason = "these tests need one tunnel")]
mod lab;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use lab::socks::connect;
use lab::target::tcp_echo;
use lab::{PATIENCE, Relay, wait_for};
use rustix::process::Signal;
use weir_usage::{
    ChannelId, CreditState, ExitId, Frame, FrameReader, Funding, HelloAck, RecordChain, UsageRecord,
};

const EXIT: ExitId = ExitId([0x5e; 32]);
const CHANNEL: ChannelId = ChannelId([0xc4; 32]);
const LANE: u32 = 2;

/// The sidecar's end of one connection.
struct Sidecar {
    stream: UnixStream,
    reader: FrameReader,
}

impl Sidecar {
    /// Accepts and greets; `chain` is what the journal holds so far.
    fn accept(listener: &UnixListener, chain: &mut Option<RecordChain>) -> Sidecar {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut sidecar = Sidecar { stream, reader: FrameReader::new() };
        let Frame::Hello(hello) = sidecar.next() else { panic!("the relay did not greet") };
        assert_eq!(hello.exit, EXIT);
        let chain = chain.get_or_insert_with(|| RecordChain::new(EXIT, hello.epoch));
        let (epoch, next_seq, head) = (hello.epoch, chain.next_seq(), chain.head());
        sidecar.send(&Frame::HelloAck(HelloAck { epoch, next_seq, head }));
        sidecar
    }

    fn next(&mut self) -> Frame {
        let mut chunk = [0; 4_096];
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return frame;
            }
            let n = self.stream.read(&mut chunk).expect("a frame");
            assert!(n > 0, "the relay closed the connection");
            self.reader.push(&chunk[..n]);
        }
    }

    /// The next record, checked against the chain, without an acknowledgement.
    fn record(&mut self, chain: &mut RecordChain) -> UsageRecord {
        let Frame::Record(record) = self.next() else { panic!("not a record") };
        chain.accept(&record).unwrap();
        record.check().unwrap();
        assert_eq!((record.channel, record.lane), (CHANNEL, LANE));
        *record
    }

    fn send(&mut self, frame: &Frame) {
        self.stream.write_all(&frame.encode()).unwrap();
    }

    fn credit(&mut self, used_bytes: u64, paid_bytes: u64) {
        let (channel, lane, funding) = (CHANNEL, LANE, Funding::Funded);
        self.send(&Frame::Credit(CreditState { channel, lane, used_bytes, paid_bytes, funding }));
    }
}

fn start(dir: &Path) -> (Relay, UnixListener) {
    let socket = dir.join("settle.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let hash = lab::sha256_hex("payer-token");
    let extra = format!(
        "[settle]\nsocket = \"{}\"\nexit_id = \"{EXIT}\"\nwindow = \"1 MiB\"\n\
         [[grant]]\nname = \"payer\"\ntoken_sha256 = \"{hash}\"\nchannel = \"{CHANNEL}\"\n\
         lane = {LANE}\n",
        socket.display()
    );
    (Relay::start(1, &extra), listener)
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
    let mut stream = connect(client.socks, tcp_echo("127.0.0.1")).unwrap();
    let total = 2 << 20;
    let sender = {
        let mut stream = stream.try_clone().unwrap();
        std::thread::spawn(move || stream.write_all(&vec![7; total]).unwrap())
    };

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
    let mut got = vec![0; total];
    stream.read_exact(&mut got).unwrap();
    assert!(got.iter().all(|byte| *byte == 7));
    sender.join().unwrap();
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
        stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        stream.write_all(b"anything").unwrap();
        assert!(
            stream.read(&mut [0; 8]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
        );
    }
    assert_eq!(relay.status()["totals"]["tcp"]["a"]["up"]["forwarded"]["bytes"], 0);
}
