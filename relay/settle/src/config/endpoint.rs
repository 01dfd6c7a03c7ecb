//! Where an RPC endpoint is: its URL, or the file or credential that holds the URL, because
//! providers put API keys into it.

use std::fmt;
use std::str::FromStr;

use crate::chain::rpc::without_credentials;
use crate::error::Error;
use crate::keys::Secret;

/// A JSON-RPC endpoint. `Debug` and `Display` show it without credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://` or `https://`.
    Url(String),
    /// The URL is the one line of this file or credential.
    Kept(Secret),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_http(text) {
            return Ok(Self::Url(text.into()));
        }
        // No message holds the text: it may hold an API key, and this goes to the log.
        if !text.starts_with('/') && !text.starts_with("credential:") {
            return Err("no http:// or https:// URL, no /path of a file that holds one, and no \
                        credential:NAME"
                .into());
        }
        text.parse().map(Self::Kept)
    }
}

impl Endpoint {
    /// The URL, which may hold an API key.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Io`] if the place can't be read or holds something else.
    pub fn url(&self) -> Result<String, Error> {
        let place = match self {
            Self::Url(url) => return Ok(url.clone()),
            Self::Kept(place) => place,
        };
        let text = place.read()?;
        let url = text.trim();
        if !is_http(url) || url.contains(char::is_whitespace) {
            return Err(Error::Key {
                path: place.path()?,
                reason: "expected one line, the http:// or https:// URL of an RPC endpoint".into(),
            });
        }
        Ok(url.into())
    }

    /// Whether the text itself seems to hold an API key: more than scheme, host and port.
    pub fn shows_credentials(&self) -> bool {
        match self {
            Self::Url(url) => url.parse::<reqwest::Url>().is_ok_and(|url| {
                let user = !url.username().is_empty() || url.password().is_some();
                user || url.path() != "/" || url.query().is_some()
            }),
            Self::Kept(_) => false,
        }
    }
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&without_credentials(url)),
            Self::Kept(place) => place.fmt(f),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_in_a_url_is_seen_and_never_shown() {
        for (text, shows) in [
            ("http://127.0.0.1:8545", false),
            ("https://node.example:443/", false),
            ("https://node.example/v3/SECRET", true),
            ("https://node.example/?key=SECRET", true),
            ("https://user:SECRET@node.example", true),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.shows_credentials(), shows, "{text}");
            assert!(!format!("{endpoint} {endpoint:?}").contains("SECRET"));
        }
        let error = "node.example/v3/SECRET".parse::<Endpoint>().unwrap_err();
        assert!(!error.contains("SECRET"), "{error}");
    }

    #[test]
    fn a_file_holds_one_url_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpc");
        let endpoint: Endpoint = path.to_str().unwrap().parse().unwrap();
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        write("https://node.example/v3/SECRET\n", 0o600);
        assert_eq!(endpoint.url().unwrap(), "https://node.example/v3/SECRET");
        assert!(!format!("{endpoint:?}").contains("SECRET"));
        write("https://node.example/v3/SECRET\n", 0o644);
        assert!(endpoint.url().unwrap_err().to_string().contains("chmod 0600"));
        for text in ["", "ftp://node.example/SECRET", "https://a/SECRET\nhttps://b/SECRET\n"] {
            write(text, 0o600);
            let error = endpoint.url().unwrap_err().to_string();
            assert!(error.contains("one line") && !error.contains("SECRET"), "{error}");
        }
    }
}
