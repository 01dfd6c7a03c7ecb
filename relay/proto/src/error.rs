//! What went wrong, and what has to be done about it.

use crate::{H3Code, ProxyError};

/// Every failure of this crate. The variant tells the caller what to do; except for
/// [`Error::Template`], which is the operator's fault, the peer is the one who broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Close the QUIC connection with `code`.
    #[error("connection error {code}: {reason}")]
    Connection {
        /// Goes into CONNECTION_CLOSE.
        code: H3Code,
        /// Which rule was broken.
        reason: &'static str,
    },
    /// Reset the stream and stop reading from it, both with `code`.
    #[error("stream error {code}: {reason}")]
    Stream {
        /// Goes into RESET_STREAM and STOP_SENDING.
        code: H3Code,
        /// Which rule was broken.
        reason: &'static str,
    },
    /// The request is well-formed but is not served: answer it with this status.
    #[error("refused with {0}")]
    Refused(Refusal),
    /// The URI template of the configuration can't be used.
    #[error("URI template: {what}")]
    Template {
        /// What is wrong with it and what to write instead.
        what: &'static str,
    },
}

/// The answer to a request that is not served. [`crate::response::refused`] makes its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {details}")]
pub struct Refusal {
    /// HTTP status code.
    pub status: u16,
    /// The error type of the Proxy-Status field, where one fits.
    pub error: Option<ProxyError>,
    /// One sentence for a person, sent to the client.
    pub details: &'static str,
}

impl Error {
    pub(crate) const fn connection(code: H3Code, reason: &'static str) -> Self {
        Self::Connection { code, reason }
    }

    pub(crate) const fn stream(code: H3Code, reason: &'static str) -> Self {
        Self::Stream { code, reason }
    }

    /// A malformed message (RFC 9114 §4.1.2).
    pub(crate) const fn malformed(reason: &'static str) -> Self {
        Self::stream(H3Code::MESSAGE_ERROR, reason)
    }

    /// A request that the client has to correct: 400 with `http_request_error`.
    pub(crate) const fn bad_request(details: &'static str) -> Self {
        Self::refused(400, ProxyError::HttpRequestError, details)
    }

    pub(crate) const fn refused(status: u16, error: ProxyError, details: &'static str) -> Self {
        Self::Refused(Refusal { status, error: Some(error), details })
    }
}
