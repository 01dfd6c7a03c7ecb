//! `cargo +nightly fuzz run classify`, in `ebpf/classify`. New inputs that the run keeps go into
//! the corpus, which `cargo test -p weir-classify` replays.
#![no_main]

use std::net::{Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use weir_abi::{ABI_VERSION, Config, Direction, Listen, PassReason, Steer, Verdict, cid::CidKey};
use weir_classify::{Payload, classify, steer};

const KEY: CidKey = CidKey::from_bytes(*b"any sixteen byte");
const CURRENT: Steer = Steer { key: KEY, generation: 0, base: 0, workers: 3 };
const UNUSED: Steer = Steer { key: CidKey::ZERO, generation: 0, base: 0, workers: 0 };

fuzz_target!(|frame: &[u8]| {
    let everywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 4433);
    let mut config = Config { abi_version: ABI_VERSION, ..Config::EMPTY };
    config.listen[0] = Listen::new(everywhere);
    for direction in Direction::ALL {
        let got = classify(&frame, &config, direction);
        assert!(got.payload_len as usize <= frame.len());
        assert_eq!(got.flow.is_some(), got.verdict == Verdict::Pass(PassReason::Flow));
        assert!(direction == Direction::Ingress || !matches!(got.verdict, Verdict::Drop(_)));
        let end = got.plain_payload + got.payload_len;
        assert!(end as usize <= frame.len());
        if got.plain_payload != 0 {
            // What is steered to an AF_XDP socket follows the engine's rule for the payload.
            let payload = &frame[got.plain_payload as usize..end as usize];
            let (_, worker) = steer(&Payload::new(&frame, &got), &CURRENT, &UNUSED);
            assert_eq!(worker, CURRENT.key.worker(payload, CURRENT.workers));
        }
    }
});
