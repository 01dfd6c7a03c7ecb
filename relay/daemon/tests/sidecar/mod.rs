//! The settlement sidecar's end of the socket, without a journal: a test says what it answers.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use weir_usage::{
    ChannelId, CreditState, ExitId, Frame, FrameReader, Funding, HelloAck, RecordChain,
};

use super::lab::PATIENCE;

pub(crate) const EXIT: ExitId = ExitId([0x5e; 32]);
pub(crate) const CHANNEL: ChannelId = ChannelId([0xc4; 32]);
pub(crate) const LANE: u32 = 2;

/// The sidecar's end of one connection.
pub(crate) struct Sidecar {
    stream: UnixStream,
    reader: FrameReader,
}

impl Sidecar {
    /// Accepts and greets; `chain` is what the journal holds so far.
    pub(crate) fn accept(listener: &UnixListener, chain: &mut Option<RecordChain>) -> Sidecar {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut sidecar = Sidecar { stream, reader: FrameReader::new() };
        let Frame::Hello(hello) = sidecar.next() else { panic!("the relay did not greet") };
        assert_eq!(hello.exit, EXIT);
        let chain = chain.get_or_insert_with(|| RecordChain::new(EXIT, hello.epoch));
        let (epoch, next_seq, head) = (hello.epoch, chain.next_seq(), chain.head());
        sidecar.send(&Frame::HelloAck(HelloAck { epoch, next_seq, head }));
        sidecar
    }

    pub(crate) fn next(&mut self) -> Frame {
        let mut chunk = [0; 4_096];
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return frame;
            }
            let n = self.stream.read(&mut chunk).expect("a frame");
            assert!(n > 0, "the relay closed the connection");
            self.reader.push(&chunk[..n]);
        }
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        self.stream.write_all(&frame.encode()).unwrap();
    }

    pub(crate) fn credit(&mut self, used_bytes: u64, paid_bytes: u64) {
        let (channel, lane, funding) = (CHANNEL, LANE, Funding::Funded);
        self.send(&Frame::Credit(CreditState { channel, lane, used_bytes, paid_bytes, funding }));
    }
}
