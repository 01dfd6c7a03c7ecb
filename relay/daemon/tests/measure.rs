//! A measurer beside a real relay: what it says while that serves, when it is gone, and when the
//! measurer itself is turned away; and what a verdict takes of it.

#[expect(dead_code, reason = "these tests need one client, and that is the measurer's")]
mod lab;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use lab::target::udp_echo;
use lab::{PATIENCE, Relay, TOKEN, wait_for, wait_up_to};
use rustix::process::{Pid, Signal, kill_process};
use weir_sla::{Error, Fate, Judged, Judgement, Maintenance, Record, References};
use weir_usage::bond::{Agreement, BondDomain, CreditStep, SlaTerms};
use weir_usage::{Address, ChannelId, Digest, Sample, SignedSample, SigningKey, SlaId};

const INTERVAL_S: u32 = 3;
/// 4 Mbit/s: 550 KB in each interval.
const COMMITTED_KBPS: u64 = 4_000;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

/// A web server with a megabyte.
fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 1_024];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
            // The measurer leaves when it has seen enough.
            let _ = stream.write_all(&vec![0xAB; 1_000_000]);
        }
    });
    address
}

/// Measurer 4 alone decides; the first interval begins in a moment.
fn agreement(references: Digest) -> Agreement {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let terms = SlaTerms {
        payer: key(1).address(),
        operator: key(2).address(),
        payout: Address([9; 20]),
        token: Address([8; 20]),
        channel: ChannelId([7; 32]),
        committed_kbps: COMMITTED_KBPS,
        burst_kbps: 0,
        availability_ppm: 999_000,
        rtt_p95_us: 200_000,
        loss_ppm: 200_000,
        references,
        maintenance: Digest::ZERO,
        start: now_s + 1,
        period_s: 300,
        periods: 1,
        interval_s: INTERVAL_S,
        claim_s: 86_400,
        fee: 1_000_000,
        bond: 1_000_000,
        credits: vec![CreditStep { below_ppm: 999_000, credit_ppm: 100_000 }],
        measurers: vec![key(4).address()],
        threshold: 1,
        arbiter: Address::ZERO,
        salt: Digest::ZERO,
    };
    let domain = BondDomain { chain_id: 31_337, bond: Address([0xb0; 20]) };
    let mut agreement = Agreement::new(domain, terms).unwrap();
    agreement.sign(&key(1)).unwrap();
    agreement.sign(&key(2)).unwrap();
    agreement
}

struct Measurer {
    child: Child,
    agreement: Agreement,
    statements: PathBuf,
    log: PathBuf,
}

impl Measurer {
    /// Measurer 4 with its configuration in the relay's folder; `more` ends it.
    fn start(relay: &Relay, token: &str, more: &str) -> Measurer {
        let references =
            [format!("echo://{}", udp_echo("127.0.0.1")), format!("http://{}/", web())];
        let references = references.iter().map(|text| text.parse().unwrap()).collect();
        let references = References::new(references).unwrap();
        let agreement = agreement(references.hash());
        let write = |name: &str, text: String| {
            fs::write(relay.path(name), text).unwrap();
            relay.path(name).display().to_string()
        };
        let (statements, log) = (relay.path("statements.jsonl"), relay.path("measure.log"));
        let config = format!(
            "[exit]\nurl = \"https://127.0.0.1:{}\"\ntoken_file = \"{}\"\npin_sha256 = \"{}\"\n\
             [measure]\nagreement = \"{}\"\nreferences = \"{}\"\nkey_file = \"{}\"\n\
             statements = \"{}\"\nprobes = 30\n{more}\n",
            relay.port,
            write("token", token.to_owned()),
            relay.fingerprint,
            write("agreement.json", serde_json::to_string(&agreement).unwrap()),
            write("references.json", serde_json::to_string(&references).unwrap()),
            write("measurer.key", "04".repeat(32)),
            statements.display(),
        );
        let child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["measure", "-c", &write("measure.toml", config)])
            .stderr(fs::File::create(&log).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Measurer { child, agreement, statements, log }
    }

    /// What it has said so far.
    fn said(&self) -> Vec<SignedSample> {
        let text = fs::read_to_string(&self.statements).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn record(&self) -> Record {
        Record::new(self.agreement.clone(), key(1).address(), Maintenance::default()).unwrap()
    }
}

impl Drop for Measurer {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the measurer's log:\n{}", self.log());
        }
    }
}

#[test]
fn good_while_the_exit_serves_and_bad_when_it_is_gone() {
    let mut relay = Relay::start(1, "");
    let mut measurer = Measurer::start(&relay, TOKEN, "");
    // A host that stands still for a moment has bad intervals of its own.
    let undisturbed = |one: &SignedSample| {
        let Sample { n, loss_ppm, rtt_p95_us, tput_1s_max_kbps, .. } = one.sample;
        n >= 10 && loss_ppm == 0 && rtt_p95_us < 100_000 && tput_1s_max_kbps >= COMMITTED_KBPS
    };
    let first = wait_up_to(2 * PATIENCE, "an interval without disturbance", || {
        measurer.said().into_iter().find(undisturbed)
    });
    relay.signal(Signal::KILL);
    relay.wait_exit();
    let said = wait_for("a statement of an interval without an exit", || {
        measurer.said().iter().any(|one| one.sample.n == 0).then(|| measurer.said())
    });
    kill_process(Pid::from_child(&measurer.child), Signal::TERM).unwrap();
    assert!(measurer.child.wait().unwrap().success());

    let mut record = measurer.record();
    for statement in &said {
        assert_eq!(record.add_measured(*statement), Ok(Fate::New));
    }
    let judgement = Judgement::of(&record, 0).unwrap();
    let judged = |statement: &SignedSample| judgement.intervals[statement.sample.interval as usize];
    let last = &said[said.len() - 1];
    assert_eq!((judged(&first), judged(last)), (Judged::Good, Judged::Bad), "{said:?}");
    let Sample { n, rtt_p95_us, down_bytes, .. } = first.sample;
    assert!(n <= 30 && rtt_p95_us > 0, "{first:?}");
    // What was fetched is what was needed to see the rate, and the answers to the probes.
    let fetched = COMMITTED_KBPS * 1_100 / 8;
    assert!((fetched..2 * fetched).contains(&down_bytes), "{first:?}");
    assert_eq!((last.sample.loss_ppm, last.sample.tput_1s_max_kbps), (1_000_000, 0));

    // What others say, or what was changed on the way, isn't the measurer's word.
    let better = Sample { n: 30, loss_ppm: 0, rtt_p95_us: 1, ..last.sample };
    let forged = SignedSample { sample: better, ..*last };
    let foreign = better.sign(&measurer.agreement.domain, &key(5));
    for alien in [forged, foreign] {
        let refused = record.add_measured(alien).unwrap_err();
        assert!(matches!(refused, Error::NotAMeasurer { .. }), "{refused}");
    }
    let elsewhere = Sample { sla: SlaId::ZERO, ..better };
    let elsewhere = elsewhere.sign(&measurer.agreement.domain, &key(4));
    assert!(matches!(record.add_measured(elsewhere), Err(Error::Usage(_))));
    assert_eq!(Judgement::of(&record, 0).unwrap(), judgement);
}

#[test]
fn a_measurer_that_is_turned_away_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // A payer has no credit while no sidecar answers.
    let extra = format!(
        "[settle]\nsocket = \"{}\"\nexit_id = \"0x{}\"\n[[grant]]\nname = \"payer\"\n\
         token_sha256 = \"{}\"\nchannel = \"0x{}\"\n",
        dir.path().join("settle.sock").display(),
        "5e".repeat(32),
        lab::sha256_hex("payer-token"),
        "c4".repeat(32),
    );
    let relay = Relay::start(1, &extra);
    let measurer = Measurer::start(&relay, "payer-token", "");
    wait_for("the refusal", || {
        measurer.log().contains("nothing is said of an interval").then_some(())
    });
    assert!(measurer.log().contains("(relay: 429)"), "{}", measurer.log());
    assert_eq!(measurer.said(), []);
}

#[test]
fn mistakes_are_named_together_and_before_anything_is_said() {
    let relay = Relay::start(1, "");
    let mistakes = "burst_bytes = 1\ncontrol = [\"127.0.0.1:1\"]\nwallet = \"no\"";
    let mut unknown = Measurer::start(&relay, TOKEN, mistakes);
    assert_eq!(unknown.child.wait().unwrap().code(), Some(78));
    assert!(unknown.log().contains("wallet"), "{}", unknown.log());
    let mut wrong = Measurer::start(&relay, "not a token", "burst_bytes = 1");
    assert_eq!(wrong.child.wait().unwrap().code(), Some(78));
    for named in ["measure.burst_bytes: 1 is not between the 550000", "exit.token_file"] {
        assert!(wrong.log().contains(named), "{named}: {}", wrong.log());
    }
    let mut refused = Measurer::start(&relay, "another-token", "");
    assert_eq!(refused.child.wait().unwrap().code(), Some(78));
    assert!(refused.log().contains("token"), "{}", refused.log());
    assert_eq!(refused.said(), []);
}
