//! Bytes to messages and back: HTTP/3 and QPACK, capsules and HTTP Datagrams, CONNECT and
//! CONNECT-UDP requests, their answers and Proxy-Status.
//!
//! Nothing here does I/O or reads a clock. Decoders are fed [`bytes::Bytes`] as they come off a
//! stream, cut anywhere, and are drained by calling `decode` until it returns `None`; `finish`
//! says whether the stream may end there. Payload comes out as slices of what went in. Every
//! failure is an [`Error`] whose variant tells the caller what to do about it. Whatever a decoder
//! keeps is bounded by a named limit, and no input makes one panic.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod capsule;
mod code;
pub mod datagram;
mod error;
mod field;
pub mod h3;
pub mod qpack;
pub mod request;
pub mod response;
mod structured;
pub mod target;
pub mod template;
pub mod varint;

pub use code::H3Code;
pub use error::{Error, Refusal};
pub use field::Field;
pub use response::{ProxyError, ProxyStatus};
pub use target::{Host, Target};
