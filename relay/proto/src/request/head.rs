//! Pseudo-headers and the few headers that decide how a request is read.

use crate::{Error, Field, field};

/// What [`super::parse`] looks at. Every rule about single fields has been checked.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) protocol: Option<&'a str>,
    pub(super) scheme: Option<&'a str>,
    pub(super) authority: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) content_length: Option<u64>,
    pub(super) has_content_type: bool,
}

impl<'a> Head<'a> {
    /// # Errors
    /// A malformed message: RFC 9114 §4.2 and §4.3.
    pub(super) fn gather(fields: &'a [Field]) -> Result<Self, Error> {
        let mut head = Self::default();
        let mut method = None;
        let mut pseudo_may_come = true;
        for field in fields {
            field::check(field).map_err(Error::malformed)?;
            let slot = match &field.name[..] {
                b":method" => &mut method,
                b":protocol" => &mut head.protocol,
                b":scheme" => &mut head.scheme,
                b":authority" => &mut head.authority,
                b":path" => &mut head.path,
                name if name.starts_with(b":") => {
                    return Err(Error::malformed("a pseudo-header that no request has"));
                }
                _ => {
                    pseudo_may_come = false;
                    head.header(field)?;
                    continue;
                }
            };
            if !pseudo_may_come {
                return Err(Error::malformed("a pseudo-header after a header"));
            }
            put_once(slot, visible_ascii(&field.value)?)?;
        }
        head.method = method.ok_or(Error::malformed("a request without :method"))?;
        head.check()?;
        Ok(head)
    }

    fn header(&mut self, field: &'a Field) -> Result<(), Error> {
        match &field.name[..] {
            b"host" => put_once(&mut self.host, visible_ascii(&field.value)?)?,
            b"content-length" => {
                put_once(&mut self.content_length, parse_content_length(&field.value)?)?;
            }
            b"content-type" => self.has_content_type = true,
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.method.is_empty() || !self.method.bytes().all(field::is_token_char) {
            return Err(Error::malformed("the :method is no token"));
        }
        if let (Some(authority), Some(host)) = (self.authority, self.host)
            && authority != host
        {
            return Err(Error::malformed(":authority and host differ"));
        }
        let tunnel = self.method == "CONNECT" && self.protocol.is_none();
        let has_user = |text: Option<&str>| text.is_some_and(|text| text.contains('@'));
        // For a plain CONNECT the authority is the target and gets an answer.
        if !tunnel && (has_user(self.authority) || has_user(self.host)) {
            return Err(Error::malformed(":authority has user information"));
        }
        if self.path.is_some_and(|path| path.contains('#')) {
            return Err(Error::malformed(":path has a fragment"));
        }
        Ok(())
    }
}

fn put_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Error> {
    match slot.replace(value) {
        Some(_) => Err(Error::malformed("a pseudo-header, host or content-length is given twice")),
        None => Ok(()),
    }
}

/// Pseudo-headers hold parts of URIs, methods and tokens: nothing but visible ASCII.
fn visible_ascii(value: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(value).ok();
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic())).ok_or(Error::malformed(
        "a pseudo-header or host has a character that is not visible ASCII",
    ))
}

fn parse_content_length(value: &[u8]) -> Result<u64, Error> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or(Error::malformed("content-length is not a number of bytes"))
}
