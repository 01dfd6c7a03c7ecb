//! Who may tunnel.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use http::HeaderMap;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};

/// The credentials that are accepted.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None`: everybody.
    accepted: Option<Vec<String>>,
}

impl Guard {
    /// Reads a credential per line; a line without a scheme is a bearer token.
    pub(crate) fn read(file: Option<&Path>) -> Result<Guard> {
        let Some(file) = file else { return Ok(Guard { accepted: None }) };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("--token-file {}", file.display()))?;
        let accepted = parse(&text);
        ensure!(!accepted.is_empty(), "--token-file {}: it has no credential", file.display());
        Ok(Guard { accepted: Some(accepted) })
    }

    /// Whether a request's credential is one of ours. Clients disagree about which of the two
    /// fields a tunnel request has.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(accepted) = &self.accepted else { return true };
        [PROXY_AUTHORIZATION, AUTHORIZATION]
            .iter()
            .filter_map(|name| headers.get(name)?.to_str().ok())
            .any(|shown| accepted.iter().any(|ours| same(ours, shown)))
    }
}

fn parse(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.contains(' ') {
            true => line.to_owned(),
            false => format!("Bearer {line}"),
        })
        .collect()
}

/// The scheme's case doesn't matter (RFC 9110 section 11.1), the credential's does.
fn same(ours: &str, shown: &str) -> bool {
    match (ours.split_once(' '), shown.split_once(' ')) {
        (Some((a, x)), Some((b, y))) => a.eq_ignore_ascii_case(b) && x == y,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))])
    }

    #[test]
    fn credentials_of_either_scheme_and_field() {
        let guard = Guard { accepted: Some(parse("secret\n\nBasic dTpw\n")) };
        assert!(guard.admits(&shows(PROXY_AUTHORIZATION, "bearer secret")));
        assert!(guard.admits(&shows(AUTHORIZATION, "Basic dTpw")));
        for wrong in ["Bearer Secret", "Bearer dTpw", "secret", "Basic"] {
            assert!(!guard.admits(&shows(PROXY_AUTHORIZATION, wrong)), "{wrong}");
        }
        assert!(!guard.admits(&HeaderMap::new()));
    }
}
