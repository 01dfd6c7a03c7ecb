//! What the sidecar does without a command: days of samples, challenges, statements. On a real
//! node, with the process dying at every step of the journal.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::U256;
use serde_json::{Value, json};
use weir_settle::chain::challenge::{Challenges, IChallenges};
use weir_settle::chain::contracts::address;
use weir_settle::chain::vouch;
use weir_settle::config::Config;
use weir_settle::evidence::Statements;
use weir_settle::health::troubles;
use weir_settle::journal::entry::{Entry, Item};
use weir_settle::journal::{Header, Journal, scan};
use weir_settle::sidecar::{self, Running};
use weir_settle::storage::{FileStorage, ReadOnly, Storage};
use weir_sla::calendar::{DAY_S, date};
use weir_sla::{Maintenance, Record, daily};
use weir_usage::bond::{Agreement, BondDomain, EpochStatement, Statement};
use weir_usage::merkle::Anchor;
use weir_usage::{Address, ChannelId, CoSigned, Digest};

use crate::bond::weir_settle;
use crate::chain::{LONG, settle_now, start, use_and_pay};
use crate::common::anvil::{Anvil, Contracts, PAYER_KEY};
use crate::common::service::{self, key, key_file, sample};
use crate::common::{EXIT, eventually, payer};

/// 100 gwei: beside it tips are nothing, so a challenge's fee covers its answer.
const DEAR: [&str; 2] = ["--block-base-fee-per-gas", "100000000000"];

/// Statements and nothing else.
pub(crate) const BOND: &str =
    "sample_days = false\nbond = \"0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0\"\n";

/// A journal on a disk that is gone after so many steps: as after kill -9, what was written stays.
#[derive(Debug)]
pub(crate) struct Dying {
    storage: FileStorage,
    left: Arc<AtomicU64>,
    dead: Arc<AtomicBool>,
}

impl Dying {
    pub(crate) fn open(path: &Path, steps: u64) -> (Self, Arc<AtomicBool>) {
        let dead = Arc::new(AtomicBool::new(false));
        let (storage, left) = (FileStorage::open(path).unwrap(), Arc::new(AtomicU64::new(steps)));
        (Self { storage, left, dead: Arc::clone(&dead) }, dead)
    }

    fn step(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_err() {
            self.dead.store(true, Ordering::SeqCst);
            return Err(io::Error::other("dead"));
        }
        Ok(())
    }
}

impl Storage for Dying {
    fn len(&self) -> io::Result<u64> {
        self.storage.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.storage.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        self.storage.write_at(offset, bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.step()?;
        self.storage.truncate(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        self.storage.sync()
    }
}

pub(crate) struct Exit {
    pub(crate) anvil: Anvil,
    contracts: Contracts,
    pub(crate) channel: ChannelId,
    pub(crate) config: Config,
    agreement: Agreement,
}

impl Exit {
    /// An exit with an agreement that began three days ago, and a usage key.
    pub(crate) async fn new(arguments: &[&str], duties: &str) -> Option<Self> {
        let anvil = Anvil::start(arguments).await?;
        let contracts = anvil.deploy().await;
        let terms = anvil.open(&contracts, 1, 1_000_000).await;
        let channel = terms.id(&contracts.domain);
        let at = anvil.directory.path();
        key_file(at, 2);
        let extra = format!(
            "[usage]\nkey = \"{}\"\n[[service]]\nagreement = \"{}\"\n\
             [duties]\nsample_day_grace_s = 1\n{duties}",
            anvil.path("key-2").display(),
            anvil.path("agreement.json").display()
        );
        let config = anvil.config(&contracts, &terms, &extra);
        let agreement = agreement(channel, 1);
        service::service(at, &agreement);
        Some(Self { anvil, contracts, channel, config, agreement })
    }

    /// Samples of an hour and a minute on the first day, and of a minute on the second.
    fn samples(&self) -> Vec<CoSigned> {
        [0, 59, 60, 1440].map(|interval| both(&self.agreement, interval)).to_vec()
    }

    fn journal(&self, samples: &[CoSigned]) {
        let header = Header { exit: EXIT.0, secret: [9; 32], created_ms: 1 };
        let storage = FileStorage::open(&self.config.journal).unwrap();
        let mut journal = Journal::open(storage, header, |_, _, _| Ok(())).unwrap();
        for sample in samples {
            journal.append(&[Entry::now(Item::Sample(Box::new(*sample)))]).unwrap();
        }
    }

    pub(crate) async fn start(&self) -> Running {
        start(&self.anvil, &self.config, FileStorage::open(&self.config.journal).unwrap()).await
    }

    /// `None` if the disk dies before it runs.
    pub(crate) async fn start_on(&self, storage: Dying) -> Option<Running> {
        sidecar::start(self.config.clone(), storage, self.anvil.exit_wallet()).await.ok()
    }

    fn first_day(&self) -> u64 {
        self.agreement.terms.start / DAY_S
    }

    /// What the samples of a day make, whoever computes it.
    fn root(&self, samples: &[CoSigned], day: u64) -> Anchor {
        let (agreement, client) = (self.agreement.clone(), payer().address());
        let mut record = Record::new(agreement, client, Maintenance::default()).unwrap();
        for sample in samples {
            record.add_used(*sample).unwrap();
        }
        daily(&record, day).unwrap().1
    }

    fn challenges(&self) -> Challenges {
        Challenges::at(self.anvil.rpc.clone(), self.contracts.anchor)
    }

    fn exit(&self) -> Address {
        Address(self.anvil.exit_wallet().address().into_array())
    }

    pub(crate) async fn is_anchored(&self, anchor: &Anchor) -> bool {
        self.challenges().is_anchored(self.exit(), anchor).await.unwrap()
    }

    async fn challenge(&self, epoch: u64) -> u64 {
        self.challenges().open(&self.anvil.payer_wallet(), self.exit(), epoch).await.unwrap()
    }

    async fn answered(&self, id: u64) {
        eventually("the challenge is answered", LONG, async || {
            let found = self.challenges().challenge(id).await.unwrap();
            (found.state == "answered").then_some(())
        })
        .await;
    }

    /// How many entries of the journal are like this.
    pub(crate) fn count(&self, like: impl Fn(&Item) -> bool) -> usize {
        let mut found = 0;
        scan(&ReadOnly::open(&self.config.journal).unwrap(), |_, _, entry| {
            found += usize::from(like(&entry.item));
            Ok(())
        })
        .unwrap();
        found
    }
}

fn agreement(channel: ChannelId, salt: u8) -> Agreement {
    let start = (weir_settle::now_ms() / 1000 / DAY_S - 3) * DAY_S;
    let mut agreement = service::agreement(start, 2 * 86_400, 60);
    agreement.terms.channel = channel;
    agreement.terms.salt = Digest([salt; 32]);
    (agreement.payer_signature, agreement.operator_signature) = (None, None);
    agreement.sign(&key(1)).unwrap();
    agreement.sign(&key(2)).unwrap();
    agreement
}

fn both(agreement: &Agreement, interval: u64) -> CoSigned {
    let sample = sample(agreement, interval, 1_000);
    let signature = sample.sign(&agreement.domain, &payer()).signature;
    let exit_signature = sample.sign(&agreement.domain, &key(2)).signature;
    CoSigned { sample, signature, exit_signature }
}

/// Waits until the newest day's anchor is final and nothing is under way.
async fn days_done(running: &Running, day: u64) {
    eventually("the day is anchored", LONG, async || {
        let view = running.sidecar.driver.view();
        let last = view.days.first()?;
        (last.anchored && last.day == date(day * DAY_S) && view.open.is_empty()).then_some(())
    })
    .await;
}

pub(crate) fn names(running: &Running) -> Vec<&'static str> {
    let (view, chain) = (running.sidecar.clerk.views(), running.sidecar.driver.view());
    let view = view.borrow().clone();
    troubles(&view, &chain).into_iter().map(|trouble| trouble.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_anchored_without_a_command_and_found_by_the_payer() {
    let Some(exit) = Exit::new(&[], "").await else { return };
    let samples = exit.samples();
    exit.journal(&samples);
    let nonce = exit.anvil.exit_nonce().await;
    let running = exit.start().await;
    days_done(&running, exit.first_day() + 1).await;
    assert_eq!(exit.anvil.exit_nonce().await, nonce + 2, "one transaction for each day");
    for day in [exit.first_day(), exit.first_day() + 1] {
        assert!(exit.is_anchored(&exit.root(&samples, day)).await, "day {day}");
    }
    assert!(!exit.is_anchored(&exit.root(&samples[..2], exit.first_day())).await);

    // The payer's look, by his own file, is the one he always had.
    let path = |name: &str| exit.anvil.path(name).display().to_string();
    let lines: Vec<String> =
        samples.iter().map(|one| serde_json::to_string(one).unwrap() + "\n").collect();
    std::fs::write(exit.anvil.path("all"), lines.concat()).unwrap();
    let (day, url) = (date(exit.first_day() * DAY_S), exit.anvil.url());
    let (file, client) = (path("agreement.json"), payer().address().to_string());
    let (contract, by) = (exit.contracts.anchor.to_string(), exit.exit().to_string());
    let look = ["sla", "day", &day, "--agreement", &file, "--client", &client, "--rpc", &url];
    let all = path("all");
    let look = [&look[..], &["--contract", &contract, "--samples", &all, "--exit", &by]].concat();
    assert_eq!(weir_settle(&look).unwrap()["anchored"], true);
    running.stop().await.unwrap();

    // The command leaves these days to the sidecar, and with the duty switched off it still doesn't
    // anchor what the sidecar has.
    exit.anvil.key_file("payer.key", PAYER_KEY);
    let (toml, payer_key) = (path("settle.toml"), path("payer.key"));
    let by_command = || weir_settle(&["sla", "day", &day, "-c", &toml, "--key-file", &payer_key]);
    let said = by_command().unwrap_err();
    assert!(said.contains("the sidecar anchors the days of the last 31 by itself"), "{said}");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, text.replace("[duties]\n", "[duties]\nsample_days = false\n")).unwrap();
    let said = by_command().unwrap_err();
    assert!(said.contains("has decided on root"), "{said}");

    // A restart knows what is done, and `explain` and `export` tell of it.
    let running = exit.start().await;
    days_done(&running, exit.first_day() + 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(exit.anvil.exit_nonce().await, nonce + 2);
    let storage = ReadOnly::open(&exit.config.journal).unwrap();
    let told = weir_settle::explain::explain(&exit.config, &storage, exit.channel).unwrap();
    assert_eq!(told.matches("committed to in root").count(), 2, "{told}");
    let mut out = Vec::new();
    weir_settle::export::csv(&storage, &mut out).unwrap();
    let rows = String::from_utf8(out).unwrap();
    assert_eq!(rows.matches(",sample_day,done,").count(), 2, "{rows}");
    running.stop().await.unwrap();
}

/// However often it dies, a day has one root, one intent at a time and one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_day_anchors_it_once() {
    let Some(mut exit) = Exit::new(&[], "").await else { return };
    let mut crashes = 0;
    for step in 0..60u8 {
        exit.agreement = agreement(exit.channel, step + 2);
        service::service(exit.anvil.directory.path(), &exit.agreement);
        exit.config.journal = exit.anvil.path(&format!("journal-{step}"));
        let samples = exit.samples()[..3].to_vec();
        exit.journal(&samples);
        let nonce = exit.anvil.exit_nonce().await;
        let (storage, dead) = Dying::open(&exit.config.journal, step.into());
        let running = exit.start_on(storage).await;
        let crashed = eventually("a crash or the end", LONG, async || {
            let Some(running) = &running else { return Some(true) };
            let view = running.sidecar.driver.view();
            let done = view.days.first().is_some_and(|day| day.anchored);
            let crashed = dead.load(Ordering::SeqCst);
            (crashed || done).then_some(crashed)
        })
        .await;
        if let Some(running) = running {
            running.kill().await;
        }

        let running = exit.start().await;
        days_done(&running, exit.first_day()).await;
        running.kill().await;
        let root = exit.root(&samples, exit.first_day());
        assert!(exit.is_anchored(&root).await, "step {step}");
        assert_eq!(exit.anvil.exit_nonce().await, nonce + 1, "step {step}: one transaction");
        let roots = exit.count(|item| matches!(item, Item::Anchor(held) if held.day.is_some()));
        assert_eq!(roots, 1, "step {step}: one root");
        if !crashed {
            break;
        }
        crashes += 1;
    }
    assert!(crashes >= 8, "only {crashes} crashes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_another_key_has_anchored_is_left_alone_and_another_root_is_loud() {
    let samples_account = {
        let key = crate::bond::key(PAYER_KEY).address();
        format!("samples_account = \"{key}\"\n")
    };
    let Some(exit) = Exit::new(&[], &samples_account).await else { return };
    let samples = exit.samples();
    exit.journal(&samples);
    let by_timer = exit.anvil.payer_wallet();
    let (first, second) = (exit.first_day(), exit.first_day() + 1);
    let right = exit.root(&samples, first);
    let wrong = Anchor { total: 7, ..exit.root(&samples, second) };
    for anchor in [right, wrong] {
        exit.challenges().anchor(&by_timer, &anchor).await.unwrap();
    }
    let nonce = exit.anvil.exit_nonce().await;
    let running = exit.start().await;
    let words = eventually("the other root is loud", LONG, async || {
        running.sidecar.driver.view().days_trouble.first().cloned()
    })
    .await;
    assert!(words.contains("has anchored another root"), "{words}");
    assert!(words.contains(&date(second * DAY_S)), "{words}");
    assert!(names(&running).contains(&"sample_day"));
    assert_eq!(exit.anvil.exit_nonce().await, nonce, "nothing is sent");
    running.stop().await.unwrap();
}

/// Of usage and of a day; a claim goes its way meanwhile, and the fees come back.
#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_answered_from_their_own_fees() {
    let Some(exit) = Exit::new(&DEAR, "").await else { return };
    let samples = exit.samples()[..3].to_vec();
    exit.journal(&samples);
    let running = exit.start().await;
    days_done(&running, exit.first_day()).await;
    let mut relay = use_and_pay(&exit.config, 1, exit.channel, 1000).await;
    let epoch = settle_now(&running).await.epoch.unwrap();
    let day = exit.root(&samples, exit.first_day()).epoch;

    let mut ids = Vec::new();
    for about in [epoch, day, day, epoch, day, epoch, day, day] {
        ids.push(exit.challenge(about).await);
    }
    relay.report(crate::common::usage(exit.channel, 0, 1, 2_000, 0)).await;
    let ask = relay.ask(exit.channel, 0, 2_000).await;
    relay.offer(crate::common::pay(&ask)).await;
    let report = settle_now(&running).await;
    assert_eq!((report.claimed, report.problems), (1000, vec![]));
    for id in ids {
        exit.answered(id).await;
    }
    let contract = address(exit.contracts.anchor);
    let call = IChallenges::owedCall { account: address(exit.exit()) };
    eventually("fees are fetched", LONG, async || {
        let owed = exit.anvil.rpc.view(contract, call.clone()).await.unwrap();
        let view = running.sidecar.driver.view();
        let fetched = view.done.iter().any(|one| one.kind == "fees" && one.success == Some(true));
        (fetched && owed < U256::from(10u64.pow(17))).then_some(())
    })
    .await;
    eventually("the figures follow", LONG, async || {
        let challenges = &running.sidecar.driver.view().challenges;
        ((challenges.opened, challenges.answered) == (8, 8) && challenges.open.is_empty())
            .then_some(())
    })
    .await;
    assert!(!names(&running).contains(&"challenge"));
    let problems = exit.count(|item| {
        matches!(item, Item::Outbox(step)
            if matches!(step.step, weir_settle::journal::entry::Step::Abandoned { .. }))
    });
    assert_eq!(problems, 0, "every answer was the right one at once");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_an_answer_answers_once() {
    let Some(exit) = Exit::new(&DEAR, "sample_days = false\n").await else { return };
    let running = exit.start().await;
    drop(use_and_pay(&exit.config, 1, exit.channel, 1000).await);
    let epoch = settle_now(&running).await.epoch.unwrap();
    running.stop().await.unwrap();
    let is_answer = |item: &Item| {
        use weir_settle::journal::entry::{Action, Step};
        matches!(item, Item::Outbox(step)
            if matches!(step.step, Step::Planned { action: Action::Answer { .. } }))
    };
    let mut crashes = 0;
    for step in 0..40 {
        let before = exit.count(is_answer);
        let id = exit.challenge(epoch).await;
        let (storage, dead) = Dying::open(&exit.config.journal, step);
        let running = exit.start_on(storage).await;
        let crashed = eventually("a crash or the end", LONG, async || {
            let Some(running) = &running else { return Some(true) };
            let view = running.sidecar.driver.view();
            let done = view.challenges.opened > 0
                && view.challenges.open.is_empty()
                && view.open.is_empty()
                && view.challenges.answered == view.challenges.opened;
            let crashed = dead.load(Ordering::SeqCst);
            (crashed || done).then_some(crashed)
        })
        .await;
        if let Some(running) = running {
            running.kill().await;
        }
        let running = exit.start().await;
        exit.answered(id).await;
        eventually("all is final", LONG, async || {
            running.sidecar.driver.view().open.is_empty().then_some(())
        })
        .await;
        running.stop().await.unwrap();
        assert_eq!(exit.count(is_answer), before + 1, "step {step}: one intent");
        if !crashed {
            break;
        }
        crashes += 1;
    }
    assert!(crashes >= 8, "only {crashes} crashes");
}

/// The fee doesn't cover the answer: it waits, and is sent when the time gets short. While the gas
/// wallet is low it isn't.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_dearer_than_its_fee_waits_until_time_is_short() {
    let arguments = ["--block-base-fee-per-gas", "1"];
    let Some(exit) = Exit::new(&arguments, "sample_days = false\n").await else { return };
    let running = exit.start().await;
    drop(use_and_pay(&exit.config, 1, exit.channel, 1000).await);
    let epoch = settle_now(&running).await.epoch.unwrap();
    let id = exit.challenge(epoch).await;
    let waits = async |reason: &'static str| {
        eventually(reason, LONG, async || {
            let view = running.sidecar.driver.view();
            view.waiting.iter().any(|w| (w.kind, w.reason) == ("answer", reason)).then_some(())
        })
        .await;
    };
    waits("uneconomic").await;
    let wallet = exit.anvil.exit_wallet().address().to_string();
    exit.anvil.call("anvil_setBalance", json!([wallet, "0x38d7ea4c68000"])).await;
    exit.anvil.call("evm_increaseTime", json!([3 * 86_400 - 3_600])).await;
    exit.anvil.call("evm_mine", json!([])).await;
    waits("wallet").await;
    assert!(names(&running).contains(&"challenge"), "less than a day is left");
    assert_eq!(exit.challenges().challenge(id).await.unwrap().state, "open");
    exit.anvil.call("anvil_setBalance", json!([wallet, "0x56bc75e2d63100000"])).await;
    exit.answered(id).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_of_what_was_lost_is_loud_with_the_hours_that_are_left() {
    let Some(mut exit) = Exit::new(&DEAR, "sample_days = false\n").await else { return };
    let running = exit.start().await;
    drop(use_and_pay(&exit.config, 1, exit.channel, 1000).await);
    let epoch = settle_now(&running).await.epoch.unwrap();
    running.stop().await.unwrap();
    exit.config.journal = exit.anvil.path("another");
    exit.challenge(epoch).await;
    exit.anvil.call("evm_increaseTime", json!([3 * 3_600 + 60])).await;
    exit.anvil.call("evm_mine", json!([])).await;
    let running = exit.start().await;
    let status = eventually("the challenge is loud", LONG, async || {
        let status = weir_settle::status::status(&running.sidecar);
        let status: Value = serde_json::to_value(status).unwrap();
        let troubles = status["troubles"].as_array().unwrap().clone();
        troubles.into_iter().find(|trouble| trouble["name"] == "challenge")
    })
    .await;
    let words = status["words"].as_str().unwrap();
    assert!(words.contains("can't be answered, 68 hours are left"), "{words}");
    assert!(words.contains("the journal has no anchor of epoch 1"), "{words}");
    let text = weir_settle::metrics::render(&running.sidecar);
    assert!(text.contains("weir_settle_challenges{state=\"lost\"} 1"), "{text}");
    assert!(text.contains("\nweir_settle_challenge_seconds_left 2"), "{text}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_epoch_is_signed_for_once_whatever_dies() {
    let Some(exit) = Exit::new(&[], BOND).await else { return };
    let running = exit.start().await;
    let mut relay = use_and_pay(&exit.config, 1, exit.channel, 1000).await;
    let report = settle_now(&running).await;
    let directory = vouch::directory(&exit.config);
    let file = directory.join("epoch-1.json");
    let read = async |path: &Path| {
        eventually("the statement's file", LONG, async || {
            path.exists().then(|| Statements::read(path).unwrap())
        })
        .await
    };
    let made = read(&file).await;
    let domain = BondDomain { chain_id: 31_337, bond: Address([0xb0; 20]) };
    let root = report.root.unwrap().parse().unwrap();
    assert_eq!(made.domain, domain);
    assert_eq!(made.epochs[0].statement, EpochStatement { epoch: 1, root, total: 1000 });
    made.epochs[0].verify(&domain, key(2).address()).unwrap();
    let is_vouched = |item: &Item| matches!(item, Item::Vouched(_));
    assert_eq!(exit.count(is_vouched), 1);
    // What the command signs is the same.
    let (toml, out) = (exit.anvil.path("settle.toml"), exit.anvil.path("by-command.json"));
    let (toml, to, at) =
        (toml.display().to_string(), out.display().to_string(), domain.bond.to_string());
    drop(weir_settle(&["evidence", "export", "-c", &toml, "--bond", &at, "-o", &to]));
    assert_eq!(Statements::read(&out).unwrap().epochs, made.epochs);

    // Killed after it was journaled and before the file was there.
    running.kill().await;
    std::fs::remove_file(&file).unwrap();
    let running = exit.start().await;
    assert_eq!(read(&file).await, made);
    assert_eq!(exit.count(is_vouched), 1);

    // Another root under the same number, as after a lost journal, is never signed for.
    let mut other = made.clone();
    let said = EpochStatement { epoch: 2, root: Digest([9; 32]), total: 1 };
    other.epochs = vec![said.sign(&domain, &key(2))];
    other.write(&directory.join("epoch-2.json")).unwrap();
    drop(relay);
    relay = crate::common::relay::Relay::connect(&exit.config.socket, 1).await;
    relay.report(crate::common::usage(exit.channel, 0, 2, 1_500, 0)).await;
    let ask = relay.ask(exit.channel, 0, 2_500).await;
    eventually("the voucher is taken", LONG, async || {
        let answer = relay.offer(crate::common::pay(&ask)).await;
        matches!(answer, weir_usage::Frame::VoucherAck(_)).then_some(())
    })
    .await;
    assert_eq!(settle_now(&running).await.epoch, Some(2));
    let words = eventually("it is loud", LONG, async || {
        running.sidecar.driver.view().vouch_trouble.clone()
    })
    .await;
    assert!(words.contains("epoch 2 was signed with root"), "{words}");
    assert!(names(&running).contains(&"statement"));
    assert_eq!(exit.count(is_vouched), 1);
    running.stop().await.unwrap();
}
