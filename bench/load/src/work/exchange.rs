//! What a TCP connection to `weir-load target` begins with.

/// The length of an [`Ask`] on the wire.
pub(crate) const HEADER_BYTES: usize = 12;

/// What the target is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Send without end.
    Download,
    /// Read without end.
    Upload,
    /// Read `request` bytes, these included, answer with `response` bytes and close.
    Exchange { request: u32, response: u32 },
}

impl Ask {
    /// A word and two numbers in network order.
    pub(crate) fn write(self) -> [u8; HEADER_BYTES] {
        let (word, request, response) = match self {
            Ask::Download => (*b"GIVE", 0, 0),
            Ask::Upload => (*b"TAKE", 0, 0),
            Ask::Exchange { request, response } => (*b"SWAP", request, response),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&word);
        bytes[4..8].copy_from_slice(&u32::to_be_bytes(request));
        bytes[8..].copy_from_slice(&u32::to_be_bytes(response));
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Ask> {
        let (word, rest) = bytes.split_first_chunk::<4>()?;
        let (request, rest) = rest.split_first_chunk()?;
        let (response, _) = rest.split_first_chunk()?;
        match word {
            b"GIVE" => Some(Ask::Download),
            b"TAKE" => Some(Ask::Upload),
            b"SWAP" => Some(Ask::Exchange {
                request: u32::from_be_bytes(*request),
                response: u32::from_be_bytes(*response),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let exchange = Ask::Exchange { request: 1024, response: 77 };
        for ask in [Ask::Download, Ask::Upload, exchange] {
            assert_eq!(Ask::read(&ask.write()), Some(ask));
        }
        assert_eq!(Ask::read(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(Ask::read(b"GIVE"), None);
    }
}
