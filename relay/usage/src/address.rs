use std::fmt;
use std::str::FromStr;

use crate::ids::parse_hex;
use crate::{Error, keccak256};

/// An Ethereum address. Displayed with its ERC-55 checksum; parsed from all-lower or all-upper
/// case, or from mixed case with a right checksum.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// The zero address: nobody.
    pub const ZERO: Address = Address([0; 20]);

    /// Whether it is the zero address.
    pub fn is_zero(&self) -> bool {
        *self == Address::ZERO
    }

    /// The 32-byte word that `abi.encode` makes of the address.
    pub(crate) fn word(&self) -> [u8; 32] {
        let mut word = [0; 32];
        word[12..].copy_from_slice(&self.0);
        word
    }
}

impl From<[u8; 20]> for Address {
    fn from(bytes: [u8; 20]) -> Address {
        Address(bytes)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 40];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        let hash = keccak256(&text);
        for (index, digit) in text.iter_mut().enumerate() {
            let shift = if index % 2 == 0 { 4 } else { 0 };
            if (hash.0[index / 2] >> shift) & 8 != 0 {
                digit.make_ascii_uppercase();
            }
        }
        f.write_str("0x")?;
        text.iter().try_for_each(|&digit| fmt::Write::write_char(f, char::from(digit)))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let address =
            parse_hex(text).map(Address).ok_or(Error::BadHex { what: "address", digits: 40 })?;
        let digits = &text[2..];
        let mixed = digits.contains(|c: char| c.is_ascii_lowercase())
            && digits.contains(|c: char| c.is_ascii_uppercase());
        if mixed && address.to_string() != text {
            return Err(Error::BadChecksum { expected: address });
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of ERC-55.
    const ERC55: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn erc55_examples() {
        for text in ERC55 {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(text.to_lowercase().parse(), Ok(address));
        }
    }

    #[test]
    fn a_mistyped_letter_case_is_an_error_that_shows_the_right_one() {
        let wrong = ERC55[4].replace("5aA", "5AA");
        let expected = ERC55[4].parse().unwrap();
        assert_eq!(wrong.parse::<Address>(), Err(Error::BadChecksum { expected }));
        assert!("0x5aAe".parse::<Address>().is_err());
        assert!("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse::<Address>().is_err());
    }
}
