//! What clients are told: one table from what happened to status and Proxy-Status (RFC 9209).

use std::net::IpAddr;

use bytes::Bytes;
use weir_proto::response;
use weir_proto::{Field, ProxyError, ProxyStatus};

use crate::control::{ResolveError, TokenRefusal};
use crate::policy::Refusal;
use crate::port::{EgressError, Transport};

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn empty(fields: Vec<Field>) -> Self {
        Answer { fields, body: Bytes::new() }
    }
}

/// Why a tunnel can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Prohibited(Refusal),
    Resolve(ResolveError),
    Connect(EgressError),
    /// A limit of the relay: queries, sockets, or slots of the ledger.
    Overloaded,
}

/// 200 to a tunnel that is open to `next_hop`.
pub(crate) fn opened(name: &str, transport: Transport, next_hop: IpAddr) -> Vec<Field> {
    let status = ProxyStatus { next_hop: Some(next_hop), ..ProxyStatus::of(name) };
    match transport {
        Transport::Tcp => response::connected(&status),
        Transport::Udp => response::connected_udp(&status),
    }
}

pub(crate) fn failed(name: &str, failure: Failure) -> Answer {
    let (error, rcode) = classify(failure);
    let status = ProxyStatus { error: Some(error), rcode, ..ProxyStatus::of(name) };
    Answer::empty(response::failed(error.status(), &status))
}

fn classify(failure: Failure) -> (ProxyError, Option<&'static str>) {
    use ProxyError as E;
    match failure {
        Failure::Prohibited(refusal) => {
            let error = match refusal {
                Refusal::Address => E::DestinationIpProhibited,
                Refusal::Own => E::ProxyLoopDetected,
                Refusal::Port => E::HttpRequestDenied,
                Refusal::Unroutable => E::DestinationIpUnroutable,
            };
            (error, None)
        }
        Failure::Resolve(error) => match error {
            ResolveError::NoSuchName => (E::DnsError, Some("NXDOMAIN")),
            ResolveError::NoData => (E::DnsError, Some("NOERROR")),
            ResolveError::ServerFailure => (E::DnsError, Some("SERVFAIL")),
            ResolveError::Refused => (E::DnsError, Some("REFUSED")),
            ResolveError::Timeout => (E::DnsTimeout, None),
            ResolveError::Other => (E::DnsError, None),
        },
        Failure::Connect(error) => {
            let error = match error {
                EgressError::Refused => E::ConnectionRefused,
                EgressError::Unreachable => E::DestinationIpUnroutable,
                EgressError::TimedOut => E::ConnectionTimeout,
                EgressError::Reset => E::ConnectionTerminated,
                EgressError::NoResources | EgressError::AddrInUse => E::ConnectionLimitReached,
                EgressError::TooBig | EgressError::Other(_) => E::ProxyInternalError,
            };
            (error, None)
        }
        Failure::Overloaded => (E::ConnectionLimitReached, None),
    }
}

/// The source of a request failed to authenticate too often.
pub(crate) fn rate_limited(name: &str) -> Answer {
    too_many(name, "too many requests without a valid credential")
}

/// A blind token was not accepted. Unlike a wrong secret, nobody can use the reason to guess a
/// right one, and a client has to know whether to throw it away.
pub(crate) fn token_refused(name: &str, refusal: TokenRefusal, challenges: &[String]) -> Answer {
    let (code, details) = match refusal {
        TokenRefusal::Invalid => (401, "the token is invalid"),
        TokenRefusal::WrongIssuer => (401, "the token is of an issuer that is not accepted"),
        TokenRefusal::WrongEpoch => (401, "the token is for another exit or another epoch"),
        TokenRefusal::Spent => (401, "the token was spent before"),
        TokenRefusal::Unavailable => (503, "tokens can't be taken at the moment"),
    };
    let error = Some(ProxyError::HttpRequestDenied);
    let status = ProxyStatus { error, details: Some(details), ..ProxyStatus::of(name) };
    let mut fields = response::failed(code, &status);
    if code == 401 {
        fields.extend(token_challenges(challenges));
    }
    Answer::empty(fields)
}

/// What a token bought is used up: another one adds to it.
pub(crate) fn token_used_up(name: &str, challenges: &[String]) -> Answer {
    let error = Some(ProxyError::HttpRequestDenied);
    let details = Some("the token is used up");
    let status = ProxyStatus { error, details, ..ProxyStatus::of(name) };
    let mut fields = response::failed(401, &status);
    fields.extend(token_challenges(challenges));
    Answer::empty(fields)
}

/// One field per issuer (RFC 9577 section 2.1).
pub(crate) fn token_challenges(challenges: &[String]) -> impl Iterator<Item = Field> {
    challenges.iter().map(|challenge| Field::new("www-authenticate", challenge.clone()))
}

/// The payer has to pay before another tunnel is opened.
pub(crate) fn out_of_credit(name: &str) -> Answer {
    too_many(name, "the credit of this grant is used up")
}

/// The grant has as many tunnels as it may.
pub(crate) fn too_many_tunnels(name: &str) -> Answer {
    too_many(name, "this grant has as many tunnels as it may")
}

fn too_many(name: &str, details: &'static str) -> Answer {
    let error = Some(ProxyError::HttpRequestDenied);
    let status = ProxyStatus { error, details: Some(details), ..ProxyStatus::of(name) };
    Answer::empty(response::failed(429, &status))
}

/// No such resource.
pub(crate) fn not_found(name: &str) -> Answer {
    Answer::empty(response::failed(404, &ProxyStatus::of(name)))
}

/// The body of a request is longer than the relay takes.
pub(crate) fn body_too_large(name: &str) -> Answer {
    Answer::empty(response::failed(413, &ProxyStatus::of(name)))
}

/// The control plane is busy or silent.
pub(crate) fn unavailable(name: &str) -> Answer {
    Answer::empty(response::failed(503, &ProxyStatus::of(name)))
}

/// What the control plane said.
pub(crate) fn resource(status: u16, content_type: &str, body: Bytes) -> Answer {
    Answer { fields: response::resource(status, content_type, body.len() as u64), body }
}
