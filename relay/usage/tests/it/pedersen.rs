//! Sums of hidden amounts: right ones are taken, wrong ones refused.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_usage::Error;
use weir_usage::pedersen::{Blinder, COMMITMENTS_MAX, Commitment, Opening, digest};

fn opening(amount: u128, number: u64) -> Opening {
    Opening { amount, blinder: Blinder::derive(&[7; 32], &number.to_be_bytes()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_opened_sum_is_the_sum(amounts in vec(0..1u128 << 120, 1..6), more in 1..1u128 << 64) {
        let openings: Vec<Opening> =
            amounts.iter().zip(0..).map(|(amount, i)| opening(*amount, i)).collect();
        let list: Vec<Commitment> = openings.iter().map(Opening::commit).collect();
        let sum = Opening::sum(&openings).unwrap();
        prop_assert_eq!(sum.amount, amounts.iter().sum::<u128>());
        prop_assert_eq!(sum.verify_sum(&list), Ok(()));
        for (one, commitment) in openings.iter().zip(&list) {
            prop_assert_eq!(one.verify(commitment), Ok(()));
        }
        let above = Opening { amount: sum.amount + more, ..sum };
        prop_assert_eq!(above.verify_sum(&list), Err(Error::BadOpening));
        let other = Opening { blinder: opening(0, 99).blinder, ..sum };
        prop_assert_eq!(other.verify_sum(&list), Err(Error::BadOpening));
        prop_assert_eq!(sum.verify_sum(&list[1..]), Err(Error::BadOpening));
        let twice = [&list[..], &list[..1]].concat();
        prop_assert_eq!(sum.verify_sum(&twice), Err(Error::BadOpening));
        prop_assert_ne!(digest(&twice), digest(&list));
    }
}

#[test]
fn the_same_amount_looks_different_every_time() {
    let (one, two) = (opening(5, 1).commit(), opening(5, 2).commit());
    assert_ne!(one, two);
    assert_eq!(one.to_string().parse(), Ok(one));
    let blinder = opening(5, 1).blinder;
    assert_eq!(blinder.to_string().parse(), Ok(blinder));
    assert!(!format!("{:?}", opening(5, 1)).contains(&blinder.to_string()[2..]));
}

#[test]
fn what_is_no_point_or_number_is_refused() {
    let point = |text: &str| text.parse::<Commitment>();
    let short = Error::BadHex { what: "commitment", digits: 66 };
    assert_eq!(point("0x02"), Err(short));
    let x = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    assert!(point(&format!("0x02{x}")).is_ok());
    // An uncompressed tag, the identity's, a tag of nothing; x past the field; x on no point.
    for bad in [
        format!("0x04{x}"),
        format!("0x00{x}"),
        format!("0x05{x}"),
        format!("0x02{}", "ff".repeat(32)),
        format!("0x02{:064x}", 5),
    ] {
        assert_eq!(point(&bad), Err(Error::NotOnCurve), "{bad}");
    }
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    assert_eq!(format!("0x{order}").parse::<Blinder>(), Err(Error::ScalarRange));
    let full = [opening(u128::MAX, 0), opening(1, 1)];
    assert_eq!(Opening::sum(&full), Err(Error::SumOverflow));
    let many = vec![opening(0, 0).commit(); COMMITMENTS_MAX + 1];
    assert_eq!(opening(0, 0).verify_sum(&many), Err(Error::BadOpening));
}
