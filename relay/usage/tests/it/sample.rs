//! What a sample's signature holds.

use proptest::prelude::*;
use weir_usage::bond::BondDomain;
use weir_usage::{Address, CoSigned, Error, Sample, SigningKey, SlaId};

use crate::random::sample;

const DOMAIN: BondDomain = BondDomain { chain_id: 31_337, bond: Address([0xb0; 20]) };

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

/// One of the fields, changed.
fn change(sample: &Sample, field: usize) -> Sample {
    let mut other = *sample;
    match field {
        0 => other.sla = SlaId([!sample.sla.0[0]; 32]),
        1 => other.lane ^= 1,
        2 => other.interval ^= 1,
        3 => other.up_bytes ^= 1,
        4 => other.down_bytes ^= 1,
        5 => other.rtt_p50_us ^= 1,
        6 => other.rtt_p95_us ^= 1,
        7 => other.loss_ppm ^= 1,
        8 => other.tput_1s_max_kbps ^= 1,
        _ => other.n ^= 1,
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_field_can_be_changed_under_a_signature(sample in sample(), field in 0..10usize) {
        let signed = sample.sign(&DOMAIN, &key(1));
        prop_assert_eq!(signed.recover(&DOMAIN), Ok(key(1).address()));
        let other = change(&sample, field);
        prop_assert_ne!(other.digest(&DOMAIN), sample.digest(&DOMAIN));
        let elsewhere = BondDomain { chain_id: 1, ..DOMAIN };
        prop_assert_ne!(sample.digest(&elsewhere), sample.digest(&DOMAIN));
    }

    #[test]
    fn both_must_have_signed(sample in sample()) {
        let by = |number| sample.sign(&DOMAIN, &key(number)).signature;
        let both = CoSigned { sample, signature: by(1), exit_signature: by(2) };
        let (client, exit) = (key(1).address(), key(2).address());
        prop_assert_eq!(both.verify(&DOMAIN, client, exit), Ok(()));
        let alone = CoSigned { exit_signature: by(1), ..both };
        let refused = alone.verify(&DOMAIN, client, exit);
        prop_assert_eq!(refused, Err(Error::WrongSigner { expected: exit, found: client }));
        let refused = both.verify(&DOMAIN, exit, exit);
        prop_assert_eq!(refused, Err(Error::WrongSigner { expected: exit, found: client }));
    }
}
