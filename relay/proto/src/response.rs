//! Answers: field sections for success and failure, with Proxy-Status.

mod proxy_status;

use bytes::Bytes;

use crate::request::capsule_protocol;
use crate::{Error, Field, Refusal, field};

pub use proxy_status::{ProxyError, ProxyStatus};

/// 200 to a CONNECT.
pub fn connected(status: &ProxyStatus<'_>) -> Vec<Field> {
    vec![status_field(200), status.field()]
}

/// 200 to a CONNECT-UDP, with `capsule-protocol: ?1` (RFC 9297 §3.4).
pub fn connected_udp(status: &ProxyStatus<'_>) -> Vec<Field> {
    vec![
        status_field(200),
        Field::new("capsule-protocol", Bytes::from_static(b"?1")),
        status.field(),
    ]
}

/// A failure without content. `code` is most often [`ProxyError::status`].
pub fn failed(code: u16, status: &ProxyStatus<'_>) -> Vec<Field> {
    vec![status_field(code), Field::new("content-length", "0"), status.field()]
}

/// The answer to a request that [`crate::request::parse`] refused; `proxy` is the relay's name.
pub fn refused(refusal: &Refusal, proxy: &str) -> Vec<Field> {
    let status = ProxyStatus {
        error: refusal.error,
        details: Some(refusal.details),
        ..ProxyStatus::of(proxy)
    };
    failed(refusal.status, &status)
}

/// The answer to a missing or wrong credential: 407 with Proxy-Authenticate, or 401 with
/// WWW-Authenticate (RFC 9110 §11.6, §11.7). It is the same for "missing" and "wrong".
pub fn challenge(code: u16, proxy: &str) -> Vec<Field> {
    let name = if code == 407 { "proxy-authenticate" } else { "www-authenticate" };
    let status = ProxyStatus {
        error: Some(ProxyError::HttpRequestDenied),
        details: Some("a valid credential is needed"),
        ..ProxyStatus::of(proxy)
    };
    let mut fields = failed(code, &status);
    for challenge in ["Bearer realm=\"weir\"", "Basic realm=\"weir\", charset=\"UTF-8\""] {
        fields.push(Field::new(name, challenge));
    }
    fields
}

/// An answer with content, of the relay's own resources. Never to be stored by anybody: it is about
/// one client and its money.
pub fn resource(code: u16, content_type: &str, content_length: u64) -> Vec<Field> {
    vec![
        status_field(code),
        Field::new("content-type", content_type.to_owned()),
        Field::new("content-length", content_length.to_string()),
        Field::new("cache-control", "no-store"),
    ]
}

/// What a client reads from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// The answer says that the stream carries capsules.
    pub capsule_protocol: bool,
    /// The value of Proxy-Status, unparsed.
    pub proxy_status: Option<String>,
}

/// Reads an answer out of its field section.
///
/// # Errors
/// A malformed message (RFC 9114 §4.2, §4.3.2).
pub fn parse(fields: &[Field]) -> Result<Response, Error> {
    for field in fields {
        field::check(field).map_err(Error::malformed)?;
    }
    let [first, rest @ ..] = fields else {
        return Err(Error::malformed("a response without :status"));
    };
    if &first.name[..] != b":status" || rest.iter().any(|field| field.name.starts_with(b":")) {
        return Err(Error::malformed("a response has :status first and no other pseudo-header"));
    }
    let status = match first.value[..] {
        [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'))
        }
        _ => return Err(Error::malformed("the :status is not three digits")),
    };
    let proxy_status = rest.iter().find(|field| &field.name[..] == b"proxy-status");
    Ok(Response {
        status,
        capsule_protocol: capsule_protocol(rest),
        proxy_status: proxy_status.map(|f| String::from_utf8_lossy(&f.value).into_owned()),
    })
}

fn status_field(code: u16) -> Field {
    Field::new(":status", code.to_string())
}
