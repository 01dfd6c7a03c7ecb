//! The parts of Structured Field Values (RFC 9651) that Capsule-Protocol and Proxy-Status need.

use crate::field::is_token_char;

/// Reads an Item that is a Boolean; its parameters are checked and ignored. `None` when it is
/// something else, in which case the field has to be ignored as a whole (RFC 9651 §4.2).
pub(crate) fn parse_boolean_item(value: &[u8]) -> Option<bool> {
    let (boolean, parameters) = match trim_spaces(value) {
        [b'?', b'1', rest @ ..] => (true, rest),
        [b'?', b'0', rest @ ..] => (false, rest),
        _ => return None,
    };
    skip_parameters(parameters)?.is_empty().then_some(boolean)
}

/// Writes an Item as a Token if it can be one and as a String otherwise (RFC 9651 §4.1.6, §4.1.7).
pub(crate) fn push_token_or_string(text: &str, out: &mut String) {
    let is_token = text.bytes().all(|byte| is_token_char(byte) || matches!(byte, b':' | b'/'))
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    if is_token { out.push_str(text) } else { push_string(text, out) }
}

/// Writes a String. It can't hold anything but printable ASCII; other characters become `?`.
pub(crate) fn push_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

/// Structured fields allow spaces around them, but no tabs (RFC 9651 §4.2).
fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// `*( ";" *SP key [ "=" bare-item ] )` (RFC 9651 §4.2.3.2): what follows, or `None` for a wrong
/// parameter.
fn skip_parameters(mut rest: &[u8]) -> Option<&[u8]> {
    while let [b';', after @ ..] = rest {
        rest = skip_while(after, |byte| byte == b' ');
        let [b'a'..=b'z' | b'*', after @ ..] = rest else { return None };
        rest = skip_while(
            after,
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
        );
        if let [b'=', value @ ..] = rest {
            rest = skip_bare_item(value)?;
        }
    }
    Some(rest)
}

fn skip_bare_item(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'?', b'0' | b'1', rest @ ..] => Some(rest),
        [b'"', rest @ ..] => skip_string(rest),
        [b':', rest @ ..] => {
            let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
            skip_while(rest, is_base64).strip_prefix(b":")
        }
        [b'@', rest @ ..] => skip_number(rest, false),
        [b'-' | b'0'..=b'9', ..] => skip_number(value, true),
        [first, rest @ ..] if first.is_ascii_alphabetic() || *first == b'*' => {
            Some(skip_while(rest, |byte| is_token_char(byte) || matches!(byte, b':' | b'/')))
        }
        _ => None,
    }
}

fn skip_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'"' | b'\\', after @ ..] => after,
            [b'\\', ..] => return None,
            [b' '..=b'~', after @ ..] => after,
            _ => return None,
        };
    }
}

/// An Integer of at most 15 digits, or a Decimal of at most 12 and 3 (RFC 9651 §4.2.4).
fn skip_number(value: &[u8], may_be_decimal: bool) -> Option<&[u8]> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = value.strip_prefix(b"-").unwrap_or(value);
    let whole = digits(unsigned);
    match &unsigned[whole..] {
        [b'.', fraction @ ..] if may_be_decimal => {
            let len = digits(fraction);
            ((1..=12).contains(&whole) && (1..=3).contains(&len)).then(|| &fraction[len..])
        }
        rest => (1..=15).contains(&whole).then_some(rest),
    }
}

fn skip_while(text: &[u8], allowed: impl Fn(u8) -> bool) -> &[u8] {
    &text[text.iter().take_while(|byte| allowed(**byte)).count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c11_boolean_items() {
        for value in [
            "?1",
            " ?1 ",
            "?1;a",
            "?1; a=1;b=-1.5;c=\"x\\\"y\";d=tok/en;e=:YQ==:;f=?0;g=@17",
            "?1;*k",
        ] {
            assert_eq!(parse_boolean_item(value.as_bytes()), Some(true), "{value}");
        }
        assert_eq!(parse_boolean_item(b"?0"), Some(false));
        for value in [
            "",
            "1",
            "true",
            "?2",
            "?1, ?1",
            "?1x",
            "?1;",
            "?1;A",
            "?1;a=",
            "?1;a=\"x",
            "?1 ;a",
            "?1;a=1.",
            "?1;a=\"\\x\"",
            "\t?1",
            "?1;a=1234567890123456",
            "?1;a=@1.5",
            "?1;a=:Y",
        ] {
            assert_eq!(parse_boolean_item(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn strings_are_escaped_and_stay_ascii() {
        let mut out = String::new();
        push_token_or_string("exit-7.example", &mut out);
        push_token_or_string("7 \"x\" \\ é\n", &mut out);
        push_token_or_string("", &mut out);
        assert_eq!(out, r#"exit-7.example"7 \"x\" \\ ??""""#);
    }
}
