//! Hexadecimal, for certificate pins and keys.

/// Exactly `2 * N` digits of either case; an optional `0x` in front.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Lower-case digits without a prefix.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_exactly_n_bytes() {
        assert_eq!(decode_array::<2>("0xaB01"), Some([0xab, 1]));
        assert_eq!(decode_array::<2>("ab01"), Some([0xab, 1]));
        for bad in ["", "ab", "ab0", "ab012", "ab0123", "zz00", "+1+1"] {
            assert_eq!(decode_array::<2>(bad), None, "{bad:?}");
        }
        assert_eq!(encode(&[0xab, 1]), "ab01");
    }
}
