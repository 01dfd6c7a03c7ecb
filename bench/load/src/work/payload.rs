//! What a datagram carries, and whether it came back as it was.

use crate::spec;

/// Tunnel, sequence number and due time.
pub(crate) const HEADER_BYTES: usize = 16;

/// Sizes of a datagram after the other: 7 x 64, 4 x 576 and 1 x 1200 bytes, mixed.
const IMIX: [u16; 12] = [64, 576, 64, 64, 576, 64, 1200, 64, 576, 64, 576, 64];

/// Bodies differ by where in the pattern they begin.
const OFFSETS: usize = 256;

/// The head of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The place of the tunnel in its lane.
    pub(crate) tunnel: u32,
    pub(crate) sequence: u32,
    /// Nanoseconds since the run's epoch.
    pub(crate) due_ns: u64,
}

/// Writes payloads and recognises them.
#[derive(Debug)]
pub(crate) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    /// For payloads of at most `max` bytes.
    pub(crate) fn new(seed: u64, max: usize) -> Pattern {
        let mut state = seed;
        let mut next = || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) as u8
        };
        Pattern { bytes: (0..max + OFFSETS).map(|_| next()).collect() }
    }

    /// Replaces `out` by a payload of `len` bytes.
    pub(crate) fn write(&self, header: Header, len: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&header.tunnel.to_be_bytes());
        out.extend_from_slice(&header.sequence.to_be_bytes());
        out.extend_from_slice(&header.due_ns.to_be_bytes());
        out.extend_from_slice(self.body(header, len));
    }

    /// The head of a payload, if its body is the one that belongs to it.
    pub(crate) fn read(&self, payload: &[u8]) -> Option<Header> {
        let (tunnel, rest) = payload.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (due_ns, body) = rest.split_first_chunk()?;
        let header = Header {
            tunnel: u32::from_be_bytes(*tunnel),
            sequence: u32::from_be_bytes(*sequence),
            due_ns: u64::from_be_bytes(*due_ns),
        };
        let known = payload.len() <= self.bytes.len() - OFFSETS;
        (known && body == self.body(header, payload.len())).then_some(header)
    }

    fn body(&self, header: Header, len: usize) -> &[u8] {
        let offset = (header.sequence ^ header.tunnel.wrapping_mul(31)) as usize % OFFSETS;
        &self.bytes[offset..offset + len - HEADER_BYTES]
    }
}

/// The sizes of payloads, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    payload: spec::Payload,
    next: usize,
}

impl Sizes {
    pub(crate) fn new(payload: spec::Payload) -> Sizes {
        Sizes { payload, next: 0 }
    }

    pub(crate) fn max(&self) -> usize {
        match self.payload {
            spec::Payload::Bytes(bytes) => bytes.into(),
            spec::Payload::Imix => 1200,
        }
    }

    pub(crate) fn next(&mut self) -> u16 {
        match self.payload {
            spec::Payload::Bytes(bytes) => bytes,
            spec::Payload::Imix => {
                let size = IMIX[self.next];
                self.next = (self.next + 1) % IMIX.len();
                size
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let pattern = Pattern::new(7, 100);
        let header = Header { tunnel: 3, sequence: 99, due_ns: 12_345 };
        let mut payload = Vec::new();
        pattern.write(header, 100, &mut payload);
        assert_eq!(payload.len(), 100);
        assert_eq!(pattern.read(&payload), Some(header));
        for place in 0..100 {
            payload[place] ^= 1;
            assert_ne!(pattern.read(&payload), Some(header), "byte {place}");
            payload[place] ^= 1;
        }
        assert_eq!(pattern.read(&payload[..15]), None);
        assert_eq!(pattern.read(&[0; 101]), None);
    }

    #[test]
    fn imix_is_seven_four_one() {
        let mut sizes = Sizes::new(spec::Payload::Imix);
        let all: Vec<u16> = (0..12).map(|_| sizes.next()).collect();
        let count = |size| all.iter().filter(|&&other| other == size).count();
        assert_eq!((count(64), count(576), count(1200)), (7, 4, 1));
    }
}
