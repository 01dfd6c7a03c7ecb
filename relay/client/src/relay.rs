//! The way to the relay: QUIC connections that are kept up, and the requests that go over them.
//!
//! Invariant: nothing in here knows SOCKS or HTTP/1.1; those ask for a tunnel and get one or a
//! [`Refusal`](crate::refusal::Refusal).

mod access;
mod capsule;
mod datagram;
mod dial;
mod head;
mod link;
mod pool;
mod tls;
mod top_up;
mod transport;

pub(crate) use capsule::CapsuleReader;
pub(crate) use datagram::Deliver;
pub(crate) use link::{Answer, RecvHalf, SendHalf, TcpTunnel, UdpSendError, UdpSender};
pub(crate) use pool::Pool;
