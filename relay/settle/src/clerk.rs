//! The one task that writes the journal and keeps the book.
//!
//! Requests queue up while an fsync runs and are then written together: group commit without a
//! timer. A reply leaves only after the group it belongs to is durable. The book is ahead of the
//! journal for as long as that takes, which nobody can see: views are published after the commit.

mod request;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};
use weir_usage::{
    AccessCount, Frame, HelloAck, Refusal, SampleAck, SampleOffer, SampleRefusal, SampleRefused,
    VoucherAck, VoucherOffer, VoucherRefused,
};

pub use request::{ChainNews, ClerkHandle, LaneNews, Peer};
use request::{REQUESTS_MAX, Request};
pub use view::{JournalView, LaneView, View};

use crate::book::{Book, LaneKey, RecordFate, Verdict};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::journal::Journal;
use crate::journal::entry::{Entry, Item};
use crate::service::Desk;
use crate::state::Keeper;
use crate::storage::Storage;

/// Requests that are handled before the next fsync.
const BATCH_MAX: usize = 512;
/// Between two attempts to write a journal that fails.
const RETRY: Duration = Duration::from_millis(500);
/// Streams whose connection is remembered: far more than the server has connections.
const SPEAKERS_MAX: usize = 1024;
/// Attempts that are made after the order to stop; then unacked entries are given up.
const STOPPING_ATTEMPTS: u32 = 3;

/// Writes the journal.
#[derive(Debug)]
pub struct Clerk<S> {
    journal: Journal<S>,
    book: Book,
    requests: mpsc::Receiver<Request>,
    views: watch::Sender<Arc<View>>,
    stop: watch::Receiver<bool>,
    interval: Duration,
    published: Instant,
    /// The connection that each stream goes on with.
    speakers: BTreeMap<u64, u64>,
    dirty: BTreeSet<LaneKey>,
    pending: Vec<Entry>,
    replies: Vec<Reply>,
    refused: BTreeMap<&'static str, u64>,
    accepted: u64,
    desk: Desk,
    clock: Clock,
    keeper: Option<Keeper>,
    journal_error: Option<String>,
}

/// What is sent once the group is durable.
#[derive(Debug)]
enum Reply {
    Records(Peer, u64),
    Frame(Peer, Box<Frame>),
    /// A sample that is in the group, signed.
    Sample(Peer, SampleAck),
    /// A voucher that is in the group, and the query to refuse if the group can't be written.
    Voucher(Peer, Box<VoucherOffer>),
    Hello(oneshot::Sender<HelloAck>, HelloAck),
    Done(oneshot::Sender<()>),
    View(oneshot::Sender<Arc<View>>),
}

impl<S: Storage> Clerk<S> {
    /// A clerk over an open journal and the book that was replayed from it.
    pub fn new(
        config: &Config,
        journal: Journal<S>,
        book: Book,
        stop: watch::Receiver<bool>,
    ) -> (Self, ClerkHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (views, view) = watch::channel(Arc::new(View::default()));
        let dirty = book.lanes().keys().copied().collect();
        let mut clerk = Self {
            journal,
            book,
            requests,
            views,
            stop,
            interval: config.ask_interval,
            published: Instant::now(),
            speakers: BTreeMap::new(),
            dirty,
            pending: Vec::new(),
            replies: Vec::new(),
            refused: BTreeMap::new(),
            accepted: 0,
            desk: Desk::default(),
            clock: Clock::default(),
            keeper: None,
            journal_error: None,
        };
        clerk.publish();
        (clerk, ClerkHandle::new(sender, view))
    }

    /// Has samples signed at this desk; without one, none are.
    #[must_use]
    pub fn with_desk(mut self, desk: Desk) -> Self {
        let mut view = View::clone(&self.views.borrow());
        view.services = desk.notices();
        self.views.send_replace(Arc::new(view));
        self.desk = desk;
        self
    }

    /// Has this clock say which samples are of now.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Has the state kept by this keeper, whose past is the journal's.
    #[must_use]
    pub fn with_keeper(mut self, keeper: Option<Keeper>) -> Self {
        self.keeper = keeper;
        self
    }

    /// Works until every handle is gone, or until told to stop.
    ///
    /// # Errors
    /// [`Error::Storage`] if the journal couldn't be written at the end.
    pub async fn run(mut self) -> Result<(), Error> {
        let outcome = self.work().await;
        self.keep(true);
        outcome
    }

    async fn work(&mut self) -> Result<(), Error> {
        let mut tick = tokio::time::interval(self.interval.max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let stopping = *self.stop.borrow();
            tokio::select! {
                biased;
                count = self.requests.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for request in batch.drain(..) {
                        self.handle(request);
                    }
                    self.commit().await?;
                    self.reply();
                    if self.published.elapsed() >= self.interval {
                        self.publish();
                    }
                    self.keep(false);
                }
                () = std::future::ready(()), if stopping => return Ok(()),
                _ = tick.tick() => {
                    self.publish();
                    self.keep(false);
                }
                _ = self.stop.changed() => {}
            }
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Hello { epoch, peer, reply } => {
                self.speaks(epoch, &peer);
                let chain = self.book.stream(epoch);
                let (next_seq, head) = (chain.next_seq(), chain.head());
                self.replies.push(Reply::Hello(reply, HelloAck { epoch, next_seq, head }));
            }
            Request::Record { record, peer } => {
                if self.speakers.get(&record.epoch) != Some(&peer.id()) {
                    // The relay has given this connection up and says the same numbers again with
                    // later counts. Taken from here, they would make those duplicates, which are
                    // acked without being kept.
                    return peer.cut("the relay has a newer connection".to_owned());
                }
                let opened = self.book.lane_to_open(&record);
                match self.book.record(&record) {
                    RecordFate::New => {
                        if let Some(opened) = opened {
                            self.book.opened(&opened);
                            self.pending.push(Entry::now(Item::Lane(opened)));
                        }
                        let key = LaneKey { channel: record.channel, lane: record.lane };
                        self.dirty.insert(key);
                        if let Some(lane) = self.book.lanes().get(&key) {
                            self.desk.counted(&key, record.t1_ms, lane);
                        }
                        let next = record.seq + 1;
                        self.pending.push(Entry::now(Item::Record(record)));
                        self.replies.push(Reply::Records(peer, next));
                    }
                    RecordFate::Duplicate => {
                        let next = self.book.stream(record.epoch).next_seq();
                        self.replies.push(Reply::Records(peer, next));
                    }
                    RecordFate::OutOfStream(why) => peer.cut(why.to_string()),
                }
            }
            Request::Access { epoch, seen, peer } => self.access(epoch, seen, &peer),
            Request::Voucher { offer, peer } => self.voucher(offer, peer),
            Request::Sample { offer, peer } => self.sample(&offer, peer),
            Request::Journal { items, reply } => {
                for item in items {
                    match &item {
                        Item::Note(note) => {
                            self.book.note(note);
                            self.dirty.extend(self.book.lanes().keys());
                        }
                        Item::Anchor(leaves) => self.book.anchored(leaves.clone()),
                        _ => {}
                    }
                    self.pending.push(Entry::now(item));
                }
                self.replies.push(Reply::Done(reply));
            }
            Request::Chain { news } => self.learn(news),
            // Who stopped waiting for an answer needs none.
            Request::Leaves { epoch, reply } => drop(reply.send(self.book.leaves(epoch).cloned())),
            Request::CloseDay { day, reply } => {
                self.desk.close(day);
                self.replies.push(Reply::Done(reply));
            }
            Request::View { reply } => self.replies.push(Reply::View(reply)),
        }
    }

    fn access(&mut self, epoch: u64, seen: AccessCount, peer: &Peer) {
        if self.speakers.get(&epoch) != Some(&peer.id()) {
            return;
        }
        let Some(found) = self.book.access(epoch, seen) else { return };
        error!(
            epoch = format!("{epoch:016x}"),
            bytes = found.bytes(),
            "ALARM: the relay bills more than its kernel saw come from clients, so nothing new is \
             asked for; either clients come in by an interface that the relay's [xdp] doesn't name, \
             or what is billed isn't what was carried"
        );
        self.book.uncarried(&found);
        self.dirty.extend(self.book.lanes().keys());
        self.pending.push(Entry::now(Item::Uncarried(found)));
    }

    /// Of several connections of one relay process, the one that greeted last is alive.
    fn speaks(&mut self, epoch: u64, peer: &Peer) {
        self.speakers.insert(epoch, peer.id());
        if self.speakers.len() > SPEAKERS_MAX
            && let Some(oldest) = self.speakers.iter().min_by_key(|(_, id)| **id)
        {
            // Should it live against all odds, it is cut off and greets again.
            let oldest = *oldest.0;
            self.speakers.remove(&oldest);
        }
    }

    fn voucher(&mut self, offer: Box<VoucherOffer>, peer: Peer) {
        let voucher = offer.signed.voucher;
        let key = LaneKey { channel: voucher.channel, lane: voucher.lane };
        match self.book.verify(&offer) {
            Verdict::Accept => {
                let entry =
                    Entry::now(Item::Voucher(Box::new(VoucherOffer { query: 0, ..*offer })));
                self.book.accept(&offer, entry.at_ms);
                self.accepted += 1;
                self.pending.push(entry);
                self.dirty.insert(key);
                self.replies.push(Reply::Voucher(peer, offer));
            }
            Verdict::Held => self.replies.push(Reply::Voucher(peer, offer)),
            Verdict::Refuse(why) => {
                *self.refused.entry(refusal_name(why.refusal)).or_default() += 1;
                warn!(channel = %key.channel, lane = key.lane, reason = why.reason, "voucher refused");
                let (query, refusal, reason) = (offer.query, why.refusal, why.reason);
                let refused = VoucherRefused { query, refusal, reason };
                self.replies.push(Reply::Frame(peer, Box::new(Frame::VoucherRefused(refused))));
            }
        }
    }

    fn sample(&mut self, offer: &SampleOffer, peer: Peer) {
        let query = offer.query;
        match self.desk.sign(offer, self.clock.now_ms()) {
            Ok(signed) => {
                if let Some(sample) = signed.new {
                    self.pending.push(Entry::now(Item::Sample(Box::new(sample))));
                }
                let exit_signature = signed.exit_signature;
                self.replies.push(Reply::Sample(peer, SampleAck { query, exit_signature }));
            }
            Err((refusal, reason)) => {
                warn!(channel = %offer.channel, lane = offer.lane, reason, "sample refused");
                let refused = SampleRefused { query, refusal, reason };
                self.replies.push(Reply::Frame(peer, Box::new(Frame::SampleRefused(refused))));
            }
        }
    }

    fn learn(&mut self, news: ChainNews) {
        for lane in news.lanes {
            if let Some(state) = self.book.lane_mut(&lane.key) {
                state.funding = lane.funding;
                state.spendable = lane.spendable;
                state.claimed = lane.claimed;
                self.dirty.insert(lane.key);
            }
        }
    }

    /// Makes everything pending durable, however long it takes.
    async fn commit(&mut self) -> Result<(), Error> {
        let mut attempts = 0;
        while !self.pending.is_empty() {
            let outcome = blocking(|| self.journal.append(&self.pending));
            let Err(failure) = outcome else {
                if self.journal_error.take().is_some() {
                    info!("the journal can be written again");
                }
                self.note();
                self.pending.clear();
                break;
            };
            if self.journal_error.is_none() {
                error!(
                    entries = self.pending.len(),
                    "{failure}; nothing is acked until it can be written; is the disk full?"
                );
            }
            self.journal_error = Some(failure.to_string());
            self.refuse_for_storage();
            self.publish_journal();
            attempts += 1;
            if *self.stop.borrow() && attempts >= STOPPING_ATTEMPTS {
                return Err(failure);
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    /// Tells the keeper what is durable now.
    fn note(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let offset = self.journal.len_bytes();
        for entry in &self.pending {
            if let Err(e) = keeper.note(offset, entry, &self.book) {
                error!("kept state: {e}; it isn't written any more");
                self.keeper = None;
                return;
            }
        }
    }

    /// Writes the state if it is time, or if there will be no other. Entries that wait are in the
    /// book and not in the journal: with them it must not be written.
    fn keep(&mut self, last: bool) {
        if let Some(keeper) = &mut self.keeper
            && self.pending.is_empty()
            && (last || keeper.is_due())
        {
            blocking(|| keeper.write(&self.book, self.journal.position()));
        }
    }

    /// The payer is told to come again; by then its voucher is held, or is offered anew.
    fn refuse_for_storage(&mut self) {
        for reply in &mut self.replies {
            if let Reply::Voucher(peer, offer) = reply {
                let refused = VoucherRefused {
                    query: offer.query,
                    refusal: Refusal::Storage,
                    reason: "the exit can't write its journal; try again".into(),
                };
                *self.refused.entry(refusal_name(Refusal::Storage)).or_default() += 1;
                peer.send(Frame::VoucherRefused(refused));
            }
        }
        for reply in &self.replies {
            if let Reply::Sample(peer, ack) = reply {
                // It stays in the group: the client that asks again gets the same signature.
                peer.send(Frame::SampleRefused(SampleRefused {
                    query: ack.query,
                    refusal: SampleRefusal::Storage,
                    reason: "the exit can't write its journal; try again".into(),
                }));
            }
        }
        self.replies.retain(|r| !matches!(r, Reply::Voucher(..) | Reply::Sample(..)));
    }

    fn reply(&mut self) {
        // Acks are cumulative: one per connection and group is enough.
        let mut acks: BTreeMap<u64, (Peer, u64)> = BTreeMap::new();
        let mut views = Vec::new();
        for reply in std::mem::take(&mut self.replies) {
            match reply {
                Reply::Records(peer, next) => {
                    acks.insert(peer.id(), (peer, next));
                }
                Reply::Frame(peer, frame) => peer.send(*frame),
                Reply::Sample(peer, ack) => peer.send(Frame::SampleAck(ack)),
                Reply::Voucher(peer, offer) => {
                    let voucher = offer.signed.voucher;
                    peer.send(Frame::VoucherAck(VoucherAck {
                        query: offer.query,
                        channel: voucher.channel,
                        lane: voucher.lane,
                        seq: voucher.seq,
                        up_bytes: offer.up_bytes,
                        down_bytes: offer.down_bytes,
                        amount: voucher.amount,
                    }));
                }
                // Who stopped waiting for an answer needs none.
                Reply::Hello(reply, ack) => drop(reply.send(ack)),
                Reply::Done(reply) => drop(reply.send(())),
                Reply::View(reply) => views.push(reply),
            }
        }
        for (peer, next_seq) in acks.into_values() {
            peer.send(Frame::RecordAck { next_seq });
        }
        // After the acks: a relay subtracts what was acked from what a lane has used.
        if !views.is_empty() {
            self.publish();
        }
        for reply in views {
            drop(reply.send(self.views.borrow().clone()));
        }
    }

    fn publish(&mut self) {
        self.published = Instant::now();
        let mut view = View::clone(&self.views.borrow());
        for key in std::mem::take(&mut self.dirty) {
            let ask = self.book.ask(&key);
            if let (Some(lane), Some(credit)) =
                (self.book.lanes().get(&key), self.book.credit(&key))
            {
                view.lanes.insert(key, LaneView::of(lane, ask, credit));
            }
        }
        let next_seq = |&epoch: &u64| (epoch, self.book.stream(epoch).next_seq());
        view.streams = self.speakers.keys().map(next_seq).collect();
        let access = |&epoch: &u64| Some((epoch, self.book.access_view(epoch)?));
        view.access = self.speakers.keys().filter_map(access).collect();
        view.counters = self.book.counters();
        view.tunnels = self.book.tunnels();
        view.vouchers_accepted = self.accepted;
        view.vouchers_refused.clone_from(&self.refused);
        view.samples.clone_from(self.desk.counts());
        view.anchors = self.book.anchors().len() as u64;
        view.last_anchor = self.book.last_usage_anchor().cloned();
        self.fill_journal(&mut view);
        self.views.send_replace(Arc::new(view));
    }

    /// The book may be ahead of a journal that fails, so only the journal's state is shown.
    fn publish_journal(&mut self) {
        let mut view = View::clone(&self.views.borrow());
        self.fill_journal(&mut view);
        self.views.send_replace(Arc::new(view));
    }

    fn fill_journal(&self, view: &mut View) {
        view.journal = JournalView {
            bytes: self.journal.len_bytes(),
            entries: self.journal.entries(),
            tip: crate::journal::hex(&self.journal.tip()),
            error: self.journal_error.clone(),
            unwritten: self.pending.len(),
        };
    }
}

/// Runs what blocks without holding up other tasks, where there are threads for them to go on with.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// The label of a refusal in metrics.
fn refusal_name(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownChannel => "unknown_channel",
        Refusal::Signature => "signature",
        Refusal::StaleSeq => "stale_seq",
        Refusal::AmountFell => "amount_fell",
        Refusal::AmountMismatch => "amount_mismatch",
        Refusal::BeyondAsk => "beyond_ask",
        Refusal::UsageHead => "usage_head",
        Refusal::Unfunded => "unfunded",
        Refusal::Closing => "closing",
        Refusal::Storage => "storage",
    }
}
