//! A request path against a template.

use super::{Part, UriTemplate, Variable};
use crate::target::{Host, parse_port};
use crate::{Error, Target};

/// What ends a value. Reserved characters other than these are not part of a valid value either
/// (RFC 6570 §3.2.2 encodes them), but then the value is at fault and not the path.
pub(super) const DELIMITERS: [char; 4] = ['/', '?', '&', '#'];

/// The values of the variables as they stand in the path.
#[derive(Default)]
struct Values<'a> {
    host: Option<&'a str>,
    port: Option<&'a str>,
}

impl UriTemplate {
    /// The target that `path` names, or `None` when the path is not of this template.
    pub fn match_path(&self, path: &str) -> Option<Result<Target, Error>> {
        let mut rest = path;
        let mut values = Values::default();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Part::Simple(variable) => {
                    let end = rest.find(DELIMITERS).unwrap_or(rest.len());
                    // `check_separated` made sure that no variable was seen before.
                    values.put(*variable, &rest[..end]);
                    rest = &rest[end..];
                }
                Part::Query { first, variables } => {
                    rest = rest.strip_prefix(*first)?;
                    match values.put_query(variables, rest)? {
                        Ok(after) => rest = after,
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
        }
        rest.is_empty().then(|| values.target())
    }
}

impl<'a> Values<'a> {
    /// Whether there was no value before.
    fn put(&mut self, variable: Variable, value: &'a str) -> bool {
        let slot = match variable {
            Variable::Host => &mut self.host,
            Variable::Port => &mut self.port,
        };
        slot.replace(value).is_none()
    }

    /// Takes `name=value` for each of `variables`, in any order, and returns what follows. `None`
    /// when another name comes first.
    fn put_query(
        &mut self,
        variables: &[Variable],
        query: &'a str,
    ) -> Option<Result<&'a str, Error>> {
        let mut rest = query;
        for at in 0..variables.len() {
            if at > 0 {
                let Some(after) = rest.strip_prefix('&') else {
                    return Some(Err(Error::bad_request("target_host or target_port is missing")));
                };
                rest = after;
            }
            let (name, after) = rest.split_once('=')?;
            let variable = variables.iter().find(|variable| variable.name() == name)?;
            let end = after.find(DELIMITERS).unwrap_or(after.len());
            if !self.put(*variable, &after[..end]) {
                return Some(Err(Error::bad_request("target_host or target_port is given twice")));
            }
            rest = &after[end..];
        }
        Some(Ok(rest))
    }

    fn target(&self) -> Result<Target, Error> {
        let host = decode_percent(self.host.unwrap_or_default())?;
        let port = decode_percent(self.port.unwrap_or_default())?;
        Ok(Target { host: Host::parse(&host)?, port: parse_port(&port)? })
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1) once. What is still encoded then is refused as a
/// character that no host has.
fn decode_percent(value: &str) -> Result<String, Error> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(Error::bad_request("the target has a wrong percent-encoding"));
                };
                decoded.push((high * 16 + low) as u8);
            }
            b'-' | b'.' | b'_' | b'~' => decoded.push(byte),
            _ if byte.is_ascii_alphanumeric() => decoded.push(byte),
            _ => {
                return Err(Error::bad_request(
                    "the target has a character that has to be percent-encoded",
                ));
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| Error::bad_request("the target is not ASCII"))
}
