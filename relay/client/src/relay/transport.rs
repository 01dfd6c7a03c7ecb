//! h3's QUIC traits over h3-quinn, with one difference: the opener can be told to send a header
//! section of ours in place of h3's (see [`head`](super::head)).

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    SendStreamUnframed, StreamErrorIncoming, StreamId, WriteBuf,
};

use crate::meter::MeteredBytes;

tokio::task_local! {
    /// Set around `SendRequest::send_request` for a classic CONNECT: the whole HEADERS frame. A
    /// task-local, since h3 passes nothing from the caller through to the opener.
    pub(super) static CONNECT_FRAME: Bytes;
}

type InnerSend = h3_quinn::SendStream<MeteredBytes>;
type InnerBidi = h3_quinn::BidiStream<MeteredBytes>;

/// The connection that h3 drives.
pub(super) struct Transport(pub(super) h3_quinn::Connection);

/// Opens request streams.
#[derive(Clone)]
pub(crate) struct Opener(h3_quinn::OpenStreams);

/// A request stream whose first frame may be replaced.
pub(crate) struct Bidi {
    send: Send,
    recv: h3_quinn::RecvStream,
}

/// The sending half of a stream.
pub(crate) struct Send {
    inner: InnerSend,
    /// Goes out in place of the first frame that h3 sends.
    replacement: Option<Bytes>,
    /// What is left of it to write.
    writing: Bytes,
}

impl Send {
    fn new(inner: InnerSend) -> Send {
        Send { inner, replacement: None, writing: Bytes::new() }
    }
}

fn wrap(inner: InnerBidi) -> Bidi {
    let (send, recv) = BidiStream::<MeteredBytes>::split(inner);
    Bidi { send: Send::new(send), recv }
}

impl OpenStreams<MeteredBytes> for Opener {
    type BidiStream = Bidi;
    type SendStream = Send;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi, StreamErrorIncoming>> {
        let mut bidi = wrap(ready!(OpenStreams::<MeteredBytes>::poll_open_bidi(&mut self.0, cx))?);
        bidi.send.replacement = CONNECT_FRAME.try_with(Bytes::clone).ok();
        Poll::Ready(Ok(bidi))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Send, StreamErrorIncoming>> {
        let send = ready!(OpenStreams::<MeteredBytes>::poll_open_send(&mut self.0, cx))?;
        Poll::Ready(Ok(Send::new(send)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        OpenStreams::<MeteredBytes>::close(&mut self.0, code, reason);
    }
}

impl OpenStreams<MeteredBytes> for Transport {
    type BidiStream = Bidi;
    type SendStream = Send;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi, StreamErrorIncoming>> {
        let bidi = ready!(OpenStreams::<MeteredBytes>::poll_open_bidi(&mut self.0, cx))?;
        Poll::Ready(Ok(wrap(bidi)))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Send, StreamErrorIncoming>> {
        let send = ready!(OpenStreams::<MeteredBytes>::poll_open_send(&mut self.0, cx))?;
        Poll::Ready(Ok(Send::new(send)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        OpenStreams::<MeteredBytes>::close(&mut self.0, code, reason);
    }
}

impl Connection<MeteredBytes> for Transport {
    type RecvStream = h3_quinn::RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        Connection::<MeteredBytes>::poll_accept_recv(&mut self.0, cx)
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi, ConnectionErrorIncoming>> {
        let bidi = ready!(Connection::<MeteredBytes>::poll_accept_bidi(&mut self.0, cx))?;
        Poll::Ready(Ok(wrap(bidi)))
    }

    fn opener(&self) -> Opener {
        Opener(Connection::<MeteredBytes>::opener(&self.0))
    }
}

impl SendStream<MeteredBytes> for Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while self.writing.has_remaining() {
            ready!(self.inner.poll_send(cx, &mut self.writing))?;
        }
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<MeteredBytes>>>(
        &mut self,
        data: T,
    ) -> Result<(), StreamErrorIncoming> {
        match self.replacement.take() {
            Some(frame) => {
                self.writing = frame;
                Ok(())
            }
            None => self.inner.send_data(data),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.inner.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

impl SendStream<MeteredBytes> for Bidi {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<MeteredBytes>>>(
        &mut self,
        data: T,
    ) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl RecvStream for Bidi {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl BidiStream<MeteredBytes> for Bidi {
    type SendStream = Send;
    type RecvStream = h3_quinn::RecvStream;

    fn split(self) -> (Send, h3_quinn::RecvStream) {
        (self.send, self.recv)
    }
}
