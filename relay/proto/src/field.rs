//! One line of a field section.

use bytes::Bytes;

/// A field: a header, a trailer or a pseudo-header. From [`crate::qpack::decode`] the bytes are as
/// the peer sent them; [`crate::request::parse`] checks them.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Lower case; pseudo-headers begin with a colon.
    pub name: Bytes,
    /// Any bytes but CR, LF and NUL.
    pub value: Bytes,
}

impl Field {
    /// A field whose name is known at compile time.
    pub fn new(name: &'static str, value: impl Into<Bytes>) -> Self {
        Self { name: Bytes::from_static(name.as_bytes()), value: value.into() }
    }

    /// What the field counts against SETTINGS_MAX_FIELD_SECTION_SIZE (RFC 9114 §4.2.2).
    pub fn size(&self) -> usize {
        self.name.len() + self.value.len() + 32
    }
}

/// Values of credentials stay out of logs.
impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = self.name.ends_with(b"authorization");
        let value = if secret { "(secret)".into() } else { String::from_utf8_lossy(&self.value) };
        write!(f, "{}: {}", String::from_utf8_lossy(&self.name), value)
    }
}

/// Why the name or the value of a received field makes the message malformed, if it does
/// (RFC 9114 §4.2, RFC 9110 §5.5).
pub(crate) fn check(field: &Field) -> Result<(), &'static str> {
    let name = field.name.strip_prefix(b":").unwrap_or(&field.name);
    if name.is_empty() {
        return Err("a field has no name");
    }
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err("a field name has upper-case letters");
    }
    if !name.iter().all(|byte| is_token_char(*byte)) {
        return Err("a field name has a character that is not allowed");
    }
    if field.value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err("a field value has CR, LF or NUL");
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(field.value.first()) || blank(field.value.last()) {
        return Err("a field value begins or ends with white space");
    }
    match &field.name[..] {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Err("a connection-specific field")
        }
        b"te" if &field.value[..] != b"trailers" => Err("te other than trailers"),
        _ => Ok(()),
    }
}

/// tchar of RFC 9110 §5.6.2.
pub(crate) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &'static str, value: &'static str) -> Result<(), &'static str> {
        check(&Field::new(name, value))
    }

    #[test]
    fn malformed_fields_are_named() {
        assert_eq!(checked("accept", "*/*"), Ok(()));
        assert_eq!(checked(":path", "/"), Ok(()));
        assert_eq!(checked("te", "trailers"), Ok(()));
        for (name, value) in [
            ("Accept", "*/*"),
            ("", "x"),
            (":", "x"),
            ("a b", "x"),
            ("a:b", "x"),
            ("x", "a\r\nb: c"),
            ("x", "a\0"),
            ("x", " a"),
            ("x", "a\t"),
            ("te", "gzip"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "connect-udp"),
        ] {
            assert!(checked(name, value).is_err(), "{name}: {value:?}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let field = Field::new("proxy-authorization", "Bearer hunter2");
        assert!(!format!("{field:?}").contains("hunter2"));
    }
}
