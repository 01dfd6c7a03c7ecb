//! `cargo +nightly fuzz run classify`, in `ebpf/classify`. New inputs that the run keeps go into
//! the corpus, which `cargo test -p weir-classify` replays.
#![no_main]

use std::net::{Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use weir_abi::{ABI_VERSION, Config, Direction, Listen, PassReason, Verdict};
use weir_classify::classify;

fuzz_target!(|frame: &[u8]| {
    let everywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 4433);
    let mut config = Config { abi_version: ABI_VERSION, ..Config::EMPTY };
    config.listen[0] = Listen::new(everywhere);
    for direction in Direction::ALL {
        let got = classify(&frame, &config, direction);
        assert!(got.payload_len as usize <= frame.len());
        assert_eq!(got.flow.is_some(), got.verdict == Verdict::Pass(PassReason::Flow));
        assert!(direction == Direction::Ingress || !matches!(got.verdict, Verdict::Drop(_)));
    }
});
