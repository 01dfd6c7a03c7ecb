//! Memory for payload on its way through the engine.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Payload is cut from pieces of this size. A slice keeps its whole piece alive, so this also says
/// how much more than its own length a queued datagram can hold: small enough to be harmless, and
/// large enough that a train of full packets wastes little of it.
const CHUNK_BYTES: usize = 32 << 10;

/// Pieces remembered for another use: what a worker at full rate has under way in a turn.
const REMEMBERED_MAX: usize = 256;

/// How many spent pieces are looked at when one is wanted.
const LOOKS: usize = 4;

/// Hands out buffers cut from pieces that are used again when all slices of them are gone: after
/// warm-up no datagram costs an allocation.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    current: BytesMut,
    /// Pieces with slices in use when they were last looked at, in the order they were filled.
    spent: VecDeque<BytesMut>,
    /// Pieces without slices. The last one in is the first one out: it is still in the cache.
    free: Vec<BytesMut>,
}

impl Chunks {
    /// An empty buffer with room for at least `len` bytes. Give what is written to
    /// [`Chunks::cut`]; nothing is lost if it isn't.
    pub(crate) fn take(&mut self, len: usize) -> &mut BytesMut {
        debug_assert!(self.current.is_empty());
        if self.current.capacity() < len {
            self.renew(len);
        }
        &mut self.current
    }

    /// Everything written since [`Chunks::take`], as a buffer of its own.
    pub(crate) fn cut(&mut self) -> BytesMut {
        self.current.split()
    }

    /// A copy of `data` in a buffer of its own.
    pub(crate) fn copy(&mut self, data: &[u8]) -> BytesMut {
        self.take(data.len()).extend_from_slice(data);
        self.cut()
    }

    #[cold]
    fn renew(&mut self, len: usize) {
        let want = len.max(CHUNK_BYTES);
        let filled = std::mem::take(&mut self.current);
        if filled.capacity() > 0 || !filled.is_empty() {
            self.spent.push_back(filled);
        }
        for _ in 0..LOOKS.min(self.spent.len()) {
            let Some(mut piece) = self.spent.pop_front() else { break };
            if piece.try_reclaim(CHUNK_BYTES) {
                self.free.push(piece);
            } else {
                self.spent.push_back(piece);
            }
        }
        while self.spent.len() + self.free.len() > REMEMBERED_MAX {
            // Whoever holds slices of it keeps it alive.
            if self.spent.pop_front().is_none() {
                self.free.pop();
            }
        }
        self.current = match self.free.pop() {
            Some(piece) if piece.capacity() >= want => piece,
            _ => BytesMut::with_capacity(want),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_pieces_again() {
        let mut chunks = Chunks::default();
        let mut starts = std::collections::HashSet::new();
        for round in 0..1000u32 {
            let data = [round as u8; 1200];
            let copy = chunks.copy(&data).freeze();
            assert_eq!(copy, &data[..]);
            starts.insert(copy.as_ptr() as usize);
        }
        assert!(starts.len() <= 3 * CHUNK_BYTES / 1200, "{} addresses", starts.len());
    }
}
