//! TokenChallenge (RFC 9577 section 2.1).

use crate::{Error, TOKEN_TYPE, sha256};

/// What a token is asked for: by whom it may be issued, and for what it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenChallenge {
    /// Host name of the issuer, 1 to 65535 bytes.
    pub issuer_name: String,
    /// What the token is bound to besides the origin.
    pub redemption_context: Option<[u8; 32]>,
    /// Names of the origins at which it may be spent, joined with commas; empty for any.
    pub origin_info: String,
}

impl TokenChallenge {
    /// The structure as bytes.
    ///
    /// # Errors
    /// A name that is empty or too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let wrong = |why| Error::malformed("TokenChallenge", why);
        let issuer_len = u16::try_from(self.issuer_name.len()).ok().filter(|len| *len > 0);
        let issuer_len = issuer_len.ok_or(wrong("the issuer's name is empty or too long"))?;
        let origin_len = u16::try_from(self.origin_info.len());
        let origin_len = origin_len.map_err(|_| wrong("the origin is too long"))?;
        let mut bytes = TOKEN_TYPE.to_be_bytes().to_vec();
        bytes.extend_from_slice(&issuer_len.to_be_bytes());
        bytes.extend_from_slice(self.issuer_name.as_bytes());
        match &self.redemption_context {
            None => bytes.push(0),
            Some(context) => {
                bytes.push(32);
                bytes.extend_from_slice(context);
            }
        }
        bytes.extend_from_slice(&origin_len.to_be_bytes());
        bytes.extend_from_slice(self.origin_info.as_bytes());
        Ok(bytes)
    }

    /// Reads the structure; it has to be all of `bytes`.
    ///
    /// # Errors
    /// Another token type, a wrong length, or names that aren't printable ASCII.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |why| Error::malformed("TokenChallenge", why);
        let mut rest = bytes;
        let mut take = |len: usize| -> Result<&[u8], Error> {
            let (taken, left) = rest.split_at_checked(len).ok_or(wrong("it is cut short"))?;
            rest = left;
            Ok(taken)
        };
        let length = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let name = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
            _ => Err(wrong("a name has other characters than printable ASCII")),
        };
        if take(2)? != TOKEN_TYPE.to_be_bytes() {
            return Err(wrong("the token type is not 0x0002"));
        }
        let issuer_len = length(take(2)?);
        let issuer_name = name(take(issuer_len)?)?;
        let redemption_context = match take(1)?[0] {
            0 => None,
            32 => take(32)?.try_into().ok(),
            _ => return Err(wrong("the redemption context has neither 0 nor 32 bytes")),
        };
        let origin_len = length(take(2)?);
        let origin_info = name(take(origin_len)?)?;
        if issuer_name.is_empty() {
            return Err(wrong("there is no issuer's name"));
        }
        if !rest.is_empty() {
            return Err(wrong("something follows it"));
        }
        Ok(TokenChallenge { issuer_name, redemption_context, origin_info })
    }

    /// SHA-256 of the structure: what a token carries of it.
    ///
    /// # Errors
    /// As [`TokenChallenge::to_bytes`].
    pub fn digest(&self) -> Result<[u8; 32], Error> {
        Ok(sha256(&[&self.to_bytes()?]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            issuer_name in "[!-~]{1,40}",
            redemption_context: Option<[u8; 32]>,
            origin_info in "[!-~]{0,40}",
        ) {
            let challenge = TokenChallenge { issuer_name, redemption_context, origin_info };
            let bytes = challenge.to_bytes().unwrap();
            prop_assert_eq!(TokenChallenge::parse(&bytes).unwrap(), challenge);
            for cut in 0..bytes.len() {
                prop_assert!(TokenChallenge::parse(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn what_is_read_is_written_alike(mut bytes: Vec<u8>, known: bool) {
            if known && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&[0, 2, 0, 1]);
            }
            if let Ok(challenge) = TokenChallenge::parse(&bytes) {
                prop_assert_eq!(challenge.to_bytes().unwrap(), bytes);
            }
        }
    }
}
