//! Requests: a decoded field section to what is asked for (RFC 9114 §4.2 to §4.4, RFC 9220,
//! RFC 9298 §3.4), and back for clients.

pub mod client;
mod credential;
mod head;

use crate::template::Templates;
use crate::{Error, Field, ProxyError, Target, structured};

pub use credential::Credential;
use head::Head;

/// A request that is well-formed and names something the relay might serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub kind: Kind,
    /// The host that the client addressed, from `:authority` or `host`. For [`Kind::Connect`] it is
    /// the target as the client wrote it.
    pub authority: String,
    /// What the client shows to be admitted, from Proxy-Authorization or Authorization.
    pub credential: Option<Credential>,
    /// The request says that it uses the Capsule Protocol (RFC 9297 §3.4).
    pub capsule_protocol: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A TCP tunnel.
    Connect(Target),
    /// A UDP tunnel.
    ConnectUdp(Target),
    /// Something of the relay's own.
    Resource {
        /// Upper case by convention; never CONNECT.
        method: String,
        /// Path and query. Begins with a slash, except for `*` of OPTIONS.
        path: String,
        /// Bytes of content that the client announced. The content has to have as many, or else
        /// the message is malformed (RFC 9114 §4.1.2).
        content_length: Option<u64>,
    },
}

impl Request {
    /// The status for a missing or wrong credential, for [`crate::response::challenge`].
    pub const fn challenge_status(&self) -> u16 {
        match self.kind {
            Kind::Connect(_) | Kind::ConnectUdp(_) => 407,
            Kind::Resource { .. } => 401,
        }
    }
}

/// Reads a request out of its field section.
///
/// # Errors
/// [`Error::Stream`] with H3_MESSAGE_ERROR when it is malformed (RFC 9114 §4.1.2);
/// [`Error::Refused`] when it is not served: 501 for an unknown `:protocol`, 404 for a path that no
/// template matches, 400 or 403 for the target, 400 for more than one credential.
pub fn parse(fields: &[Field], templates: &Templates) -> Result<Request, Error> {
    let head = Head::gather(fields)?;
    let (kind, authority) = match (head.method, head.protocol) {
        ("CONNECT", None) => connect(&head)?,
        ("CONNECT", Some(protocol)) => extended_connect(&head, protocol, templates)?,
        (_, Some(_)) => return Err(Error::malformed(":protocol without CONNECT")),
        (_, None) => resource(&head)?,
    };
    Ok(Request {
        kind,
        authority: authority.to_owned(),
        credential: credential::find(fields)?,
        capsule_protocol: capsule_protocol(fields),
    })
}

/// RFC 9114 §4.4.
fn connect<'a>(head: &Head<'a>) -> Result<(Kind, &'a str), Error> {
    if head.scheme.is_some() || head.path.is_some() {
        return Err(Error::malformed("CONNECT with :scheme or :path"));
    }
    if head.content_length.is_some() {
        return Err(Error::malformed("CONNECT with content-length"));
    }
    let authority = head.authority.ok_or(Error::malformed("CONNECT without :authority"))?;
    Ok((Kind::Connect(Target::from_authority(authority)?), authority))
}

/// RFC 9220 §3, which takes its rules from RFC 8441 §4.
fn extended_connect<'a>(
    head: &Head<'a>,
    protocol: &str,
    templates: &Templates,
) -> Result<(Kind, &'a str), Error> {
    let (Some(scheme), Some(path), Some(authority)) = (head.scheme, head.path, head.authority)
    else {
        return Err(Error::malformed("extended CONNECT without :scheme, :path or :authority"));
    };
    if path.is_empty() || authority.is_empty() || scheme.is_empty() {
        return Err(Error::malformed("extended CONNECT with an empty pseudo-header"));
    }
    if protocol != "connect-udp" {
        return Err(Error::refused(
            501,
            ProxyError::HttpRequestError,
            "the :protocol is not supported; this relay serves connect-udp",
        ));
    }
    // RFC 9297 §3.4.
    if head.content_length.is_some() || head.has_content_type {
        return Err(Error::malformed("content-length or content-type on a capsule stream"));
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(Error::bad_request("the :scheme has to be https"));
    }
    Ok((Kind::ConnectUdp(templates.match_path(path)?), authority))
}

/// RFC 9114 §4.3.1.
fn resource<'a>(head: &Head<'a>) -> Result<(Kind, &'a str), Error> {
    let (Some(scheme), Some(path)) = (head.scheme, head.path) else {
        return Err(Error::malformed("a request without :scheme or :path"));
    };
    let is_asterisk = path == "*" && head.method == "OPTIONS";
    if !is_asterisk && !path.starts_with('/') {
        return Err(Error::malformed("a :path that does not begin with a slash"));
    }
    let authority = head.authority.or(head.host).filter(|authority| !authority.is_empty());
    let authority = authority.ok_or(Error::malformed("neither :authority nor host"))?;
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(Error::bad_request("the :scheme has to be https"));
    }
    let kind = Kind::Resource {
        method: head.method.to_owned(),
        path: path.to_owned(),
        content_length: head.content_length,
    };
    Ok((kind, authority))
}

/// Whether Capsule-Protocol is true. What is not one Boolean counts as absent (RFC 9297 §3.4).
pub(crate) fn capsule_protocol(fields: &[Field]) -> bool {
    let mut values = fields.iter().filter(|field| &field.name[..] == b"capsule-protocol");
    match (values.next(), values.next()) {
        (Some(field), None) => structured::parse_boolean_item(&field.value) == Some(true),
        _ => false,
    }
}
