//! Capsules on a CONNECT-UDP stream (RFC 9297 section 3). A relay may send UDP payloads in DATAGRAM
//! capsules; everything else is skipped.

use bytes::{Buf, Bytes, BytesMut};

use super::datagram::get_varint;

/// Capsule type DATAGRAM (RFC 9297 section 3.5).
const DATAGRAM: u64 = 0;

/// The largest UDP payload plus a Context ID of any encoded length.
const DATAGRAM_BYTES_MAX: u64 = 65_527 + 8;

/// Reassembles capsules from stream data; holds at most one DATAGRAM capsule.
#[derive(Debug, Default)]
pub(crate) struct CapsuleReader {
    partial: BytesMut,
    /// Bytes of the current capsule that are of no interest.
    skip: u64,
}

impl CapsuleReader {
    /// Takes the next bytes of the stream and calls `datagram` with each UDP payload that they
    /// complete.
    pub(crate) fn push(&mut self, mut data: impl Buf, mut datagram: impl FnMut(Bytes)) {
        while data.has_remaining() {
            if self.skip > 0 {
                let skipped =
                    usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.remaining());
                data.advance(skipped);
                self.skip -= skipped as u64;
                continue;
            }
            // Byte by byte through the header, which is at most 16 bytes long; then in one go.
            self.partial.extend_from_slice(&[data.get_u8()]);
            let mut header = &self.partial[..];
            let (Some(kind), Some(length)) = (get_varint(&mut header), get_varint(&mut header))
            else {
                continue;
            };
            let header_len = self.partial.len() - header.len();
            if kind != DATAGRAM || length > DATAGRAM_BYTES_MAX {
                // The header was completed by this very byte, so nothing of the value is in yet.
                self.skip = length;
                self.partial.clear();
                continue;
            }
            let missing = length as usize - header.len();
            let taken = missing.min(data.remaining());
            let start = self.partial.len();
            self.partial.resize(start + taken, 0);
            data.copy_to_slice(&mut self.partial[start..]);
            if taken == missing {
                let mut payload = std::mem::take(&mut self.partial).freeze();
                payload.advance(header_len);
                if get_varint(&mut payload) == Some(0) {
                    datagram(payload);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::put_varint;
    use super::*;
    use proptest::prelude::*;

    fn capsule(kind: u64, value: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_varint(&mut out, kind);
        put_varint(&mut out, value.len() as u64);
        out.extend_from_slice(value);
        out.to_vec()
    }

    fn read(chunks: &[&[u8]]) -> Vec<Bytes> {
        let mut reader = CapsuleReader::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            reader.push(*chunk, |payload| seen.push(payload));
        }
        seen
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_datagrams(
            values in proptest::collection::vec((0u64..3, proptest::collection::vec(any::<u8>(), 0..200)), 0..8),
            split in 1usize..50,
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (kind, value) in &values {
                let mut body = vec![0];
                body.extend_from_slice(value);
                stream.extend(capsule(*kind, &body));
                if *kind == DATAGRAM {
                    expected.push(Bytes::copy_from_slice(value));
                }
            }
            let chunks: Vec<_> = stream.chunks(split).collect();
            prop_assert_eq!(read(&chunks), expected);
        }

        #[test]
        fn garbage_never_panics_or_piles_up(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = CapsuleReader::default();
            for chunk in data.chunks(7) {
                reader.push(chunk, |_| ());
                prop_assert!(reader.partial.len() as u64 <= DATAGRAM_BYTES_MAX + 16);
            }
        }
    }

    #[test]
    fn an_absurd_length_is_skipped_without_buffering() {
        let mut absurd = BytesMut::new();
        put_varint(&mut absurd, DATAGRAM);
        put_varint(&mut absurd, 1 << 40);
        let mut reader = CapsuleReader::default();
        reader.push(&absurd[..], |_| panic!("not a datagram"));
        reader.push(&vec![0; 100_000][..], |_| panic!("not a datagram"));
        assert_eq!((reader.partial.len(), reader.skip), (0, (1 << 40) - 100_000));
    }
}
