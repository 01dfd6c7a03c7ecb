//! What a client shows to be admitted (RFC 9110 §11, RFC 6750 §2.1, RFC 7617).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;

use crate::{Error, Field};

/// A credential of Proxy-Authorization or Authorization. Debug output leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// `Bearer` and its token.
    Bearer(String),
    /// `Basic`, decoded.
    Basic {
        /// Up to the first colon.
        user: Vec<u8>,
        /// After it.
        password: Vec<u8>,
    },
    /// `PrivateToken` (RFC 9577): the whole value, its parameters not looked at.
    PrivateToken(String),
    /// Another scheme, or a wrong syntax: to be treated like a wrong secret.
    Unsupported,
}

/// A token of 354 bytes, in base64url and with its frame, has about 500.
const PRIVATE_TOKEN_BYTES_MAX: usize = 1024;

impl Credential {
    /// The token, or the password of Basic, for which clients that know nothing else can put the
    /// token.
    pub fn secret(&self) -> Option<&[u8]> {
        match self {
            Self::Bearer(token) => Some(token.as_bytes()),
            Self::Basic { password, .. } => Some(password),
            Self::PrivateToken(_) | Self::Unsupported => None,
        }
    }

    fn parse(value: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(value) else { return Self::Unsupported };
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") && is_token68(rest) {
            return Self::Bearer(rest.to_owned());
        }
        if scheme.eq_ignore_ascii_case("basic")
            // Bits that are left over have to be zero, or else two texts would be the same secret.
            && let Ok(decoded) = STANDARD_PAD_INDIFFERENT.decode(rest)
            && let Some(colon) = decoded.iter().position(|byte| *byte == b':')
        {
            let password = decoded[colon + 1..].to_vec();
            return Self::Basic { user: decoded[..colon].to_vec(), password };
        }
        if scheme.eq_ignore_ascii_case("privatetoken") && text.len() <= PRIVATE_TOKEN_BYTES_MAX {
            return Self::PrivateToken(text.to_owned());
        }
        Self::Unsupported
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer(secret)",
            Self::Basic { .. } => "Basic(secret)",
            Self::PrivateToken(_) => "PrivateToken(secret)",
            Self::Unsupported => "Unsupported",
        })
    }
}

/// The one credential of a request.
///
/// # Errors
/// 400 when there is more than one: which of them counts is not for the relay to guess.
pub(super) fn find(fields: &[Field]) -> Result<Option<Credential>, Error> {
    let carries =
        |field: &&Field| matches!(&field.name[..], b"proxy-authorization" | b"authorization");
    let mut found = fields.iter().filter(carries);
    let credential = found.next().map(|field| Credential::parse(&field.value));
    match found.next() {
        Some(_) => Err(Error::bad_request("more than one credential")),
        None => Ok(credential),
    }
}

/// token68 of RFC 9110 §11.2.
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(allowed)
}
