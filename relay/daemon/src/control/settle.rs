//! The link to the settlement sidecar: usage records out, acknowledgements, asks and credit in.
//!
//! The link may break at any time. Counters are cumulative, so nothing has to be kept for it: the
//! chain of records goes on where the sidecar's journal ends, with the values of that moment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use weir_usage::{
    AccessCount, ExitId, Frame, FrameReader, Hello, RecordChain, SampleAck, SampleOffer,
    SampleRefused, VoucherAck, VoucherOffer, VoucherRefused,
};

use super::access::Access;
use super::credit::Credit;
use super::export::Export;
use super::grants::Accounts;
use super::resources::{Resources, SampleJob, VoucherJob};
use crate::worker::Peers;
use crate::xdp::XdpStatus;

/// How often counters are read and records are sent.
const EXPORT_EVERY: Duration = Duration::from_millis(200);

/// Between attempts to reach the sidecar: a restart of it takes about a second.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// The sidecar answers a greeting from memory.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// A write that takes longer means that the sidecar hangs.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Records sent at once, so that a voucher never waits behind all tunnels.
const RECORDS_PER_ROUND: usize = 512;

/// Vouchers that wait for an answer: a lane has one at a time, and this many lanes are active.
const VOUCHERS_MAX: usize = 4_096;

/// Samples that wait for an answer: a lane has one an interval.
const SAMPLES_MAX: usize = 4_096;

/// Everything the link works with.
#[derive(Debug)]
pub(crate) struct Link {
    pub socket: PathBuf,
    pub exit: ExitId,
    pub epoch: u64,
    pub export: Arc<Mutex<Export>>,
    /// Says ledger C.
    pub kernel: Arc<dyn XdpStatus>,
    pub credit: Credit,
    /// The sidecar's journal ends before this record of ours.
    pub acked_to: u64,
    pub accounts: Arc<Accounts>,
    pub resources: Arc<Resources>,
    pub peers: Arc<Peers>,
    pub vouchers: mpsc::Receiver<VoucherJob>,
    pub samples: mpsc::Receiver<SampleJob>,
}

/// Who waits for which answer, by query.
#[derive(Default)]
struct Waiting {
    vouchers: HashMap<u64, oneshot::Sender<Result<VoucherAck, VoucherRefused>>>,
    samples: HashMap<u64, oneshot::Sender<Result<SampleAck, SampleRefused>>>,
}

impl Link {
    /// Connects, serves, and connects again, until the task is dropped.
    pub(crate) async fn run(mut self) {
        let mut said = false;
        loop {
            match self.connect().await {
                Ok((stream, reader, chain)) => {
                    tracing::info!(next_seq = chain.next_seq(), "the settlement sidecar is there");
                    said = false;
                    let error = self.serve(stream, reader, chain).await;
                    self.resources.set_connected(false);
                    self.credit.disconnected(Instant::now());
                    tracing::warn!("the settlement sidecar is gone: {error:#}");
                }
                Err(error) if !said => {
                    let socket = self.socket.display();
                    tracing::warn!("no settlement sidecar at {socket}: {error:#}; trying again");
                    said = true;
                }
                Err(_) => {}
            }
            // Also while nobody listens: ledger B is read while the kernel still has it, and the
            // totals that the operator sees go on.
            self.export().collect();
            self.apply_credit();
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    async fn connect(&mut self) -> anyhow::Result<(UnixStream, FrameReader, RecordChain)> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let hello = Frame::Hello(Hello { exit: self.exit, epoch: self.epoch });
        write(&mut stream, &hello.encode()).await?;
        let mut reader = FrameReader::new();
        let first = tokio::time::timeout(HELLO_TIMEOUT, read(&mut stream, &mut reader))
            .await
            .context("it accepted the connection but does not answer")??;
        let Frame::HelloAck(ack) = first else { bail!("it answered the greeting with {first:?}") };
        if ack.epoch != self.epoch {
            bail!("it answered for epoch {:016x}", ack.epoch);
        }
        self.export().resume(ack.next_seq);
        self.acked_to = ack.next_seq;
        self.credit.connected();
        self.resources.set_connected(true);
        Ok((stream, reader, RecordChain::resume(self.exit, self.epoch, ack.next_seq, ack.head)))
    }

    /// Returns why the connection ended.
    async fn serve(
        &mut self,
        mut stream: UnixStream,
        mut reader: FrameReader,
        mut chain: RecordChain,
    ) -> anyhow::Error {
        let mut waiting = Waiting::default();
        let mut next_query = 0_u64;
        let mut tick = tokio::time::interval(EXPORT_EVERY);
        let mut out = Vec::new();
        loop {
            tokio::select! {
                frame = read(&mut stream, &mut reader) => match frame {
                    Ok(frame) => self.handle(frame, &mut waiting),
                    Err(error) => return error,
                },
                _ = tick.tick() => {
                    // A reload may have brought a lane of which the sidecar has no news.
                    self.apply_credit();
                    let mut export = self.export();
                    export.collect();
                    for record in &mut export.pending(RECORDS_PER_ROUND) {
                        chain.stamp(record);
                        export.sent(record.tunnel, record.seq);
                        Frame::Record(Box::new(record.clone())).encode_into(&mut out);
                    }
                    drop(export);
                    // After the counters: what they say came from clients is in it.
                    if !out.is_empty()
                        && let Some(Access { up, down, unread_bytes }) = self.kernel.access()
                    {
                        Frame::Access(AccessCount { up, down, unread_bytes }).encode_into(&mut out);
                    }
                }
                Some(job) = self.vouchers.recv() => {
                    waiting.vouchers.retain(|_, answer| !answer.is_closed());
                    if waiting.vouchers.len() < VOUCHERS_MAX {
                        let query = next_query;
                        next_query += 1;
                        waiting.vouchers.insert(query, job.answer);
                        let (signed, up_bytes, down_bytes) =
                            (job.signed, job.up_bytes, job.down_bytes);
                        Frame::Voucher(VoucherOffer { query, signed, up_bytes, down_bytes })
                            .encode_into(&mut out);
                    }
                }
                Some(job) = self.samples.recv() => {
                    waiting.samples.retain(|_, answer| !answer.is_closed());
                    if waiting.samples.len() < SAMPLES_MAX {
                        let query = next_query;
                        next_query += 1;
                        waiting.samples.insert(query, job.answer);
                        let (channel, lane, signed) = (job.channel, job.lane, job.signed);
                        Frame::Sample(SampleOffer { query, channel, lane, signed })
                            .encode_into(&mut out);
                    }
                }
            }
            if let Err(error) = write(&mut stream, &out).await {
                return error;
            }
            out.clear();
        }
    }

    fn handle(&mut self, frame: Frame, waiting: &mut Waiting) {
        match frame {
            Frame::RecordAck { next_seq } if next_seq > self.acked_to => {
                self.acked_to = next_seq;
                self.export().acked(next_seq);
                self.apply_credit();
            }
            // Said again: the news that came before this include those records.
            Frame::RecordAck { next_seq } => {
                self.apply_credit();
                self.credit.news_include(next_seq);
                self.apply_credit();
            }
            Frame::Ask(ask) => self.resources.set_ask(ask),
            Frame::Credit(state) => {
                let acked = self.export().acked_bytes();
                self.credit.learned(state, &acked);
                self.apply_credit();
            }
            Frame::VoucherAck(ack) => {
                if let Some(answer) = waiting.vouchers.remove(&ack.query) {
                    // The payer may have gone; the voucher is on disk all the same.
                    let _ = answer.send(Ok(ack));
                }
            }
            Frame::VoucherRefused(refused) => {
                if let Some(answer) = waiting.vouchers.remove(&refused.query) {
                    let _ = answer.send(Err(refused));
                }
            }
            Frame::Service(notice) => self.resources.set_service(notice.channel, notice.sla),
            Frame::SampleAck(ack) => {
                if let Some(answer) = waiting.samples.remove(&ack.query) {
                    let _ = answer.send(Ok(ack));
                }
            }
            Frame::SampleRefused(refused) => {
                if let Some(answer) = waiting.samples.remove(&refused.query) {
                    let _ = answer.send(Err(refused));
                }
            }
            Frame::Hello(_)
            | Frame::HelloAck(_)
            | Frame::Record(_)
            | Frame::Access(_)
            | Frame::Voucher(_)
            | Frame::Sample(_) => {
                tracing::warn!("the settlement sidecar sent a frame that only the relay sends");
            }
        }
    }

    fn apply_credit(&mut self) {
        let (inherited, now) = (self.export().inherited_unacked(), Instant::now());
        self.credit.inherited(&inherited, self.acked_to, now);
        if self.credit.apply(&self.accounts, now) {
            self.peers.credit_changed();
        }
    }

    fn export(&self) -> std::sync::MutexGuard<'_, Export> {
        self.export.lock().expect("no holder of this lock panics")
    }
}

/// Reads up to the end of the next frame. Safe to be dropped halfway: what was read stays in the
/// reader.
async fn read(stream: &mut UnixStream, reader: &mut FrameReader) -> anyhow::Result<Frame> {
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(frame) = reader.next_frame()? {
            return Ok(frame);
        }
        match stream.read(&mut chunk).await? {
            0 => bail!("it closed the connection"),
            n => reader.push(&chunk[..n]),
        }
    }
}

async fn write(stream: &mut UnixStream, bytes: &[u8]) -> anyhow::Result<()> {
    let written = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await;
    written.context("it does not read what it is sent")??;
    Ok(())
}
