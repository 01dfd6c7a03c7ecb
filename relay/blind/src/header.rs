//! The authentication scheme `PrivateToken` in HTTP header fields (RFC 9577 sections 2.1 and 2.2).

use crate::{Error, IssuerKey, Token, TokenChallenge, base64url_decode, base64url_encode};

/// The scheme's name; to be compared without regard to case.
pub const SCHEME: &str = "PrivateToken";

/// Parameters of one challenge or credential: there are three that mean something.
const PARAMETERS_MAX: usize = 16;

/// One challenge of `WWW-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub challenge: TokenChallenge,
    /// The issuer's key; a client that has it from elsewhere compares them.
    pub key: Option<IssuerKey>,
}

impl Challenge {
    /// Reads the value of `WWW-Authenticate` with one challenge of this scheme.
    ///
    /// # Errors
    /// Another scheme, wrong syntax, a repeated or missing parameter.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let wrong = |why| Error::malformed("WWW-Authenticate", why);
        let parameters = parameters(after_scheme(value).ok_or(wrong("it is another scheme"))?)?;
        let bytes = |name: &str| match find(&parameters, name) {
            Some(text) => base64url_decode(text).map(Some).ok_or(wrong("it is not base64url")),
            None => Ok(None),
        };
        let challenge = bytes("challenge")?.ok_or(wrong("there is no challenge"))?;
        let challenge = TokenChallenge::parse(&challenge)?;
        let key = bytes("token-key")?.map(|spki| IssuerKey::from_spki(&spki)).transpose()?;
        Ok(Challenge { challenge, key })
    }
}

/// The value of `WWW-Authenticate` that asks for a token.
///
/// # Errors
/// A challenge that can't be encoded.
pub fn write_challenge(challenge: &TokenChallenge, key: &IssuerKey) -> Result<String, Error> {
    let challenge = base64url_encode(&challenge.to_bytes()?);
    let key = key.to_base64url();
    Ok(format!("{SCHEME} challenge=\"{challenge}\", token-key=\"{key}\""))
}

/// The value of `Authorization` that shows a token.
pub fn write_token(token: &Token) -> String {
    format!("{SCHEME} token=\"{}\"", base64url_encode(&token.to_bytes()))
}

/// Reads the value of `Authorization`, with its scheme.
///
/// # Errors
/// Another scheme, wrong syntax, a repeated or missing `token`, or one that isn't a token.
pub fn parse_token(value: &str) -> Result<Token, Error> {
    let wrong = |why| Error::malformed("Authorization", why);
    let parameters = parameters(after_scheme(value).ok_or(wrong("it is another scheme"))?)?;
    let text = find(&parameters, "token").ok_or(wrong("there is no token"))?;
    Token::parse(&base64url_decode(text).ok_or(wrong("it is not base64url"))?)
}

fn after_scheme(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

fn find<'a>(parameters: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let found = parameters.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| *value)
}

/// auth-params (RFC 9110 section 11.2): names, each once, with a token or a quoted string. A quoted
/// string with escapes is refused: no value of this scheme needs one.
fn parameters(text: &str) -> Result<Vec<(&str, &str)>, Error> {
    let wrong = |why| Error::malformed("PrivateToken parameters", why);
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(wrong("a parameter without a value"))?;
        let (name, after) = (name.trim(), after.trim_start());
        let name_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(name_byte) {
            return Err(wrong("a parameter's name is not a token"));
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(wrong("a quote is not closed"))?,
            None => after.split_at(after.find([',', ' ', '\t']).unwrap_or(after.len())),
        };
        if value.contains('\\') {
            return Err(wrong("a quoted string has an escape"));
        }
        if found.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return Err(wrong("a parameter comes twice"));
        }
        if found.len() == PARAMETERS_MAX {
            return Err(wrong("there are too many parameters"));
        }
        found.push((name, value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(wrong("there is no comma between parameters")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        let mut bytes = [7; crate::TOKEN_BYTES];
        bytes[..2].copy_from_slice(&[0, 2]);
        Token::parse(&bytes).unwrap()
    }

    #[test]
    fn a_token_comes_back() {
        let value = write_token(&token());
        assert_eq!(parse_token(&value).unwrap(), token());
        // As a token68-like token without padding, other case, other order, unknown parameters.
        let bare = base64url_encode(&token().to_bytes());
        let bare = bare.trim_end_matches('=');
        for good in [
            format!("privatetoken token={bare}"),
            format!("PRIVATETOKEN  x=\"y,z=1\" , Token = \"{bare}\""),
            format!("PrivateToken token={bare},extensions=\"AA==\""),
        ] {
            assert_eq!(parse_token(&good).unwrap(), token(), "{good}");
        }
    }

    #[test]
    fn what_is_not_one_token_is_refused() {
        let bare = base64url_encode(&token().to_bytes());
        for wrong in [
            String::new(),
            "PrivateToken".to_owned(),
            "PrivateToken ".to_owned(),
            format!("Bearer token={bare}"),
            format!("PrivateToken {bare}"),
            format!("PrivateToken token=\"{bare}"),
            format!("PrivateToken token=\"{bare}\" x=1"),
            format!("PrivateToken token=\"{bare}\", token=\"{bare}\""),
            format!("PrivateToken token=\"{bare}AAAA\""),
            format!("PrivateToken token=\"\\{bare}\""),
            format!("PrivateToken token=\"{}\"", &bare[4..]),
        ] {
            assert!(parse_token(&wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text: String, scheme: bool) {
            let text = if scheme { format!("PrivateToken {text}") } else { text };
            let _ = parse_token(&text);
            let _ = Challenge::parse(&text);
        }

        #[test]
        fn nothing_like_a_header_panics(text in "PrivateToken [a-z=\", \\\\A-Z0-9_-]{0,60}") {
            let _ = parse_token(&text);
            let _ = Challenge::parse(&text);
        }
    }
}
