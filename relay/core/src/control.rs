//! Messages between an engine and the control plane.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weir_proto::request::Credential;

use crate::grants::{Grant, Grants};
use crate::policy::Policy;

/// Names a question that an engine asked the control plane. Never used twice by one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// What an engine asks the control plane. Every request should be answered once; an engine that
/// hears nothing gives up by itself, and ignores an answer that comes too late.
#[derive(Clone, Debug)]
pub enum ControlRequest {
    /// Resolve a host name, both A and AAAA. Answer: [`ControlReply::Resolved`].
    Resolve { query: QueryId, name: String },
    /// A request for a resource below `/.well-known/weir/`, from a client that showed a valid
    /// credential. Answer: [`ControlReply::Http`].
    Http {
        query: QueryId,
        grant: Arc<Grant>,
        /// As sent, for example `GET`.
        method: String,
        /// As sent, with the query component if there is one.
        path: String,
        body: Bytes,
    },
    /// A blind token: the value of `Authorization: PrivateToken ...`. Whoever answers
    /// [`ControlReply::Token`] with a grant has seen to it that the token is never accepted again.
    Token { query: QueryId, credential: Credential },
}

/// An answer to a [`ControlRequest`].
#[derive(Clone, Debug)]
pub enum ControlReply {
    /// Addresses in order of preference (RFC 6724); the engine applies the exit policy to each.
    Resolved { query: QueryId, result: Result<Vec<IpAddr>, ResolveError> },
    /// A complete response.
    Http { query: QueryId, status: u16, content_type: &'static str, body: Bytes },
    /// What a token buys: a grant with an allowance of its own.
    Token { query: QueryId, result: Result<Arc<Grant>, TokenRefusal> },
}

/// Why a blind token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Not a token, or its signature is wrong.
    Invalid,
    /// Of an issuer that this exit doesn't know.
    WrongIssuer,
    /// For another exit or another epoch.
    WrongEpoch,
    /// It was spent before.
    Spent,
    /// The exit can't take tokens now: the client is not to blame, and may try it again.
    Unavailable,
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// NXDOMAIN.
    NoSuchName,
    /// The name exists but has neither A nor AAAA records.
    NoData,
    Timeout,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// The resolver can't be reached or answers nonsense.
    Other,
}

/// An order of the control plane.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take no new work, finish what is there until `deadline`, then close everything.
    Drain { deadline: Instant },
    /// A new exit policy, for tunnels opened from now on.
    Policy(Arc<Policy>),
    /// New grants, for requests from now on. A tunnel keeps the grant that it was opened under;
    /// if the new set no longer has that grant's ID, the tunnel is closed.
    Grants(Arc<Grants>),
    /// New challenges for blind tokens, as values of `WWW-Authenticate`; none: tokens are not
    /// taken.
    TokenChallenges(Arc<[String]>),
    /// A new certificate, for connections from now on.
    Tls(Arc<rustls::ServerConfig>),
    /// Some [`CreditLine`](crate::grants::CreditLine) was raised: look whether tunnels can go on.
    CreditChanged,
}
