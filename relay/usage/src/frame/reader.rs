use crate::{Error, Frame, MAX_FRAME_BYTES};

const PREFIX_BYTES: usize = 4;
/// Version and kind.
const HEADER_BYTES: usize = 2;

/// Cuts a byte stream into frames.
///
/// Push what was read from the socket, then call [`FrameReader::next_frame`] until it returns
/// `None`. It then holds less than one frame, [`MAX_FRAME_BYTES`] + 4 at most.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// Appends bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// After [`Error::FrameLength`] the stream is lost and every call fails alike: close the
    /// connection. After any other error the bad frame is skipped and the next call goes on behind
    /// it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let unread = &self.buffer[self.start..];
        let Some((prefix, rest)) = unread.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix);
        let bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| (HEADER_BYTES..=MAX_FRAME_BYTES).contains(bytes))
            .ok_or(Error::FrameLength { length, max: MAX_FRAME_BYTES })?;
        let Some(frame) = rest.get(..bytes) else {
            return Ok(None);
        };
        self.start += PREFIX_BYTES + bytes;
        Frame::decode(frame).map(Some)
    }

    /// Bytes that are pushed and not yet part of a returned frame.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }
}
