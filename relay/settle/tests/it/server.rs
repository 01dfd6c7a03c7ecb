//! The relay's socket, with a chain that can't be reached.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_settle::Error;
use weir_settle::config::Config;
use weir_settle::control::{self, Request};
use weir_settle::keys::Wallet;
use weir_settle::server::bind;
use weir_settle::sidecar::{self, Running};
use weir_settle::storage::{FileStorage, Storage};
use weir_usage::{AccessCount, ExitId, FlowAmount, Frame, Funding, Hello, NEWS_WITHIN, Refusal};

use crate::common::disk::{Disk, Fault};
use crate::common::relay::Relay;
use crate::common::{EXIT, Rng, channel, config, eventually, pay, stamped, usage};

pub(crate) struct Lab {
    directory: tempfile::TempDir,
    pub(crate) config: Config,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config();
        config.socket = directory.path().join("settle.sock");
        config.control = directory.path().join("control.sock");
        config.journal = directory.path().join("journal");
        Self { directory, config }
    }

    fn wallet(&self) -> Wallet {
        let path = self.directory.path().join("key");
        std::fs::write(&path, "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Wallet::load(&path, None).unwrap()
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_on(FileStorage::open(&self.config.journal).unwrap()).await
    }

    async fn start_on<S: Storage + 'static>(&self, storage: S) -> Running {
        sidecar::start(self.config.clone(), storage, self.wallet()).await.unwrap()
    }

    pub(crate) async fn relay(&self, epoch: u64) -> Relay {
        Relay::connect(&self.config.socket, epoch).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_acked_asked_for_paid_and_still_there_after_a_kill() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(7).await;
    assert_eq!(relay.hello.next_seq, 0);
    relay.report(usage(channel(), 0, 1, 1000, 500)).await;
    let ask = relay.ask(channel(), 0, 1500).await;
    let Frame::VoucherAck(ack) = relay.offer(pay(&ask)).await else { panic!("refused") };
    assert_eq!((ack.seq, ack.amount, ack.up_bytes, ack.down_bytes), (1, 1500, 1000, 500));
    let credit = relay.until(|f| matches!(f, Frame::Credit(c) if c.paid_bytes == 1500)).await;
    let Frame::Credit(credit) = credit else { unreachable!() };
    assert_eq!((credit.used_bytes, credit.funding), (1500, Funding::Unknown));
    running.kill().await;

    let running = lab.start().await;
    let mut relay = lab.relay(7).await;
    assert_eq!(relay.hello.next_seq, 1, "the stream goes on");
    let ask = relay.ask(channel(), 0, 1500).await;
    assert_eq!(ask.seq, 2);
    assert_eq!(ask.last, Some(pay(&weir_usage::Ask { seq: 1, ..ask }).signed), "to be adopted");
    // The relay sends everything again that it isn't sure about.
    let mut again = weir_usage::RecordChain::new(EXIT, 7);
    let first = stamped(&mut again, 0, 1, 1000, 500);
    relay.send(&Frame::Record(Box::new(first))).await;
    relay.until(|f| matches!(f, Frame::RecordAck { next_seq: 1 })).await;
    relay.report(usage(channel(), 0, 1, 2000, 500)).await;
    relay.ask(channel(), 0, 2500).await;
    running.stop().await.unwrap();
    assert!(!lab.config.socket.exists(), "a clean stop leaves no socket behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_given_up_connection_still_holds_does_not_take_the_place_of_later_records() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut old = lab.relay(1).await;
    // The relay lost patience (a slow disk) and connected again; this record was on its way.
    let mut new = lab.relay(1).await;
    let late = stamped(&mut old.chain, 0, 1, 100, 0);
    old.send(&Frame::Record(Box::new(late))).await;
    while old.try_next().await.is_some() {}
    // The tunnel's last values under the same number: an ack makes the relay forget them.
    let last = weir_usage::UsageRecord { is_final: true, ..usage(channel(), 0, 1, 150, 0) };
    new.report(last).await;
    let view = running.sidecar.clerk.view().await.unwrap();
    let key = weir_settle::book::LaneKey { channel: channel(), lane: 0 };
    assert_eq!(view.lanes[&key].up_bytes, 150);
    assert_eq!(view.counters.duplicates, 0);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_kernel_saw_come_from_clients_is_not_asked_for_and_a_restart_forgets_nothing() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(7).await;
    let count = |payload_bytes| {
        let up = FlowAmount { payload_bytes, ..FlowAmount::default() };
        Frame::Access(AccessCount { up, ..AccessCount::default() })
    };
    let tunnel = 7 << 64 | 1;
    relay.report(usage(channel(), 0, tunnel, 1000, 500)).await;
    relay.send(&count(1_200)).await;
    let ask = relay.ask(channel(), 0, 1500).await;
    assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    // The relay sends its reading with the records that it is about.
    let mut forged = usage(channel(), 0, tunnel, 5000, 500);
    relay.chain.stamp(&mut forged);
    let both = [Frame::Record(Box::new(forged)).encode(), count(1_300).encode()].concat();
    relay.send_bytes(&both).await.unwrap();
    relay.acked().await;
    let held = |status: &serde_json::Value| status["lanes"][0]["held_back"].clone();
    let status = eventually("the lane is held back", Duration::from_secs(20), async || {
        let status = control::ask(&lab.config.control, &Request::Status).await.unwrap();
        held(&status).is_string().then_some(status)
    })
    .await;
    let id = format!("{tunnel:032x}").replace("0000000000000001", "ffffffffffffffff");
    assert_eq!(
        held(&status),
        format!(
            "relay process 0000000000000007 ({id}): it bills 3700 bytes that the kernel never saw \
             come from clients"
        )
    );
    assert_eq!(status["access"]["0000000000000007"]["billed_up"], 5000);
    assert_eq!(status["lanes"][0]["asked"], "1500", "what was signed for: {status}");
    let troubles = status["troubles"].as_array().unwrap();
    assert!(troubles.iter().any(|trouble| trouble["name"] == "held_back"), "{status}");
    running.kill().await;

    let running = lab.start().await;
    let status = control::ask(&lab.config.control, &Request::Status).await.unwrap();
    assert!(held(&status).is_string(), "{status}");
    let note = weir_settle::journal::entry::Note::Waived { tunnel: id, reason: "seen".into() };
    control::ask(&lab.config.control, &Request::Note(note)).await.unwrap();
    lab.relay(7).await.ask(channel(), 0, 5500).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_voucher_says_why_and_the_same_one_again_is_acked_again() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 0)).await;
    let ask = relay.ask(channel(), 0, 1000).await;
    let beyond = pay(&weir_usage::Ask { up_bytes: 1001, ..ask });
    let Frame::VoucherRefused(no) = relay.offer(beyond).await else { panic!("accepted") };
    assert_eq!((no.query, no.refusal), (beyond.query, Refusal::BeyondAsk));
    for _ in 0..3 {
        assert!(matches!(relay.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    }
    let view = running.sidecar.clerk.view().await.unwrap();
    assert_eq!((view.vouchers_accepted, view.vouchers_refused["beyond_ask"]), (1, 1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_share_an_fsync() {
    let lab = Lab::new();
    let disk = Disk::new(1);
    let running = lab.start_on(disk.clone()).await;
    let mut relay = lab.relay(1).await;
    let before = disk.steps();
    let mut bytes = Vec::new();
    for i in 0..2000u64 {
        let record = stamped(&mut relay.chain, 0, (i % 50).into(), i, i);
        Frame::Record(Box::new(record)).encode_into(&mut bytes);
    }
    let (mut reader, chain_end) = (relay, 2000);
    reader.send_bytes(&bytes).await.unwrap();
    reader.acked().await;
    let steps = disk.steps() - before;
    assert!(steps < 1000, "{steps} writes and syncs for {chain_end} records");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_nothing_is_acked_and_then_everything_is() {
    let lab = Lab::new();
    let disk = Disk::new(1);
    let running = lab.start_on(disk.clone()).await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 0)).await;
    let ask = relay.ask(channel(), 0, 1000).await;
    disk.plan(1, Fault::Fail);
    let Frame::VoucherRefused(no) = relay.offer(pay(&ask)).await else { panic!("acked unsynced") };
    assert_eq!(no.refusal, Refusal::Storage);
    let answer = eventually("the disk has space again", Duration::from_secs(10), async || {
        match relay.offer(pay(&ask)).await {
            Frame::VoucherAck(ack) => Some(ack),
            _ => None,
        }
    });
    assert_eq!(answer.await.amount, 1000);
    relay.report(usage(channel(), 0, 1, 2000, 0)).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_relay_would_send_ends_the_connection_and_nothing_else() {
    let lab = Lab::new();
    let running = lab.start().await;
    let path = &lab.config.socket;
    let mut good = lab.relay(1).await;

    let hello = |exit, epoch| Frame::Hello(Hello { exit, epoch }).encode();
    let ack = Frame::RecordAck { next_seq: 1 }.encode();
    let mut foreign = usage(channel(), 0, 1, 1, 1);
    weir_usage::RecordChain::new(EXIT, 99).stamp(&mut foreign);
    let mut gap = usage(channel(), 0, 1, 1, 1);
    let mut chain = weir_usage::RecordChain::new(EXIT, 2);
    chain.stamp(&mut gap.clone());
    chain.stamp(&mut gap);
    let cases: Vec<Vec<u8>> = vec![
        ack.clone(),
        hello(ExitId([1; 32]), 1),
        [hello(EXIT, 2), ack].concat(),
        [hello(EXIT, 2), hello(EXIT, 2)].concat(),
        [hello(EXIT, 2), Frame::Record(Box::new(foreign)).encode()].concat(),
        [hello(EXIT, 2), Frame::Record(Box::new(gap)).encode()].concat(),
        vec![0xff; 64],
        vec![0, 0, 0, 2, 9, 9],
        vec![0, 0, 0, 2, 1, 200],
    ];
    let count = cases.len() as u64;
    for case in cases {
        assert!(hung_up(path, &case).await, "{:02x?}", &case[..case.len().min(80)]);
    }
    let mut rng = Rng(1);
    for _ in 0..200 {
        let mut noise = hello(EXIT, 3);
        noise.extend((0..rng.below(200)).map(|_| rng.next() as u8));
        noise.extend([0xff; 8]);
        assert!(hung_up(path, &noise).await);
    }
    good.report(usage(channel(), 0, 5, 10, 10)).await;
    let cut = running.sidecar.server.misbehaved.load(std::sync::atomic::Ordering::Relaxed);
    assert!(cut >= count, "{cut} of {count} counted");
    running.stop().await.unwrap();
}

/// Sends bytes to a fresh connection; true once the sidecar closed it.
async fn hung_up(path: &Path, bytes: &[u8]) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    // It may hang up before it has read everything.
    drop(stream.write_all(bytes).await);
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(5), read).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_at_once_and_the_asks_reach_both() {
    let lab = Lab::new();
    let running = lab.start().await;
    let (mut one, mut two) = (lab.relay(1).await, lab.relay(2).await);
    one.report(usage(channel(), 0, 1, 100, 0)).await;
    two.report(usage(channel(), 0, 2, 50, 0)).await;
    one.ask(channel(), 0, 150).await;
    let ask = two.ask(channel(), 0, 150).await;
    assert!(matches!(one.offer(pay(&ask)).await, Frame::VoucherAck(_)));
    two.until(|f| matches!(f, Frame::Credit(c) if c.paid_bytes == 150)).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn sockets_are_private_and_a_dead_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    let listener = bind(&path, 0o660).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    assert!(matches!(bind(&path, 0o600), Err(Error::SocketInUse { .. })));
    drop(listener);
    assert!(path.exists(), "as kill -9 leaves it");
    drop(bind(&path, 0o600).unwrap());
    let other = directory.path().join("file");
    std::fs::write(&other, "precious").unwrap();
    assert!(matches!(bind(&other, 0o600), Err(Error::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_metrics_and_decisions_while_the_chain_is_away() {
    let lab = Lab::new();
    let mut with_admin = lab.config.clone();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    with_admin.admin = Some(port);
    let lab = Lab { config: with_admin, ..lab };
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    relay.report(usage(channel(), 0, 1, 1000, 500)).await;
    relay.ask(channel(), 0, 1500).await;

    let status = eventually("an error of the chain", Duration::from_secs(20), async || {
        let status = control::ask(&lab.config.control, &Request::Status).await.unwrap();
        status["chain"]["error"].is_string().then_some(status)
    })
    .await;
    assert_eq!(status["chain"]["reachable"], false);
    assert_eq!(status["exposure"], "1500");
    assert_eq!(status["lanes"][0]["funding"], "unknown");

    let metrics = http_get(port, "/metrics").await;
    for line in [
        "weir_settle_exposure_units 1500",
        "weir_settle_chain_reachable 0",
        "weir_settle_records_total{fate=\"journaled\"} 1",
        "weir_settle_relays 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(http_get(port, "/healthz").await.contains("200 OK"));
    assert!(http_get(port, "/nothing").await.contains("404"));

    let note = weir_settle::journal::entry::Note::WrittenOff {
        channel: channel(),
        lane: 0,
        amount: 1500,
        reason: "gone".into(),
    };
    control::ask(&lab.config.control, &Request::Note(note)).await.unwrap();
    let exposure = eventually("no exposure", Duration::from_secs(5), async || {
        let status = control::ask(&lab.config.control, &Request::Status).await.unwrap();
        (status["exposure"] == "0").then_some(())
    });
    exposure.await;
    running.stop().await.unwrap();
}

pub(crate) async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What the relay hears next of its records: how far the acks go and how far the news go.
async fn heard(relay: &mut Relay) -> (u64, u64) {
    let mut used_bytes = 0;
    loop {
        match relay.try_next().await.expect("the sidecar hung up") {
            Frame::Credit(credit) => used_bytes = credit.used_bytes.max(used_bytes),
            Frame::RecordAck { next_seq } => return (next_seq, used_bytes),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ack_is_said_again_only_after_news_that_include_its_records() {
    let lab = Lab::new();
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    assert_eq!(heard(&mut relay).await, (0, 0), "news from before the greeting");
    for round in 1..=5 {
        let record = stamped(&mut relay.chain, 0, 1, 100 * round, 0);
        relay.send(&Frame::Record(Box::new(record))).await;
        let first = heard(&mut relay).await;
        assert_eq!(first, (round, 0), "the ack, ahead of the news");
        assert_eq!(heard(&mut relay).await, (round, 100 * round), "and the news it stands for");
    }
    running.kill().await;
    let running = lab.start().await;
    let mut relay = lab.relay(1).await;
    let mut last = heard(&mut relay).await;
    assert_eq!(last.1, 500, "the first news are of the whole journal");
    while last.0 < 5 {
        last = heard(&mut relay).await;
    }
    running.stop().await.unwrap();
}

/// A disk whose sync takes as long as the gate is held.
struct Stalling {
    disk: FileStorage,
    gate: Arc<Mutex<()>>,
}

impl Storage for Stalling {
    fn len(&self) -> std::io::Result<u64> {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.disk.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.disk.write_at(offset, bytes)
    }

    fn truncate(&mut self, len: u64) -> std::io::Result<()> {
        self.disk.truncate(len)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        drop(self.gate.lock().unwrap());
        self.disk.sync()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "the journal's thread waits for it, no task does")]
async fn a_journal_that_stalls_between_ack_and_news_does_not_say_that_the_news_are_out() {
    let mut lab = Lab::new();
    lab.config.ask_interval = NEWS_WITHIN / 2;
    let gate = Arc::new(Mutex::new(()));
    let disk = FileStorage::open(&lab.config.journal).unwrap();
    let running = lab.start_on(Stalling { disk, gate: Arc::clone(&gate) }).await;
    let mut relay = lab.relay(1).await;
    let mut total = 0;
    let mut record = |relay: &mut Relay| {
        total += 100;
        Frame::Record(Box::new(stamped(&mut relay.chain, 0, 1, total, 0)))
    };
    let first = record(&mut relay);
    relay.send(&first).await;
    while heard(&mut relay).await != (1, 100) {}
    // The news have just been said, so the next are an interval away.
    let second = record(&mut relay);
    relay.send(&second).await;
    assert_eq!(heard(&mut relay).await, (2, 0), "the ack");
    let held = gate.lock().unwrap();
    let third = record(&mut relay);
    relay.send(&third).await;
    let more = tokio::time::timeout(NEWS_WITHIN + NEWS_WITHIN / 2, heard(&mut relay)).await;
    assert!(more.is_err(), "longer than news may take, none come, and none are claimed: {more:?}");
    drop(held);
    assert_eq!(heard(&mut relay).await, (3, 0), "the ack");
    assert_eq!(heard(&mut relay).await, (3, 300), "and the news it stands for");
    running.stop().await.unwrap();
}
