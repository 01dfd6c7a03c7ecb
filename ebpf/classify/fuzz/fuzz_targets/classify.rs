//! `cargo +nightly fuzz run classify`, in `ebpf/classify`. New inputs that the run keeps go into
//! the corpus, which `cargo test -p weir-classify` replays.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_abi::{ABI_VERSION, Config, Direction, Listen, PassReason, Verdict};
use weir_classify::classify;

fuzz_target!(|frame: &[u8]| {
    let everywhere = Listen { addr: [0; 16], port: 4433, pad: [0; 2] };
    let mut config = Config { abi_version: ABI_VERSION, listen_len: 1, ..Config::EMPTY };
    config.listen[0] = everywhere;
    for direction in Direction::ALL {
        let got = classify(&frame, &config, direction);
        assert!(got.payload_len as usize <= frame.len());
        assert_eq!(got.flow.is_some(), got.verdict == Verdict::Pass(PassReason::Flow));
        assert!(direction == Direction::Ingress || !matches!(got.verdict, Verdict::Drop(_)));
    }
});
