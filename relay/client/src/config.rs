//! What a client is told: which relay, who pays, where to listen. Parsed once; nothing optional
//! is left where a value is required.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use weir_usage::{Address, ChannelId, Price};

use crate::Error;
use crate::purse::Tolerance;

/// Everything [`Client::start`](crate::Client::start) needs.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The relay, `https://host:port`.
    pub relay: RelayUrl,
    /// The credential of the grant; sent as a bearer token with every request.
    pub token: Option<Token>,
    /// A file of blind tokens, in the place of `token`: each connection spends one, and a further
    /// one when that is used up.
    pub wallet: Option<PathBuf>,
    /// How the relay's certificate is judged.
    pub trust: Trust,
    /// Where to serve SOCKS5 (RFC 1928). Port 0 picks a free one.
    pub socks: Option<SocketAddr>,
    /// Where to serve the HTTP/1.1 CONNECT proxy (RFC 9110 section 9.3.6). Port 0 picks a free one.
    pub http: Option<SocketAddr>,
    /// Where to serve `GET /usage` and `POST /settle`; a loopback address.
    pub admin: Option<SocketAddr>,
    /// QUIC connections kept to the relay, 1 to [`ClientConfig::CONNECTIONS_MAX`]. Tunnels are
    /// spread over them in turn. More than one helps only when the relay has several workers.
    pub connections: usize,
    /// Signs vouchers for what was received. Without it, a relay that asks for payment stops
    /// forwarding once its credit window is used up.
    pub payer: Option<PayerConfig>,
    /// How far the relay's counts may be ahead of the payer's before it is called over-billing.
    pub tolerance: Tolerance,
    /// Measures the service and has the exit sign what was measured; needs a payer.
    pub sla: Option<SlaConfig>,
}

impl ClientConfig {
    /// A relay gives each connection its own worker; more connections than a large host has
    /// cores only cost handshakes.
    pub const CONNECTIONS_MAX: usize = 64;

    /// A configuration with no listener, no token, the system's roots and one connection.
    pub fn new(relay: RelayUrl) -> ClientConfig {
        ClientConfig {
            relay,
            token: None,
            wallet: None,
            trust: Trust::System,
            socks: None,
            http: None,
            admin: None,
            connections: 1,
            payer: None,
            tolerance: Tolerance::default(),
            sla: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.connections == 0 || self.connections > Self::CONNECTIONS_MAX {
            return Err(Error::config(
                "connections",
                format!("{} is not between 1 and {}", self.connections, Self::CONNECTIONS_MAX),
            ));
        }
        if self.socks.is_none() && self.http.is_none() && self.admin.is_none() {
            return Err(Error::config(
                "socks/http",
                "nothing to listen on; give at least a SOCKS5 or an HTTP address",
            ));
        }
        if let Some(admin) = self.admin.filter(|a| !a.ip().is_loopback()) {
            return Err(Error::config(
                "admin",
                format!("{admin} is not a loopback address; usage is private, use 127.0.0.1"),
            ));
        }
        if self.wallet.is_some() && (self.token.is_some() || self.payer.is_some()) {
            return Err(Error::config(
                "wallet",
                "tokens are paid for already, and showing who pays would undo what they hide: give \
                 either a wallet or the token of a grant",
            ));
        }
        let vouches = self.payer.as_ref().is_some_and(|payer| payer.vouched_file.is_some());
        if vouches && (self.socks.is_some() || self.http.is_some()) {
            return Err(Error::config(
                "vouched",
                "a client that signs for sold tokens has a lane of its own and carries no tunnels; \
                 give it --admin only",
            ));
        }
        if self.payer.is_some() && self.token.is_none() {
            return Err(Error::config(
                "token",
                "a payer is configured, but the relay bills by grant: give the token of the grant",
            ));
        }
        if self.sla.is_some() && self.payer.is_none() {
            return Err(Error::config(
                "sla",
                "samples are signed with the payer's key: configure a payer",
            ));
        }
        Ok(())
    }
}

/// `https://host[:port]`: no path, query, user or fragment. The default port is 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayUrl {
    host: String,
    port: u16,
}

impl RelayUrl {
    /// The host without brackets: a name or an IP literal.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` with brackets around an IPv6 literal: the `:authority` of requests for the
    /// relay's own resources.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for RelayUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<RelayUrl, Error> {
        let wrong = |why: &str| {
            Error::config("relay", format!("{text:?} {why}; it must look like https://host:4433"))
        };
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(wrong("does not start with https://"));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', ' ']) {
            return Err(wrong("has more than a host and a port"));
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (literal, after) =
                    bracketed.split_once(']').ok_or_else(|| wrong("has no closing bracket"))?;
                literal
                    .parse::<Ipv6Addr>()
                    .map_err(|_| wrong("has no IPv6 address in brackets"))?;
                let port = match after {
                    "" => "443",
                    _ => after.strip_prefix(':').ok_or_else(|| wrong("has no port after ]"))?,
                };
                (literal, port)
            }
            None => rest.split_once(':').unwrap_or((rest, "443")),
        };
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        match port.parse::<u16>() {
            Ok(port) if port != 0 => Ok(RelayUrl { host: host.to_owned(), port }),
            _ => Err(wrong("has no port between 1 and 65535")),
        }
    }
}

/// A bearer token (RFC 6750 section 2.1). It is never shown in `Debug` output or in errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Longer than any token a relay hands out, short enough for every request to carry it.
    pub const BYTES_MAX: usize = 1024;

    /// The token itself, for the request header.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = Error;

    /// Surrounding white space (the newline of a token file) is dropped.
    fn from_str(text: &str) -> Result<Token, Error> {
        let token = text.trim();
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if token.is_empty() || token.len() > Token::BYTES_MAX || !token.bytes().all(legal) {
            return Err(Error::config(
                "token",
                "is not a bearer token: 1 to 1024 letters, digits or -._~+/= (RFC 6750)",
            ));
        }
        Ok(Token(token.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// How the relay's certificate is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By the operating system's root certificates.
    System,
    /// By the certificates of this PEM file alone.
    CaFile(PathBuf),
    /// By the SHA-256 of the end-entity certificate (DER); name and expiry are not looked at.
    /// For relays with a self-signed certificate.
    Pinned([u8; 32]),
}

impl FromStr for Trust {
    type Err = Error;

    /// `system`, `sha256:<64 hex digits>` (colons between the bytes are fine), or a path.
    fn from_str(text: &str) -> Result<Trust, Error> {
        if text == "system" {
            return Ok(Trust::System);
        }
        let Some(hex) = text.strip_prefix("sha256:") else {
            return Ok(Trust::CaFile(PathBuf::from(text)));
        };
        let digits: String = hex.chars().filter(|c| *c != ':').collect();
        crate::hex::decode_array(&digits).map(Trust::Pinned).ok_or_else(|| {
            Error::config("trust", format!("{text:?} has no 64 hexadecimal digits after sha256:"))
        })
    }
}

/// Who pays, how much at most, and where the proof is kept.
///
/// One running client per channel lane: two would each count only their own bytes and both
/// refuse to pay for the other's.
#[derive(Clone, Debug)]
pub struct PayerConfig {
    /// File with the secp256k1 session key: 64 hexadecimal digits, optionally with `0x`.
    pub signing_key_file: PathBuf,
    /// The channel that the escrow contract knows.
    pub channel: ChannelId,
    /// The lane of the grant within the channel.
    pub lane: u32,
    /// Chain id of the EIP-712 domain.
    pub chain_id: u64,
    /// Escrow contract: `verifyingContract` of the EIP-712 domain.
    pub escrow: Address,
    /// The highest price accepted, in token units per GiB (2^30 bytes) of payload.
    pub price_max: Price,
    /// What may be signed at most.
    pub budget: Budget,
    /// The journal: own counts and every voucher. Begun when missing; the JSON file in which older
    /// clients kept their state is taken over.
    pub state_file: PathBuf,
    /// How often the relay is asked what it counted while bytes move.
    pub period: Duration,
    /// After a crash of the *client* (or loss of its journal) up to this many bytes that the
    /// relay counted and this client can't confirm are accepted, once per start. 0 accepts none.
    pub crash_allowance_bytes: u64,
    /// File with a number: the bytes that this payer sold to others as blind tokens since the lane
    /// began. It signs for so many without having seen them, and carries no tunnels itself. Read
    /// again for each ask.
    pub vouched_file: Option<PathBuf>,
}

/// What a payer signs at most, in token units; `None` sets no limit. What was used beyond it stays
/// unpaid, and the exit stops the payer at its credit window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// For the lane as a whole, since the channel was opened.
    pub total: Option<u128>,
    /// For a UTC day. A client that lost its journal has forgotten what the day has cost.
    pub per_day: Option<u128>,
}

/// Under which agreement the service is measured, and where the proof is kept.
#[derive(Clone, Debug)]
pub struct SlaConfig {
    /// The agreement, JSON as `weir-settle terms` writes it, signed by both sides.
    pub agreement_file: PathBuf,
    /// Samples that both sides have signed, one JSON object per line; appended to.
    pub samples_file: PathBuf,
}

impl PayerConfig {
    /// Asking costs one small request; a second keeps far within any credit window.
    pub const PERIOD: Duration = Duration::from_secs(1);

    /// Nothing is taken on the relay's word unless the payer says so: a client without a journal
    /// looks like one that crashed, and a relay may lie to either.
    pub const CRASH_ALLOWANCE_BYTES: u64 = 0;
}
