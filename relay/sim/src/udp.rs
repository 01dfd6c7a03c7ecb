//! UDP targets.

use std::time::Duration;

/// How a UDP target behaves. All keep what they received.
#[derive(Clone, Copy, Debug)]
pub enum UdpTarget {
    /// Sends everything back after a while.
    Echo { delay: Duration },
    /// Never answers.
    Sink,
    /// The port is closed: every send leads to ECONNREFUSED.
    Closed,
    /// The kernel refuses longer datagrams than this (EMSGSIZE); shorter ones are echoed.
    Mtu(usize),
    /// The socket can't even be opened.
    NoRoute,
}

/// One socket of the relay towards a UDP target.
#[derive(Debug)]
pub struct UdpSocket {
    pub open: bool,
    pub closing: bool,
}
