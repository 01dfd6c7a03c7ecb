//! Blind tokens through a real relay and client: what they buy, where they are billed, and that
//! none is good twice, elsewhere or at another time.

#[expect(dead_code, reason = "these tests need little of it")]
mod lab;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::SystemTime;

use lab::socks::connect;
use lab::target::tcp_echo;
use lab::{PATIENCE, Relay, http, wait_for};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{RSA_PSS_SHA384, RsaKeyPair};
use rustix::process::Signal;
use weir_blind::wallet::Entry;
use weir_blind::{Binding, Epoch, Epochs, IssuerKey, Token, Wallet, base64url_decode};
use weir_usage::{
    ChannelId, CreditState, ExitId, Frame, FrameReader, Funding, HelloAck, RecordChain, UsageRecord,
};

const EXIT: ExitId = ExitId([0x5e; 32]);
const CHANNEL: ChannelId = ChannelId([0xc4; 32]);
const LANE: u32 = 7;
const EPOCHS: Epochs = Epochs { length_s: 86_400, overlap_s: 3_600 };
const ISSUER: &str = "issuer.example";

/// The example key of RFC 9578: signing in the open makes the tokens that blinding would.
fn issuer() -> (RsaKeyPair, IssuerKey) {
    let text = include_str!("../../blind/tests/vectors/rfc9578.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let hex = |name: &str| {
        let text = vectors[name].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect::<Vec<u8>>()
    };
    let pem = String::from_utf8(hex("skS")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64url_decode(&body.replace('+', "-").replace('/', "_")).unwrap();
    (RsaKeyPair::from_pkcs8(&der).unwrap(), IssuerKey::from_spki(&hex("pkS")).unwrap())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn token(exit: [u8; 32], epoch: Epoch) -> Entry {
    let (pair, key) = issuer();
    let binding = Binding { issuer_name: ISSUER.to_owned(), exit, epochs: EPOCHS, epoch };
    let random = SystemRandom::new();
    let mut token = Token {
        nonce: [0; 32],
        challenge_digest: binding.challenge().digest().unwrap(),
        key_id: *key.id(),
        authenticator: [0; 256],
    };
    random.fill(&mut token.nonce).unwrap();
    pair.sign(&RSA_PSS_SHA384, &random, &token.input(), &mut token.authenticator).unwrap();
    // The client goes by these; the relay doesn't see them.
    Entry { start_s: 0, end_s: u64::MAX, token }
}

/// A sidecar that grants and acknowledges everything, until the relay is gone.
fn sidecar(listener: &UnixListener) -> Vec<UsageRecord> {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = FrameReader::new();
    let (mut chain, mut records) = (None, Vec::new());
    let send = |stream: &mut UnixStream, frame: &Frame| {
        let _ = stream.write_all(&frame.encode());
    };
    let mut chunk = [0; 4_096];
    loop {
        while let Some(frame) = reader.next_frame().unwrap() {
            match frame {
                Frame::Hello(hello) => {
                    let fresh = RecordChain::new(EXIT, hello.epoch);
                    let (next_seq, head) = (fresh.next_seq(), fresh.head());
                    chain = Some(fresh);
                    let ack = HelloAck { epoch: hello.epoch, next_seq, head };
                    send(&mut stream, &Frame::HelloAck(ack));
                    let (channel, lane, funding) = (CHANNEL, LANE, Funding::Funded);
                    let (used_bytes, paid_bytes) = (0, 0);
                    send(
                        &mut stream,
                        &Frame::Credit(CreditState {
                            channel,
                            lane,
                            used_bytes,
                            paid_bytes,
                            funding,
                        }),
                    );
                }
                Frame::Record(record) => {
                    let chain = chain.as_mut().unwrap();
                    chain.accept(&record).unwrap();
                    send(&mut stream, &Frame::RecordAck { next_seq: chain.next_seq() });
                    records.push(*record);
                }
                _ => {}
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return records,
            Ok(n) => reader.push(&chunk[..n]),
        }
    }
}

fn start(dir: &Path) -> (Relay, UnixListener) {
    let socket = dir.join("settle.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let extra = format!(
        "[settle]\nsocket = \"{}\"\nexit_id = \"{EXIT}\"\nwindow = \"64 MiB\"\n\
         [access.tokens]\ndir = \"{}\"\nbytes = \"1 MiB\"\n\
         [[access.tokens.issuer]]\nname = \"{ISSUER}\"\nkey = \"{}\"\nchannel = \"{CHANNEL}\"\n\
         lane = {LANE}\n",
        socket.display(),
        dir.join("spent").display(),
        issuer().1.to_base64url(),
    );
    (Relay::start(1, &extra), listener)
}

fn count(relay: &Relay, outcome: &str) -> u64 {
    let (_, page) = http(relay.admin, "GET", "/metrics").unwrap();
    let name = format!("weir_tokens_total{{outcome=\"{outcome}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

fn client(relay: &Relay, wallet: &Path) -> Result<lab::Client, String> {
    relay.client_by("127.0.0.1", 1, ["--wallet", wallet.to_str().unwrap()], "")
}

#[test]
fn tokens_carry_their_bytes_and_are_billed_to_their_issuer() {
    let dir = tempfile::tempdir().unwrap();
    let (mut relay, listener) = start(dir.path());
    let records = std::thread::spawn(move || sidecar(&listener));
    let wallet = dir.path().join("wallet");
    let epoch = EPOCHS.at(now_s());
    let entries: Vec<Entry> = (0..6).map(|_| token(EXIT.0, epoch)).collect();
    Wallet::new(&wallet).put(&entries).unwrap();

    let client = client(&relay, &wallet).unwrap_or_else(|log| panic!("{log}"));
    wait_for("the issuer's credit", || {
        let (_, page) = http(relay.admin, "GET", "/metrics")?;
        page.contains("weir_settlement_connected 1").then_some(())
    });
    let mut stream = wait_for("a tunnel", || connect(client.socks, tcp_echo("127.0.0.1")).ok());
    // 3 MiB in both directions together: three tokens at least, while the tunnel is open.
    let total = 3 << 19;
    let mut half = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || half.write_all(&vec![7; total]).unwrap());
    let mut got = vec![0; total];
    stream.read_exact(&mut got).unwrap();
    sender.join().unwrap();
    drop((stream, client));

    let accepted = count(&relay, "accepted");
    assert!((3..=5).contains(&accepted), "{accepted}");
    assert_eq!(count(&relay, "spent_before"), 0);
    assert_eq!(Wallet::new(&wallet).count(now_s()).unwrap().0 as u64, 6 - accepted);
    relay.signal(Signal::TERM);
    relay.wait_exit();
    let records = records.join().unwrap();
    let last = records.iter().find(|record| record.is_final).expect("the tunnel was reported");
    assert_eq!((last.channel, last.lane), (CHANNEL, LANE));
    assert_eq!(last.up.forwarded.bytes + last.down.forwarded.bytes, 2 * total as u64);
}

#[test]
fn no_token_is_good_twice_or_elsewhere_even_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (mut relay, _listener) = start(dir.path());
    let epoch = EPOCHS.at(now_s());
    let show = |relay: &Relay, entry: &Entry| {
        let wallet = dir.path().join("wallet");
        Wallet::new(&wallet).put(std::slice::from_ref(entry)).unwrap();
        client(relay, &wallet)
    };
    let refused = |relay: &Relay, entry: &Entry, outcome: &str| {
        let before = count(relay, outcome);
        let log = show(relay, entry).err().expect("the token is refused");
        assert!(log.contains("refused the first token"), "{log}");
        assert_eq!(count(relay, outcome), before + 1, "{outcome}");
    };
    let once = token(EXIT.0, epoch);
    let first = show(&relay, &once).unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(count(&relay, "accepted"), 1);
    refused(&relay, &once, "spent_before");
    relay.signal(Signal::KILL);
    relay.wait_exit();
    drop(first);
    relay.restart();
    refused(&relay, &once, "spent_before");
    refused(&relay, &token([0x5f; 32], epoch), "wrong_epoch");
    refused(&relay, &token(EXIT.0, Epoch(epoch.0 + 2)), "wrong_epoch");
    refused(&relay, &token(EXIT.0, Epoch(epoch.0 - 2)), "wrong_epoch");
    let mut forged = token(EXIT.0, epoch);
    forged.token.authenticator[9] ^= 1;
    refused(&relay, &forged, "invalid");
    let mut stranger = token(EXIT.0, epoch);
    stranger.token.key_id[0] ^= 1;
    refused(&relay, &stranger, "wrong_issuer");
    assert_eq!(count(&relay, "accepted"), 0);
    // A good one still is.
    let _client = show(&relay, &token(EXIT.0, epoch)).unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(count(&relay, "accepted"), 1);
}
