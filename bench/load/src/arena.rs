//! Memory for packets and payloads, cut from pieces that are used again.

use std::collections::VecDeque;

use bytes::BytesMut;

/// What is cut keeps its whole piece alive, so a piece is small; a full train wastes little of it.
const PIECE_BYTES: usize = 64 << 10;
/// Spent pieces that are remembered: what a generator at full rate has under way.
const REMEMBERED_MAX: usize = 512;
/// Remembered pieces that are looked at before a new one is allocated.
const LOOKS: usize = 4;

/// Hands out buffers without an allocation each.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    current: BytesMut,
    spent: VecDeque<BytesMut>,
}

impl Arena {
    /// A buffer with these parts one after the other.
    pub(crate) fn copy(&mut self, parts: [&[u8]; 2]) -> BytesMut {
        let len = parts[0].len() + parts[1].len();
        if self.current.capacity() < len {
            self.renew(len);
        }
        self.current.extend_from_slice(parts[0]);
        self.current.extend_from_slice(parts[1]);
        self.current.split()
    }

    #[cold]
    fn renew(&mut self, len: usize) {
        let want = len.max(PIECE_BYTES);
        self.spent.push_back(std::mem::take(&mut self.current));
        for _ in 0..LOOKS.min(self.spent.len()) {
            let Some(mut piece) = self.spent.pop_front() else { break };
            if piece.try_reclaim(want) {
                self.current = piece;
                return;
            }
            self.spent.push_back(piece);
        }
        self.spent.truncate(REMEMBERED_MAX);
        self.current = BytesMut::with_capacity(want);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_and_pieces_used_again() {
        let mut arena = Arena::default();
        assert_eq!(&arena.copy([b"ab", b"c"])[..], b"abc");
        for _ in 0..10_000 {
            arena.copy([&[1; 8], &[2; 1200]]);
        }
        assert!(arena.spent.len() <= 1, "{} pieces for one buffer at a time", arena.spent.len());
    }
}
