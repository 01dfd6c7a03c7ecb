//! What a completion belongs to, packed into the 64 bits of user data.

/// The operation that completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The read of the waker's eventfd.
    Wake,
    /// Multishot receive on client-facing socket 0 or 1.
    ClientReceive(u32),
    /// A send from a slot of the slab, client-facing or UDP target-facing.
    Send(u32),
    /// Operations of the target-facing socket with this index.
    UdpReceive(u32),
    TcpConnect(u32),
    TcpReceive(u32),
    /// From a slot of the slab, straight out of the engine's buffer.
    TcpSend(u32),
    /// From the connection's own backlog.
    TcpBacklog(u32),
    Cancel(u32),
    /// The cancellation of everything when the ring is dropped.
    CancelAll,
    /// The poll of a descriptor that somebody else reads ([`super::Uring::watch`]).
    Watch(u32),
}

impl Token {
    pub(super) fn pack(self) -> u64 {
        let (kind, index) = match self {
            Token::Wake => (0, 0),
            Token::ClientReceive(n) => (1, n),
            Token::Send(n) => (2, n),
            Token::UdpReceive(n) => (3, n),
            Token::TcpConnect(n) => (4, n),
            Token::TcpReceive(n) => (5, n),
            Token::TcpSend(n) => (6, n),
            Token::TcpBacklog(n) => (7, n),
            Token::Cancel(n) => (8, n),
            Token::CancelAll => (9, 0),
            Token::Watch(n) => (10, n),
        };
        kind << 32 | u64::from(index)
    }

    /// `None` for a number that this module never made.
    pub(super) fn unpack(data: u64) -> Option<Token> {
        let index = data as u32;
        Some(match data >> 32 {
            0 => Token::Wake,
            1 => Token::ClientReceive(index),
            2 => Token::Send(index),
            3 => Token::UdpReceive(index),
            4 => Token::TcpConnect(index),
            5 => Token::TcpReceive(index),
            6 => Token::TcpSend(index),
            7 => Token::TcpBacklog(index),
            8 => Token::Cancel(index),
            9 => Token::CancelAll,
            10 => Token::Watch(index),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Wake,
            Token::ClientReceive(1),
            Token::Send(u32::MAX),
            Token::UdpReceive(7),
            Token::TcpConnect(8),
            Token::TcpReceive(9),
            Token::TcpSend(10),
            Token::TcpBacklog(11),
            Token::Cancel(12),
            Token::CancelAll,
            Token::Watch(13),
        ] {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
