//! TCP targets and their connections.

use std::collections::VecDeque;

/// How a TCP target behaves. All keep what they received.
#[derive(Clone, Copy, Debug)]
pub enum TcpTarget {
    /// Sends everything back, and FIN after FIN.
    Echo,
    /// Sends `bytes` bytes, then FIN.
    Source { bytes: usize },
    /// Reads, and answers FIN with FIN.
    Sink,
    /// Takes so much into its buffers and never reads.
    Stuck { takes: usize },
    /// RST after receiving so much.
    Resets { after: usize },
    /// Connection refused.
    Refuses,
    /// SYNs vanish.
    Vanishes,
}

/// One connection of the relay to a TCP target.
#[derive(Debug)]
pub struct TcpConnection {
    pub target: TcpTarget,
    pub open: bool,
    pub closing: bool,
    /// Bytes that the engine allows to be read.
    pub credit: usize,
    /// From the engine, not taken by the kernel yet.
    pub queued: VecDeque<u8>,
    pub shutdown: bool,
    /// From the target, not read yet.
    pub outbound: VecDeque<u8>,
    pub outbound_fin: bool,
    pub eof_sent: bool,
    pub received: usize,
}

impl TcpConnection {
    pub fn new(target: TcpTarget) -> Self {
        let mut connection = TcpConnection {
            target,
            open: false,
            closing: false,
            credit: 0,
            queued: VecDeque::new(),
            shutdown: false,
            outbound: VecDeque::new(),
            outbound_fin: false,
            eof_sent: false,
            received: 0,
        };
        if let TcpTarget::Source { bytes } = target {
            connection.outbound.extend((0..bytes).map(pattern));
            connection.outbound_fin = true;
        }
        connection
    }

    /// Bytes that the kernel takes now.
    pub fn accepts(&self) -> usize {
        match self.target {
            TcpTarget::Stuck { takes } => takes.saturating_sub(self.received),
            _ => usize::MAX,
        }
    }
}

/// What a source sends at an offset.
pub fn pattern(offset: usize) -> u8 {
    (offset % 251) as u8
}
