//! A table of named frames with the verdict that each must get on ingress. The tests of this
//! crate run it on the host, those of weir-xdp run it through the loaded program.

pub(crate) mod build;
mod table;

use weir_abi::{ABI_VERSION, Config, Listen, Verdict};

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

/// Where the relay of the table listens.
pub(crate) const LISTEN: [&str; 4] =
    ["192.0.2.1:4433", "[2001:db8::1]:4433", "0.0.0.0:8443", "[::]:9443"];

pub(crate) fn config() -> Config {
    let listen = LISTEN.map(|address| Listen::new(address.parse().expect("literal")));
    Config { abi_version: ABI_VERSION, listen, ..Config::EMPTY }
}
