//! Deterministic payload: any byte of any stream can be computed from its seed and offset, so that
//! a receiver can check all of it without having seen the sender.

/// SplitMix64 (Steele, Lea and Flood 2014) of a position: well mixed and random-access.
fn word(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills `out` with the bytes of stream `seed` from `offset` on.
pub fn fill(seed: u64, offset: u64, out: &mut [u8]) {
    let mut at = offset;
    let mut rest = out;
    while !rest.is_empty() {
        let bytes = word(seed, at / 8).to_le_bytes();
        let from = (at % 8) as usize;
        let count = (8 - from).min(rest.len());
        rest[..count].copy_from_slice(&bytes[from..from + count]);
        rest = &mut rest[count..];
        at += count as u64;
    }
}

/// Where `data` first differs from stream `seed` at `offset`; `None` if it does not.
pub fn mismatch(seed: u64, offset: u64, data: &[u8]) -> Option<u64> {
    let mut expected = [0; 4096];
    for (index, chunk) in data.chunks(expected.len()).enumerate() {
        let start = offset + (index * expected.len()) as u64;
        let expected = &mut expected[..chunk.len()];
        fill(seed, start, expected);
        if let Some(at) = chunk.iter().zip(&*expected).position(|(a, b)| a != b) {
            return Some(start + at as u64);
        }
    }
    None
}

/// A number derived from a seed, for choosing sizes.
pub fn choose(seed: u64, index: u64, bound: u64) -> u64 {
    // The modulo's bias is far below what any test here looks at.
    word(!seed, index) % bound.max(1)
}

/// The SHA-256 of everything passed to it, in hexadecimal.
pub struct Hash(ring::digest::Context);

impl Default for Hash {
    fn default() -> Hash {
        Hash(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl Hash {
    /// Takes more data.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest, 64 digits.
    pub fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_piece_of_a_stream_is_the_same(seed: u64, start in 0u64..10_000, size in 0usize..9000, flip in 0usize..9000) {
            let mut whole = vec![0; start as usize + size];
            fill(seed, 0, &mut whole);
            let mut piece = vec![0; size];
            fill(seed, start, &mut piece);
            prop_assert_eq!(&whole[start as usize..], &piece[..]);
            prop_assert_eq!(mismatch(seed, start, &piece), None);
            if flip < size {
                piece[flip] ^= 0x10;
                prop_assert_eq!(mismatch(seed, start, &piece), Some(start + flip as u64));
            }
        }
    }

    #[test]
    fn sha256_of_abc() {
        let mut hash = Hash::default();
        hash.update(b"abc");
        let digest = hash.finish();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
