use thiserror::Error;

/// What can go wrong when an engine is built or reconfigured; all of it is the operator's to fix.
#[derive(Debug, Error)]
pub enum Error {
    /// The TLS configuration can't be used for QUIC.
    #[error("TLS configuration lacks TLS 1.3 with TLS_AES_128_GCM_SHA256, which QUIC needs")]
    NoQuicCipherSuite,
    /// A number is outside of what the protocol or the engine accepts.
    #[error("{field} is {value}, but must be {must}")]
    OutOfRange { field: &'static str, value: u64, must: &'static str },
    /// Not an address block.
    #[error("`{0}` is not an address block; write 192.0.2.0/24 or 2001:db8::/32")]
    BadCidr(String),
}
