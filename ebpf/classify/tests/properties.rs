//! Properties that hold for any bytes, and the fuzzer's corpus.

mod frames;

use std::fs;
use std::path::Path;

use frames::{config, table};
use proptest::prelude::*;
use weir_abi::{Config, Direction, PassReason, Verdict};
use weir_classify::{Classified, Frame, OFFSET_MAX, classify};

/// A frame that fails the test when a read leaves the promised window.
#[derive(Clone, Copy)]
struct Watched<'a>(&'a [u8]);

impl Frame for Watched<'_> {
    fn frame_len(&self) -> u32 {
        self.0.len() as u32
    }

    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        assert!(offset <= OFFSET_MAX, "read at {offset}");
        self.0.read(offset)
    }
}

fn is_tagged(bytes: &[u8]) -> bool {
    matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]))
}

fn check(bytes: &[u8], config: &Config, direction: Direction) -> Classified {
    let got = classify(&Watched(bytes), config, direction);
    assert!(got.payload_len as usize <= bytes.len(), "more payload than frame: {got:?}");
    assert_eq!(got.flow.is_some(), got.verdict == Verdict::Pass(PassReason::Flow), "{got:?}");
    let counts_payload = matches!(got.verdict, Verdict::Pass(PassReason::Flow) | Verdict::Ours(_));
    assert!(counts_payload || got.payload_len == 0, "{got:?}");
    assert!(direction == Direction::Ingress || !matches!(got.verdict, Verdict::Drop(_)), "{got:?}");
    let is_whole = counts_payload || matches!(got.verdict, Verdict::Drop(_));
    assert!(got.plain_payload == 0 || is_whole, "{got:?}");
    assert!((got.plain_payload + got.payload_len) as usize <= bytes.len(), "{got:?}");
    got
}

#[test]
fn corpus_is_replayed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/classify");
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus is in the repository") {
        let input = fs::read(entry.expect("directory entry").path()).expect("corpus file");
        for direction in Direction::ALL {
            check(&input, &config(), direction);
        }
        replayed += 1;
    }
    assert!(replayed >= 10, "only {replayed} inputs in {}", corpus.display());
}

proptest! {
    // A failing input belongs into the corpus, not into a file beside the tests.
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for direction in Direction::ALL {
            check(&bytes, &config(), direction);
        }
    }

    #[test]
    fn a_good_frame_with_changed_bytes(
        index in any::<prop::sample::Index>(),
        changes in prop::collection::vec((0usize..80, any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
    ) {
        let frames = table();
        let mut bytes = index.get(&frames).bytes.clone();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(length.index(bytes.len() + 1));
        for direction in Direction::ALL {
            check(&bytes, &config(), direction);
        }
    }

    /// Cutting a frame never turns it into a drop: what can't be seen is passed.
    #[test]
    fn a_cut_frame_is_never_dropped(index in any::<prop::sample::Index>(), cut in 1usize..80) {
        let frames = table();
        let frame = index.get(&frames);
        prop_assume!(cut <= frame.bytes.len());
        let bytes = &frame.bytes[..frame.bytes.len() - cut];
        let got = check(bytes, &config(), Direction::Ingress);
        let was_drop = matches!(frame.verdict, Verdict::Drop(_));
        prop_assert!(was_drop || !matches!(got.verdict, Verdict::Drop(_)), "{}: {got:?}", frame.name);
    }

    /// The headers at their usual offsets and the same headers elsewhere are read by two copies of
    /// one parser, which agree: a tag in front of them changes nothing but the way to AF_XDP.
    #[test]
    fn a_tag_changes_nothing(
        index in any::<prop::sample::Index>(),
        changes in prop::collection::vec((14usize..100, any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let frames: Vec<_> = table().into_iter().filter(|frame| !is_tagged(&frame.bytes)).collect();
        let mut bytes = index.get(&frames).bytes.clone();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(length.index(bytes.len() + 1).max(14));
        let mut tagged = bytes.clone();
        tagged.splice(12..12, [0x81, 0x00, 0, 7]);
        for direction in Direction::ALL {
            let plain = check(&bytes, &config(), direction);
            let behind = check(&tagged, &config(), direction);
            prop_assert_eq!(behind.plain_payload, 0);
            prop_assert_eq!(Classified { plain_payload: 0, ..plain }, behind);
        }
    }

    /// Bytes behind the IP packet change nothing.
    #[test]
    fn padding_never_counts(index in any::<prop::sample::Index>(), padding in 1usize..60) {
        let counts =
            |v: Verdict| matches!(v, Verdict::Pass(PassReason::Flow) | Verdict::Ours(_));
        let frames: Vec<_> = table().into_iter().filter(|frame| counts(frame.verdict)).collect();
        let frame = index.get(&frames);
        let mut bytes = frame.bytes.clone();
        bytes.resize(bytes.len() + padding, 0xaa);
        let got = check(&bytes, &config(), Direction::Ingress);
        prop_assert_eq!(got.payload_len, frame.payload_len, "{}", frame.name);
    }
}
