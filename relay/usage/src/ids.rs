//! 32-byte names that must not be mixed up, written as `0x` and 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use crate::Error;

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// All zero: "none".
            pub const ZERO: $name = $name([0; 32]);

            /// Whether it is all zero.
            pub fn is_zero(&self) -> bool {
                *self == $name::ZERO
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> $name {
                $name(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name, Error> {
                parse_hex(text).map($name).ok_or(Error::BadHex { what: $what, digits: 64 })
            }
        }
    };
}

bytes32!(
    /// A payer's escrow with one exit: [`crate::ChannelTerms::id`]. Zero in a usage record means
    /// that nobody is billed.
    ChannelId,
    "channel"
);
bytes32!(
    /// A stake of an operator: [`crate::bond::StakeTerms::id`].
    StakeId,
    "stake"
);
bytes32!(
    /// A service-level agreement: [`crate::bond::SlaTerms::id`], which is also what both sides
    /// sign.
    SlaId,
    "agreement"
);
bytes32!(
    /// A Keccak-256 hash.
    Digest,
    "hash"
);
bytes32!(
    /// Names an exit in usage records; chosen by the operator, the same over restarts.
    ExitId,
    "exit id"
);

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// `0x` and exactly `2 * N` hexadecimal digits of either case.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_forms() {
        let id: ChannelId = format!("0x{}", "Ab".repeat(32)).parse().unwrap();
        assert_eq!(id, ChannelId([0xab; 32]));
        assert_eq!(id.to_string(), format!("0x{}", "ab".repeat(32)));
        for bad in ["", "0x", "0xab", &"ab".repeat(33), &format!("0x{}", "+1".repeat(32))] {
            assert_eq!(
                bad.parse::<ChannelId>(),
                Err(Error::BadHex { what: "channel", digits: 64 }),
                "{bad:?}"
            );
        }
    }
}
