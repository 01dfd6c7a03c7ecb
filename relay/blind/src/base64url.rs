//! base64url (RFC 4648 section 5), as RFC 9577 section 2 wants it: with padding when written, with
//! or without when read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_PAD_INDIFFERENT;

/// Writes bytes as base64url with padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_PAD_INDIFFERENT.encode(bytes)
}

/// Reads base64url. `None` for a foreign character, too much padding, or bits that are left over
/// and not zero: one value has one text (but for its padding).
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_PAD_INDIFFERENT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
            assert_eq!(decode(text.trim_end_matches('=')).unwrap(), bytes.as_bytes());
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8=");
        for wrong in ["Z", "Zg===", "Zh==", "Zm9v=", "+/8=", "Zm 8", "===="] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn nothing_panics(text: String) {
            let _ = decode(&text);
        }
    }
}
