//! Vouchers verified: signature, sequence, amount and usage head, as for every one that arrives.

use serde_json::Map;
use weir_settle::book::{Book, LaneKey, RecordFate, Verdict};
use weir_usage::RecordChain;

use crate::common::{EXIT, channel, config, pay, stamped};
use crate::{Measured, Watch};

/// One voucher on each; at less than 100 us each, the whole takes a third of a second.
const LANES: u32 = 4_096;

pub(crate) fn measure() -> Measured {
    let mut config = config();
    config.channels[0].lanes = (0..LANES).collect();
    let mut book = Book::new(&config, [7; 32]);
    let mut chain = RecordChain::new(EXIT, 1);
    let offers: Vec<_> = (0..LANES)
        .map(|lane| {
            let record = stamped(&mut chain, lane, lane.into(), 1_000, 1_000);
            assert_eq!(book.record(&record), RecordFate::New);
            let key = LaneKey { channel: channel(), lane };
            pay(&book.ask(&key).expect("2,000 bytes are owed"))
        })
        .collect();

    let watch = Watch::start();
    for offer in &offers {
        assert_eq!(book.verify(offer), Verdict::Accept);
        book.accept(offer, 0);
    }
    let (seconds, cpu_ns) = watch.stop();
    let signed: u128 = book.lanes().values().map(|lane| lane.vouchered()).sum();
    assert_eq!(signed, u128::from(LANES) * 2_000);
    Measured { units: LANES.into(), seconds, cpu_ns: Some(cpu_ns), figures: Map::new() }
}
