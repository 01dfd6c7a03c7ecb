//! How the other tasks talk to the clerk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};
use weir_usage::{AccessCount, Frame, Funding, HelloAck, SampleOffer, UsageRecord, VoucherOffer};

use super::view::View;
use crate::book::LaneKey;
use crate::error::Error;
use crate::journal::entry::{AnchorLeaves, Item, SampleDay};

/// Requests that wait while the journal is synced. A full queue stops reading from the relays,
/// which then keep their records.
pub(super) const REQUESTS_MAX: usize = 4096;
/// Frames that wait to be written to one relay. A relay that doesn't read that many is cut off.
const FRAMES_MAX: usize = 8192;

#[derive(Debug)]
pub(super) enum Request {
    Hello { epoch: u64, peer: Peer, reply: oneshot::Sender<HelloAck> },
    Record { record: Box<UsageRecord>, peer: Peer },
    Access { epoch: u64, seen: AccessCount, peer: Peer },
    Voucher { offer: Box<VoucherOffer>, peer: Peer },
    Sample { offer: Box<SampleOffer>, peer: Peer },
    Journal { items: Vec<Item>, reply: oneshot::Sender<()> },
    Chain { news: ChainNews },
    Leaves { epoch: u64, reply: oneshot::Sender<Option<AnchorLeaves>> },
    CloseDay { day: SampleDay, reply: oneshot::Sender<()> },
    View { reply: oneshot::Sender<Arc<View>> },
}

/// What the chain says, as of one look at it.
#[derive(Debug, Clone, Default)]
pub struct ChainNews {
    /// By lane.
    pub lanes: Vec<LaneNews>,
}

/// What the chain says of a lane.
#[derive(Debug, Clone)]
pub struct LaneNews {
    /// Which lane.
    pub key: LaneKey,
    /// Whether its channel can pay.
    pub funding: Funding,
    /// Cumulative token units that the lane could claim with the present deposit.
    pub spendable: Option<u128>,
    /// Cumulative token units claimed.
    pub claimed: u128,
}

/// One relay's connection, as the clerk sees it.
#[derive(Debug, Clone)]
pub struct Peer {
    id: u64,
    frames: mpsc::Sender<Frame>,
    cut: Arc<watch::Sender<Option<String>>>,
}

impl Peer {
    /// A new connection: the peer, the frames to write, and the reason to hang up.
    pub fn new() -> (Self, mpsc::Receiver<Frame>, watch::Receiver<Option<String>>) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (frames, queue) = mpsc::channel(FRAMES_MAX);
        let (cut, reason) = watch::channel(None);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        (Self { id, frames, cut: Arc::new(cut) }, queue, reason)
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Queues a frame; a peer that doesn't take them is cut off.
    pub fn send(&self, frame: Frame) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.frames.try_send(frame) {
            self.cut(format!("the relay left {FRAMES_MAX} frames unread"));
        }
    }

    /// Has the connection closed, for this reason.
    pub fn cut(&self, reason: String) {
        self.cut.send_replace(Some(reason));
    }
}

/// The way to the clerk.
#[derive(Debug, Clone)]
pub struct ClerkHandle {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
}

impl ClerkHandle {
    pub(super) fn new(requests: mpsc::Sender<Request>, view: watch::Receiver<Arc<View>>) -> Self {
        Self { requests, view }
    }

    /// Where the stream of a relay process goes on. From now on it goes on with `peer` alone.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn hello(&self, epoch: u64, peer: &Peer) -> Result<HelloAck, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Hello { epoch, peer: peer.clone(), reply }).await?;
        answer.await.map_err(|_| Error::Stopping)
    }

    /// Has a record journaled; the ack goes to the peer.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn record(&self, record: Box<UsageRecord>, peer: &Peer) -> Result<(), Error> {
        self.send(Request::Record { record, peer: peer.clone() }).await
    }

    /// Has a relay's reading of ledger C compared with what it bills.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn access(&self, epoch: u64, seen: AccessCount, peer: &Peer) -> Result<(), Error> {
        self.send(Request::Access { epoch, seen, peer: peer.clone() }).await
    }

    /// Has a voucher verified and journaled; the answer goes to the peer.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn voucher(&self, offer: VoucherOffer, peer: &Peer) -> Result<(), Error> {
        self.send(Request::Voucher { offer: Box::new(offer), peer: peer.clone() }).await
    }

    /// Has a sample checked, signed and journaled; the answer goes to the peer.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn sample(&self, offer: SampleOffer, peer: &Peer) -> Result<(), Error> {
        self.send(Request::Sample { offer: Box::new(offer), peer: peer.clone() }).await
    }

    /// Journals `items` as one unit, and returns once they are durable.
    ///
    /// # Errors
    /// [`Error::Stopping`]; the items may or may not be in the journal then.
    pub async fn journal(&self, items: Vec<Item>) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Journal { items, reply }).await?;
        answer.await.map_err(|_| Error::Stopping)
    }

    /// The leaves of an anchor that the journal has.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn leaves(&self, epoch: u64) -> Result<Option<AnchorLeaves>, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Leaves { epoch, reply }).await?;
        answer.await.map_err(|_| Error::Stopping)
    }

    /// From now on no sample of the agreement is signed for this day or one before; those that were
    /// signed are in the journal when this returns.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn close_day(&self, day: SampleDay) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::CloseDay { day, reply }).await?;
        answer.await.map_err(|_| Error::Stopping)
    }

    /// Tells what the chain says.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn chain(&self, news: ChainNews) -> Result<(), Error> {
        self.send(Request::Chain { news }).await
    }

    /// The state right now; requests made before are in it.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn view(&self) -> Result<Arc<View>, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::View { reply }).await?;
        answer.await.map_err(|_| Error::Stopping)
    }

    /// The state as of at most one ask interval ago, without waiting.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.requests.send(request).await.map_err(|_| Error::Stopping)
    }
}
