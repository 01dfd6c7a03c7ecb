//! The relay's end of the socket.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use weir_usage::{
    Ask, ChannelId, Frame, FrameReader, Hello, HelloAck, RecordChain, UsageRecord, VoucherOffer,
};

use super::EXIT;

const PATIENCE: Duration = Duration::from_secs(20);

/// A relay that talks to a sidecar.
pub(crate) struct Relay {
    stream: UnixStream,
    frames: FrameReader,
    pub(crate) chain: RecordChain,
    pub(crate) hello: HelloAck,
}

impl Relay {
    /// Connects and goes on where the sidecar's journal ends.
    pub(crate) async fn connect(path: &Path, epoch: u64) -> Relay {
        Self::try_connect(path, epoch).await.expect("the sidecar greets")
    }

    pub(crate) async fn try_connect(path: &Path, epoch: u64) -> Option<Relay> {
        let stream = UnixStream::connect(path).await.ok()?;
        let chain = RecordChain::new(EXIT, epoch);
        let hello = HelloAck { epoch, next_seq: 0, head: chain.head() };
        let mut relay = Relay { stream, frames: FrameReader::new(), chain, hello };
        relay.try_send(&Frame::Hello(Hello { exit: EXIT, epoch })).await?;
        match relay.try_next().await? {
            Frame::HelloAck(ack) => {
                relay.hello = ack;
                relay.chain = RecordChain::resume(EXIT, epoch, ack.next_seq, ack.head);
                Some(relay)
            }
            other => panic!("expected a hello ack, got {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.try_send(frame).await.expect("the sidecar reads");
    }

    pub(crate) async fn try_send(&mut self, frame: &Frame) -> Option<()> {
        self.send_bytes(&frame.encode()).await
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    /// Reports a tunnel and waits for the ack.
    pub(crate) async fn report(&mut self, mut record: UsageRecord) {
        self.chain.stamp(&mut record);
        self.send(&Frame::Record(Box::new(record))).await;
        self.acked().await;
    }

    /// Waits until everything stamped is acked.
    pub(crate) async fn acked(&mut self) {
        let expected = self.chain.next_seq();
        self.until(|f| matches!(f, Frame::RecordAck { next_seq } if *next_seq == expected)).await;
    }

    /// Waits for an ask for this many bytes.
    pub(crate) async fn ask(&mut self, channel: ChannelId, lane: u32, bytes: u64) -> Ask {
        let wanted = |f: &Frame| {
            matches!(f, Frame::Ask(a) if a.channel == channel && a.lane == lane
                && a.up_bytes + a.down_bytes == bytes)
        };
        match self.until(wanted).await {
            Frame::Ask(ask) => ask,
            _ => unreachable!(),
        }
    }

    /// Offers a voucher and waits for the answer.
    pub(crate) async fn offer(&mut self, offer: VoucherOffer) -> Frame {
        self.send(&Frame::Voucher(offer)).await;
        self.until(|f| matches!(f, Frame::VoucherAck(_) | Frame::VoucherRefused(_))).await
    }

    /// The next frame that is wanted; others are skipped.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.try_next().await.expect("the sidecar hung up");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// The next frame, or `None` once the sidecar hung up.
    pub(crate) async fn try_next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next_frame().expect("frames of the sidecar are sound")
            {
                return Some(frame);
            }
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            match read.expect("the sidecar is silent") {
                Ok(count) if count > 0 => self.frames.push(&buffer[..count]),
                _ => return None,
            }
        }
    }
}
