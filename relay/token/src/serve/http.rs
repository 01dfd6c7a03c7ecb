//! As much HTTP/1.1 (RFC 9112) as issuance needs, every part of it bounded: one request for a
//! connection, a small head, a body of a known and small length, and a deadline for all of it.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::listener::Stream;
use crate::REQUEST_BYTES;

const HEAD_BYTES_MAX: usize = 8 << 10;

/// The one thing that is posted.
const BODY_BYTES_MAX: usize = REQUEST_BYTES;

/// For a whole request, and then for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Read and thrown away after an early answer: a socket that is closed with unread bytes is reset,
/// and the answer with it.
const LEFTOVER_BYTES_MAX: u64 = 64 << 10;

/// What matters of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) content_type: Option<String>,
    /// The token of `Authorization: Bearer`.
    pub(super) bearer: Option<String>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) fields: Vec<(&'static str, &'static str)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn of(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, content_type, fields: Vec::new(), body: body.into() }
    }
}

/// Why there is no request.
#[derive(Debug)]
enum Bad {
    /// The other side is gone, or too slow.
    Gone,
    /// What to tell it.
    Told(u16, &'static str),
}

impl From<io::Error> for Bad {
    fn from(_: io::Error) -> Self {
        Bad::Gone
    }
}

/// One request and its answer. Nobody is left to be told of what fails here.
pub(super) fn serve(mut stream: Stream, answer: impl FnOnce(&Request) -> Answer) {
    let answer = match read(&mut Until { stream: &mut stream, end: Instant::now() + PATIENCE }) {
        Ok(request) => answer(&request),
        Err(Bad::Told(status, why)) => {
            Answer::of(status, "text/plain; charset=utf-8", format!("{why}\n"))
        }
        Err(Bad::Gone) => return,
    };
    let mut until = Until { stream: &mut stream, end: Instant::now() + PATIENCE };
    if write(&mut until, &answer).and_then(|()| until.stream.finish()).is_ok() {
        let _ = io::copy(&mut until.take(LEFTOVER_BYTES_MAX), &mut io::sink());
    }
}

fn read(stream: &mut impl Read) -> Result<Request, Bad> {
    let mut bytes = Vec::with_capacity(1_024);
    let body_at = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() >= HEAD_BYTES_MAX {
            return Err(Bad::Told(431, "the head is too large"));
        }
        read_some(stream, &mut bytes)?;
    };
    let (mut request, length) = parse(&bytes[..body_at - 4])?;
    while bytes.len() < body_at + length {
        read_some(stream, &mut bytes)?;
    }
    request.body = bytes[body_at..body_at + length].to_vec();
    Ok(request)
}

fn read_some(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Result<(), Bad> {
    let mut chunk = [0; 1_024];
    match stream.read(&mut chunk)? {
        0 => Err(Bad::Gone),
        n => {
            bytes.extend_from_slice(&chunk[..n]);
            Ok(())
        }
    }
}

/// A head without its empty line; also the length of the body. Strict about what smuggling uses:
/// the proxy before this and this have to mean the same request.
fn parse(head: &[u8]) -> Result<(Request, usize), Bad> {
    let bad = |why| Bad::Told(400, why);
    let text = std::str::from_utf8(head).map_err(|_| bad("the head is not text"))?;
    let mut lines = text.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
    let [method, path, version] = words[..] else {
        return Err(bad("the request line is not METHOD PATH VERSION"));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(Bad::Told(505, "HTTP/1.1 only"));
    }
    let mut request =
        Request { method: method.to_owned(), path: path.to_owned(), ..Request::default() };
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(bad("a field has no colon"))?;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) || value.contains(['\r', '\n', '\0']) {
            return Err(bad("a field is malformed"));
        }
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                if !digits || length.is_some() {
                    return Err(bad("the content length is not one number"));
                }
                let fits = value.parse().ok().filter(|length| *length <= BODY_BYTES_MAX);
                length = Some(fits.ok_or(Bad::Told(413, "a TokenRequest has 259 bytes"))?);
            }
            "transfer-encoding" => return Err(Bad::Told(411, "send a content length")),
            "content-type" => once(&mut request.content_type, value.to_ascii_lowercase())?,
            "authorization" => {
                let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
                if scheme.eq_ignore_ascii_case("bearer") {
                    once(&mut request.bearer, token.trim().to_owned())?;
                }
            }
            _ => {}
        }
    }
    if request.method == "POST" && length.is_none() {
        return Err(Bad::Told(411, "send a content length"));
    }
    Ok((request, length.unwrap_or(0)))
}

fn once(place: &mut Option<String>, value: String) -> Result<(), Bad> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Bad::Told(400, "a field comes twice")),
    }
}

fn write(stream: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let Answer { status, content_type, fields, body } = answer;
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         connection: close\r\n",
        reason(*status),
        body.len()
    );
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    }
}

/// Reads and writes up to a moment, however slowly the bytes come.
struct Until<'a> {
    stream: &'a mut Stream,
    end: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(mut request: &[u8]) -> u16 {
        match read(&mut request) {
            Err(Bad::Told(status, _)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_post_with_all_that_matters() {
        let request = b"POST /token-request HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\
            content-type: Application/private-token-request\r\n\
            Authorization: bearer s3cret\r\n\r\nabcd";
        let request = read(&mut &request[..]).unwrap();
        let expected = Request {
            method: "POST".to_owned(),
            path: "/token-request".to_owned(),
            content_type: Some("application/private-token-request".to_owned()),
            bearer: Some("s3cret".to_owned()),
            body: b"abc".to_vec(),
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn what_is_too_much_or_ambiguous_is_refused() {
        for (request, status) in [
            ("GET /\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n folded\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 260\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
        ] {
            assert_eq!(told(request.as_bytes()), status, "{request:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(HEAD_BYTES_MAX + 1_024));
        assert_eq!(told(long.as_bytes()), 431);
        assert!(matches!(read(&mut &b"POST / HTTP/1.1\r\n"[..]), Err(Bad::Gone)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&mut &bytes[..]);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(GET|POST) /[A-Za-z0-9 :.\r\n\t-]{0,120}\r\n\r\n") {
            if let Ok(request) = read(&mut text.as_bytes()) {
                prop_assert!(request.body.len() <= BODY_BYTES_MAX);
            }
        }
    }
}
