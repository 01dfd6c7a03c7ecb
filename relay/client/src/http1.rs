//! As much HTTP/1.1 (RFC 9112) as a CONNECT proxy and a small local endpoint need: one bounded
//! request head, and a response that closes the connection.

use std::fmt::Write;
use std::io;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Browsers send one or two KiB; a proxy may refuse more than it wants to hold.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

/// The request line, and the fields that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Request target as it came: authority, absolute or origin form.
    pub(crate) target: String,
    pub(crate) host: Option<String>,
}

/// A head that is refused with a status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the request head exceeds {HEAD_BYTES_MAX} bytes")]
    TooLarge,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("HTTP/1.1 only")]
    Version,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl HeadError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            HeadError::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            HeadError::Malformed(_) | HeadError::Io(_) => StatusCode::BAD_REQUEST,
            HeadError::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}

/// Reads one request head; what follows it is returned with it.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Result<(Head, Bytes), HeadError> {
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if let Some(end) = head_end(&buffer) {
            let head = buffer.split_to(end);
            return Ok((parse_head(&head)?, buffer.freeze()));
        }
        if buffer.len() >= HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(HeadError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Writes a response with a body and closes the connection in order.
pub(crate) async fn respond(
    stream: &mut TcpStream,
    status: StatusCode,
    content_type: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or(""),
        body.len()
    );
    for (name, value) in fields {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Where the body starts: after the first empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let limit = bytes.len().min(HEAD_BYTES_MAX);
    bytes[..limit].windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}

/// Strict about what smuggling uses (bare CR or LF, folding, blanks before the colon), indifferent
/// to fields that it does not need.
fn parse_head(bytes: &[u8]) -> Result<Head, HeadError> {
    let text = std::str::from_utf8(bytes).map_err(|_| HeadError::Malformed("head is not text"))?;
    let text = text.strip_suffix("\r\n\r\n").unwrap_or(text);
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::Malformed("request line is not METHOD TARGET VERSION"));
    };
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !method.bytes().all(is_token) || method.is_empty() || !printable(target) {
        return Err(HeadError::Malformed("request line has characters that are not allowed"));
    }
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(HeadError::Version);
    }
    let mut host = None;
    for line in lines {
        let (name, value) =
            line.split_once(':').ok_or(HeadError::Malformed("a header field has no colon"))?;
        if name.is_empty() || !name.bytes().all(is_token) || value.contains(['\r', '\n', '\0']) {
            return Err(HeadError::Malformed("a header field is malformed"));
        }
        if name.eq_ignore_ascii_case("host") && host.replace(value.trim().to_owned()).is_some() {
            return Err(HeadError::Malformed("more than one Host field"));
        }
    }
    Ok(Head { method: method.to_owned(), target: target.to_owned(), host })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_browser_s_connect() {
        let head =
            parse_head(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nX: \xc3\xa9\r\n\r\n");
        let head = head.unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("CONNECT", "a.test:443"));
        assert_eq!(head.host.as_deref(), Some("a.test:443"));
    }

    #[test]
    fn smuggling_forms_are_refused() {
        for bad in [
            "\r\n\r\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 x\r\n\r\n",
            "G ET / HTTP/1.1\r\n\r\n",
            "GET /\x01 HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nnocolon\r\n\r\n",
        ] {
            assert!(matches!(parse_head(bad.as_bytes()), Err(HeadError::Malformed(_))), "{bad:?}");
        }
        assert!(matches!(parse_head(b"GET / HTTP/2.0\r\n\r\n"), Err(HeadError::Version)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_head(&bytes);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[A-Z /:.\r\n\t]{0,80}\r\n\r\n") {
            if let Ok(head) = parse_head(text.as_bytes()) {
                prop_assert!(!head.method.is_empty() && !head.target.contains([' ', '\r', '\n']));
            }
        }
    }
}
