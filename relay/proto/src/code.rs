//! Error codes of HTTP/3.

use std::fmt;

/// An application error code as it stands in CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING
/// (RFC 9114 §8.1, RFC 9204 §6, RFC 9297 §5.2). A peer may send any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct H3Code(pub u64);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl H3Code {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The registered name, for logs and metrics.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// HTTP Datagram or its Quarter Stream ID is wrong (RFC 9297 §5.2).
    DATAGRAM_ERROR = 0x33, "H3_DATAGRAM_ERROR";
    /// Nothing is wrong.
    NO_ERROR = 0x0100, "H3_NO_ERROR";
    /// A rule was broken that no other code fits.
    GENERAL_PROTOCOL_ERROR = 0x0101, "H3_GENERAL_PROTOCOL_ERROR";
    /// The relay failed, not the peer.
    INTERNAL_ERROR = 0x0102, "H3_INTERNAL_ERROR";
    /// A stream that the peer may not open.
    STREAM_CREATION_ERROR = 0x0103, "H3_STREAM_CREATION_ERROR";
    /// The control stream or a QPACK stream ended.
    CLOSED_CRITICAL_STREAM = 0x0104, "H3_CLOSED_CRITICAL_STREAM";
    /// A frame where it is not allowed.
    FRAME_UNEXPECTED = 0x0105, "H3_FRAME_UNEXPECTED";
    /// A frame whose layout or length is wrong.
    FRAME_ERROR = 0x0106, "H3_FRAME_ERROR";
    /// The peer causes more work than it should.
    EXCESSIVE_LOAD = 0x0107, "H3_EXCESSIVE_LOAD";
    /// A stream id or push id is wrong.
    ID_ERROR = 0x0108, "H3_ID_ERROR";
    /// A wrong SETTINGS frame.
    SETTINGS_ERROR = 0x0109, "H3_SETTINGS_ERROR";
    /// The control stream did not begin with SETTINGS.
    MISSING_SETTINGS = 0x010a, "H3_MISSING_SETTINGS";
    /// Not processed at all; the client may try again elsewhere.
    REQUEST_REJECTED = 0x010b, "H3_REQUEST_REJECTED";
    /// No longer wanted.
    REQUEST_CANCELLED = 0x010c, "H3_REQUEST_CANCELLED";
    /// The client's stream ended without a whole request.
    REQUEST_INCOMPLETE = 0x010d, "H3_REQUEST_INCOMPLETE";
    /// A malformed HTTP message.
    MESSAGE_ERROR = 0x010e, "H3_MESSAGE_ERROR";
    /// The TCP connection of a CONNECT was reset or closed abnormally.
    CONNECT_ERROR = 0x010f, "H3_CONNECT_ERROR";
    /// Not to be served over HTTP/3.
    VERSION_FALLBACK = 0x0110, "H3_VERSION_FALLBACK";
    /// A field section that can't be decoded (RFC 9204 §6).
    QPACK_DECOMPRESSION_FAILED = 0x0200, "QPACK_DECOMPRESSION_FAILED";
    /// A wrong instruction on the peer's encoder stream.
    QPACK_ENCODER_STREAM_ERROR = 0x0201, "QPACK_ENCODER_STREAM_ERROR";
    /// A wrong instruction on the peer's decoder stream.
    QPACK_DECODER_STREAM_ERROR = 0x0202, "QPACK_DECODER_STREAM_ERROR";
}

impl fmt::Display for H3Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}
