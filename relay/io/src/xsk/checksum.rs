//! The Internet checksum (RFC 1071).

/// A sum of 16-bit words in one's complement, not folded yet. Words are added in memory order, so
/// the folded result is in network order when its native bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even offset of what is summed.
    #[inline]
    pub(super) fn bytes(self, bytes: &[u8]) -> Sum {
        // Four bytes at a time into 64 bits: 2^32 of them fit before a carry could be lost, and
        // the compiler adds several in one instruction.
        let (blocks, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = blocks.iter().map(|block| u64::from(u32::from_ne_bytes(*block))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
        self.plus(Sum(sum))
    }

    /// Adds a number in host order.
    #[inline]
    pub(super) fn word(self, word: u16) -> Sum {
        self.plus(Sum(u64::from(word.to_be())))
    }

    #[inline]
    pub(super) fn plus(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Sum(sum + u64::from(carry))
    }

    /// The sum as 16 bits in network order.
    #[inline]
    pub(super) fn fold(self) -> [u8; 2] {
        let mut sum = (self.0 & 0xFFFF_FFFF) + (self.0 >> 32);
        sum = (sum & 0xFFFF) + (sum >> 16);
        sum = (sum & 0xFFFF) + (sum >> 16);
        sum = (sum & 0xFFFF) + (sum >> 16);
        (sum as u16).to_ne_bytes()
    }

    /// The complement, which is what a header carries.
    #[inline]
    pub(super) fn checksum(self) -> [u8; 2] {
        let [a, b] = self.fold();
        [!a, !b]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, section 4.1, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).fold(), [0xdd, 0xf2]);
        assert_eq!(Sum::default().bytes(&bytes).checksum(), [!0xdd, !0xf2]);
    }

    proptest! {
        #[test]
        fn the_wide_sum_is_the_plain_one(
            even in proptest::collection::vec(any::<u8>(), 0..40).prop_map(|mut v| {
                v.truncate(v.len() & !1);
                v
            }),
            bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
            word in any::<u16>(),
        ) {
            let sum = Sum::default().bytes(&even).bytes(&bytes).word(word);
            let mut all = even;
            all.extend_from_slice(&word.to_be_bytes());
            all.extend_from_slice(&bytes);
            prop_assert_eq!(u16::from_be_bytes(sum.fold()), plain(&all));
        }
    }
}
