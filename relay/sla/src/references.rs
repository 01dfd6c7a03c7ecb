//! What measurers probe through the tunnel, as both sides agreed.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weir_usage::bond::SlaTerms;
use weir_usage::{Digest, Keccak};

use crate::Error;

/// More would only thin out the probes of each.
const REFERENCES_MAX: usize = 16;
/// A name of DNS has 253 characters at most.
const HOST_BYTES_MAX: usize = 253;
const PATH_BYTES_MAX: usize = 1_024;

/// How a reference is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP: what was sent comes back (RFC 862).
    Echo,
    /// UDP: a DNS server that answers a query for the root's name servers, whatever it says.
    Dns,
    /// TCP: a web server with more to fetch than a probe takes.
    Http,
}

/// `echo://host:port`, `dns://host:port` or `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// How it is probed.
    pub kind: Kind,
    /// A name or an address, without brackets.
    pub host: String,
    /// UDP or TCP port.
    pub port: u16,
    /// For HTTP, with its slash; empty for others.
    pub path: String,
}

/// The references of an agreement, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Reference>", into = "Vec<Reference>")]
pub struct References(Vec<Reference>);

impl References {
    /// Takes at most 16 references, none of them twice.
    ///
    /// # Errors
    /// [`Error::BadReference`].
    pub fn new(all: Vec<Reference>) -> Result<Self, Error> {
        for (number, one) in all.iter().enumerate() {
            let bad = |why| Err(Error::BadReference { text: one.to_string(), why });
            if number >= REFERENCES_MAX {
                return bad("is one too many");
            }
            if all[..number].contains(one) {
                return bad("is there twice");
            }
        }
        Ok(Self(all))
    }

    /// Those that are probed in one way, in their order.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter(move |one| one.kind == kind)
    }

    /// What the terms name: zero for none, else `keccak("Weir references" || (text || 0)*)`.
    pub fn hash(&self) -> Digest {
        if self.0.is_empty() {
            return Digest::ZERO;
        }
        let hash = Keccak::default().update(b"Weir references");
        self.0
            .iter()
            .fold(hash, |hash, one| hash.update(one.to_string().as_bytes()).update(&[0]))
            .finish()
    }

    /// Checks that these are the references that the terms name. Terms that name none leave the
    /// choice to each measurer.
    ///
    /// # Errors
    /// [`Error::OtherReferences`].
    pub fn must_be_of(&self, terms: &SlaTerms) -> Result<(), Error> {
        let (expected, found) = (terms.references, self.hash());
        let agreed = expected == found || expected.is_zero();
        if agreed { Ok(()) } else { Err(Error::OtherReferences { expected, found }) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Echo => "echo",
            Kind::Dns => "dns",
            Kind::Http => "http",
        };
        let (host, port, path) = (&self.host, self.port, &self.path);
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}{path}"),
            false => write!(f, "{scheme}://{host}:{port}{path}"),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::BadReference { text: text.to_owned(), why };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("has no scheme"))?;
        let kind = match scheme {
            "echo" => Kind::Echo,
            "dns" => Kind::Dns,
            "http" => Kind::Http,
            _ => return Err(bad("is neither echo://, dns:// nor http://")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        match kind {
            Kind::Http if path.is_empty() => return Err(bad("has no path")),
            Kind::Echo | Kind::Dns if !path.is_empty() => return Err(bad("has a path")),
            _ => {}
        }
        if path.len() > PATH_BYTES_MAX || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("has a path of other than 1,024 visible ASCII characters at most"));
        }
        let (host, port) = authority.rsplit_once(':').ok_or_else(|| bad("has no port"))?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(|| bad("has no port"))?;
        let host = host_of(host).ok_or_else(|| bad("has no host"))?;
        Ok(Self { kind, host, port, path: path.to_owned() })
    }
}

/// A name in lower case or an address as it is written best, so that equal hosts hash alike.
fn host_of(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        return Some(inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string());
    }
    if let Ok(IpAddr::V4(ip)) = text.parse() {
        return Some(ip.to_string());
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fits = !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(legal);
    fits.then(|| text.to_ascii_lowercase())
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl TryFrom<Vec<Reference>> for References {
    type Error = Error;

    fn try_from(all: Vec<Reference>) -> Result<Self, Error> {
        Self::new(all)
    }
}

impl From<References> for Vec<Reference> {
    fn from(references: References) -> Self {
        references.0
    }
}
