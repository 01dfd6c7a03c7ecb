//! One target of an association: waiting for its tunnel, sending through it, or refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::info;

use super::Local;
use crate::refusal::Refusal;
use crate::relay::{CapsuleReader, Deliver, Pool, UdpSendError, UdpSender};
use crate::socks::wire;
use crate::target::Target;

/// What an application may send before the tunnel stands, such as a QUIC Initial flight or a few
/// DNS queries. Later datagrams are dropped, as a full queue in the network would.
const EARLY_DATAGRAMS_MAX: usize = 128;
const EARLY_BYTES_MAX: usize = 256 << 10;

/// After a refusal, datagrams to the same target are dropped for this long, so that an application
/// that keeps sending does not make a request of every datagram.
const REFUSAL_MEMORY: Duration = Duration::from_secs(5);

/// The tunnel is gone; the flow is to be forgotten.
#[derive(Debug)]
pub(super) struct FlowLost;

/// What a flow's task tells its association.
pub(super) struct FlowEvent {
    pub(super) target: Target,
    pub(super) flow: u64,
    pub(super) news: News,
}

pub(super) enum News {
    Opened(UdpSender),
    Refused(Refusal),
    /// The relay closed the tunnel or the connection is gone.
    Closed,
}

pub(super) struct Flow {
    /// Tells this flow's events from those of an earlier one to the same target.
    id: u64,
    target: Target,
    state: State,
    /// When the application last sent. Targets' replies don't count: they are sent by whoever
    /// likes to.
    last_sent: Instant,
    /// Owns the tunnel; ends with the flow.
    task: AbortHandle,
}

enum State {
    Opening { early: VecDeque<Bytes>, early_bytes: usize },
    Open(UdpSender),
    Refused { until: Instant },
}

impl Flow {
    pub(super) fn open(
        target: &Target,
        payload: &[u8],
        now: Instant,
        local: &Arc<Local>,
        pool: &Arc<Pool>,
        events: &mpsc::Sender<FlowEvent>,
    ) -> Flow {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed);
        let work = run(id, target.clone(), Arc::clone(local), Arc::clone(pool), events.clone());
        let task = tokio::spawn(work).abort_handle();
        let early = VecDeque::from([Bytes::copy_from_slice(payload)]);
        let state = State::Opening { early, early_bytes: payload.len() };
        Flow { id, target: target.clone(), state, last_sent: now, task }
    }

    pub(super) fn is(&self, id: u64) -> bool {
        self.id == id
    }

    pub(super) fn quiet_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_sent)
    }

    pub(super) async fn send(&mut self, payload: &[u8], now: Instant) -> Result<(), FlowLost> {
        self.last_sent = now;
        match &mut self.state {
            State::Open(sender) => match sender.send(payload).await {
                // Larger than the path to the relay carries: lost, as on any path with an MTU.
                Ok(()) | Err(UdpSendError::TooLarge) => Ok(()),
                Err(UdpSendError::Lost) => Err(FlowLost),
            },
            State::Opening { early, early_bytes } => {
                let fits = early.len() < EARLY_DATAGRAMS_MAX
                    && *early_bytes + payload.len() <= EARLY_BYTES_MAX;
                if fits {
                    *early_bytes += payload.len();
                    early.push_back(Bytes::copy_from_slice(payload));
                }
                Ok(())
            }
            State::Refused { until } if now < *until => Ok(()),
            State::Refused { .. } => Err(FlowLost),
        }
    }

    pub(super) async fn handle(&mut self, news: News) -> Result<(), FlowLost> {
        match news {
            News::Opened(sender) => {
                let opened = std::mem::replace(&mut self.state, State::Open(sender));
                if let State::Opening { early, .. } = opened {
                    for payload in early {
                        self.send(&payload, self.last_sent).await?;
                    }
                }
                Ok(())
            }
            News::Refused(refusal) => {
                info!(target = %self.target, %refusal, "UDP tunnel not opened");
                self.state = State::Refused { until: Instant::now() + REFUSAL_MEMORY };
                Ok(())
            }
            News::Closed => Err(FlowLost),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens the tunnel and holds it until the relay closes it.
async fn run(
    flow: u64,
    target: Target,
    local: Arc<Local>,
    pool: Arc<Pool>,
    events: mpsc::Sender<FlowEvent>,
) {
    let tell = async |news| {
        // The association being gone means that this task is about to be aborted.
        let _ = events.send(FlowEvent { target: target.clone(), flow, news }).await;
    };
    let header = wire::datagram_header(&target);
    let deliver: Deliver = Arc::new(move |payload| local.deliver(&header, payload));
    let mut tunnel = match pool.open_udp(&target, Arc::clone(&deliver)).await {
        Ok(tunnel) => tunnel,
        Err(refusal) => return tell(News::Refused(refusal)).await,
    };
    tell(News::Opened(tunnel.sender.clone())).await;
    let mut capsules = CapsuleReader::default();
    while let Ok(Some(data)) = tunnel.recv.recv_data().await {
        capsules.push(data, |payload| {
            tunnel.sender.meter.down_datagram(payload.len());
            deliver(&payload);
        });
    }
    tell(News::Closed).await;
}
