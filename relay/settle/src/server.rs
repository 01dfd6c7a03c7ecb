//! The relay's socket: usage records and vouchers in, acks, asks and credit out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, info, warn};
use weir_usage::{Ask, CreditState, ExitId, Frame, FrameReader, Hello};

use crate::book::LaneKey;
use crate::clerk::{ClerkHandle, Peer, View};

mod socket;

pub use socket::bind;

/// Relays at the same time: a host has one, two while one hands over, and each may reconnect
/// before its old connection is noticed to be gone.
const CONNECTIONS_MAX: usize = 64;
/// A connection that says nothing for that long after it was made is not a relay.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// One read from the socket.
const READ_BYTES: usize = 64 * 1024;
/// A relay that can't be written to for that long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Figures of the socket, for `/metrics`.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections open.
    pub open: AtomicU64,
    /// Connections closed because of what the peer sent.
    pub misbehaved: AtomicU64,
    /// Frames read.
    pub frames: AtomicU64,
}

/// Accepts relays until `stop`.
pub async fn serve(
    listener: UnixListener,
    exit: ExitId,
    clerk: ClerkHandle,
    counters: Arc<ServerCounters>,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Acquire first: past the limit, new relays wait in the socket's backlog.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    // Out of descriptors, for example: others must close first.
                    warn!("can't accept a relay: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = crate::stopped(&mut stop) => return,
        };
        counters.connections.fetch_add(1, Ordering::Relaxed);
        counters.open.fetch_add(1, Ordering::Relaxed);
        let (clerk, counters, mut stop) = (clerk.clone(), Arc::clone(&counters), stop.clone());
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = connection(stream, exit, clerk, &counters) => outcome,
                () = crate::stopped(&mut stop) => Ok(()),
            };
            match outcome {
                Ok(()) => debug!("relay disconnected"),
                Err(reason) => {
                    counters.misbehaved.fetch_add(1, Ordering::Relaxed);
                    warn!(reason, "relay's connection closed");
                }
            }
            counters.open.fetch_sub(1, Ordering::Relaxed);
            drop(slot);
        });
    }
}

/// Removes a socket file at shutdown. That it is gone already is fine.
pub fn remove(path: &Path) {
    if let Err(e) = std::fs::remove_file(path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        warn!("can't remove {}: {e}", path.display());
    }
}

/// `Err` is why the sidecar hung up on the relay.
async fn connection(
    stream: UnixStream,
    exit: ExitId,
    clerk: ClerkHandle,
    counters: &ServerCounters,
) -> Result<(), String> {
    let (input, output) = stream.into_split();
    let mut input =
        Input { stream: input, frames: FrameReader::new(), buffer: vec![0; READ_BYTES] };
    let first = tokio::time::timeout(HELLO_TIMEOUT, input.next())
        .await
        .map_err(|_| "no hello".to_string())??;
    let hello = match first {
        None => return Ok(()),
        Some(Frame::Hello(hello)) => hello,
        Some(other) => return Err(format!("expected hello, got {}", name(&other))),
    };
    greet(&hello, exit)?;
    info!(epoch = format!("{:016x}", hello.epoch), "relay connected");
    let (peer, queue, mut cut) = Peer::new();
    let ack = clerk.hello(hello.epoch, &peer).await.map_err(|e| e.to_string())?;
    peer.send(Frame::HelloAck(ack));
    let views = clerk.views();
    tokio::select! {
        outcome = read(input, &hello, &clerk, &peer, counters) => outcome,
        outcome = write(output, queue, views, hello.epoch) => outcome,
        reason = cut.wait_for(Option::is_some) => {
            Err(reason.ok().and_then(|r| r.clone()).unwrap_or_default())
        }
    }
}

fn greet(hello: &Hello, exit: ExitId) -> Result<(), String> {
    if hello.exit != exit {
        return Err(format!("the relay is of exit {}, this sidecar of {exit}", hello.exit));
    }
    Ok(())
}

async fn read(
    mut input: Input,
    hello: &Hello,
    clerk: &ClerkHandle,
    peer: &Peer,
    counters: &ServerCounters,
) -> Result<(), String> {
    while let Some(frame) = input.next().await? {
        counters.frames.fetch_add(1, Ordering::Relaxed);
        let sent = match frame {
            Frame::Record(record) if record.exit == hello.exit && record.epoch == hello.epoch => {
                clerk.record(record, peer).await
            }
            Frame::Record(record) => {
                return Err(format!(
                    "a record of epoch {:016x} on the connection of {:016x}",
                    record.epoch, hello.epoch
                ));
            }
            Frame::Access(seen) => clerk.access(hello.epoch, seen, peer).await,
            Frame::Voucher(offer) => clerk.voucher(offer, peer).await,
            Frame::Sample(offer) => clerk.sample(offer, peer).await,
            other => return Err(format!("unexpected {}", name(&other))),
        };
        sent.map_err(|e| e.to_string())?;
    }
    Ok(())
}

async fn write(
    mut output: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Frame>,
    mut views: watch::Receiver<Arc<View>>,
    epoch: u64,
) -> Result<(), String> {
    let mut told = Told::default();
    let mut bytes = Vec::new();
    // The hello's ack is first in the queue, before any ask.
    let mut greeted = false;
    views.mark_changed();
    loop {
        bytes.clear();
        tokio::select! {
            biased;
            frame = queue.recv() => {
                let Some(frame) = frame else { return Ok(()) };
                frame.encode_into(&mut bytes);
                while let Ok(frame) = queue.try_recv() {
                    frame.encode_into(&mut bytes);
                }
                greeted = true;
            }
            changed = views.changed(), if greeted => {
                if changed.is_err() {
                    return Ok(());
                }
                let view = Arc::clone(&views.borrow_and_update());
                // Acks first: a relay subtracts what was acked from what a lane has used.
                while let Ok(frame) = queue.try_recv() {
                    frame.encode_into(&mut bytes);
                }
                told.tell(&view, epoch, &mut bytes);
            }
        }
        if bytes.is_empty() {
            continue;
        }
        tokio::time::timeout(WRITE_TIMEOUT, output.write_all(&bytes))
            .await
            .map_err(|_| "the relay doesn't read".to_string())?
            .map_err(|e| format!("can't write to the relay: {e}"))?;
    }
}

/// What this relay was told last, so that only news is sent.
#[derive(Default)]
struct Told {
    services: bool,
    lanes: BTreeMap<LaneKey, (Ask, CreditState)>,
    /// How far the news went, as the relay was told.
    next_seq: Option<u64>,
}

impl Told {
    fn tell(&mut self, view: &View, epoch: u64, bytes: &mut Vec<u8>) {
        // Configured once, so told once.
        if !std::mem::replace(&mut self.services, true) {
            for notice in &view.services {
                Frame::Service(*notice).encode_into(bytes);
            }
        }
        for (key, lane) in &view.lanes {
            let Some(ask) = lane.ask else { continue };
            let before = self.lanes.insert(*key, (ask, lane.credit));
            if before.is_none_or(|(_, credit)| credit != lane.credit) {
                Frame::Credit(lane.credit).encode_into(bytes);
            }
            if before.is_none_or(|(told, _)| told != ask) {
                Frame::Ask(ask).encode_into(bytes);
            }
        }
        let next_seq = view.streams.get(&epoch).copied().unwrap_or(0);
        if self.next_seq.replace(next_seq) != Some(next_seq) {
            Frame::RecordAck { next_seq }.encode_into(bytes);
        }
    }
}

struct Input {
    stream: OwnedReadHalf,
    frames: FrameReader,
    buffer: Vec<u8>,
}

impl Input {
    /// The next frame, or `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(e) => return Err(format!("malformed frame: {e}")),
            }
            let count = match self.stream.read(&mut self.buffer).await {
                Ok(count) => count,
                // A relay that was killed: as good as the end.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => 0,
                Err(e) => return Err(format!("can't read: {e}")),
            };
            if count == 0 {
                return match self.frames.buffered_bytes() {
                    0 => Ok(None),
                    left => Err(format!("the connection ended inside a frame, {left} bytes in")),
                };
            }
            self.frames.push(&self.buffer[..count]);
        }
    }
}

fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "hello",
        Frame::HelloAck(_) => "hello ack",
        Frame::Record(_) => "record",
        Frame::Access(_) => "access",
        Frame::RecordAck { .. } => "record ack",
        Frame::Ask(_) => "ask",
        Frame::Voucher(_) => "voucher",
        Frame::VoucherAck(_) => "voucher ack",
        Frame::VoucherRefused(_) => "voucher refusal",
        Frame::Credit(_) => "credit",
        Frame::Service(_) => "service",
        Frame::Sample(_) => "sample",
        Frame::SampleAck(_) => "sample ack",
        Frame::SampleRefused(_) => "sample refusal",
    }
}
