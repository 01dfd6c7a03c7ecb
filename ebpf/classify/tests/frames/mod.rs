//! A table of named frames with the verdict that each must get on ingress. The tests of this
//! crate run it on the host, those of weir-xdp run it through the loaded program.

pub(crate) mod build;
mod table;

use weir_abi::{ABI_VERSION, Config, Listen, Verdict};

use build::{RELAY4, RELAY6};
pub(crate) use table::table;

/// One frame as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdict: Verdict,
    /// Payload bytes that are counted.
    pub(crate) payload_len: u32,
}

/// Listens on `192.0.2.1:4433`, `[2001:db8::1]:4433`, `0.0.0.0:8443` and `[::]:9443`.
pub(crate) fn config() -> Config {
    let v4 = |[a, b, c, d]: [u8; 4]| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
    let listen = |addr, port| Listen { addr, port, pad: [0; 2] };
    Config {
        abi_version: ABI_VERSION,
        listen_len: 4,
        listen: [
            listen(v4(RELAY4), 4433),
            listen(RELAY6, 4433),
            listen(v4([0; 4]), 8443),
            listen([0; 16], 9443),
        ],
    }
}
