//! The score.

use weir_sla::{Day, Reputation};

fn day(day: u64, paid: u128, good: u32, bad: u32) -> Day {
    Day { day, paid, good, bad }
}

fn score(inputs: &[Day], as_of_day: u64) -> u32 {
    Reputation::of(inputs.to_vec(), as_of_day).score_ppm
}

#[test]
fn nobody_is_trusted_or_distrusted_without_paid_intervals() {
    assert_eq!(score(&[], 100), 500_000);
    // What nobody paid for says nothing.
    assert_eq!(score(&[day(100, 0, 1_440, 0)], 100), 500_000);
    // Nor do days that are still to come.
    assert_eq!(score(&[day(101, 5, 1_440, 0)], 100), 500_000);
}

#[test]
fn it_rises_with_good_days_and_falls_with_bad_ones() {
    let good: Vec<Day> = (0..30).map(|n| day(n, 10, 1_440, 0)).collect();
    let one_bad = [&good[..29], &[day(29, 10, 720, 720)]].concat();
    let few = score(&good[..1], 0);
    assert!(few > 990_000 && score(&good, 29) > few);
    assert!(score(&one_bad, 29) < score(&good, 29));
    // A bad day weighs less once it is long ago.
    let later =
        [&one_bad[..], &(30..90).map(|n| day(n, 10, 1_440, 0)).collect::<Vec<_>>()].concat();
    assert!(score(&later, 89) > score(&one_bad, 29));
}

#[test]
fn the_weight_is_what_was_paid() {
    let cheap_good = [day(0, 1, 100, 0), day(0, 9, 0, 100)];
    let dear_good = [day(0, 9, 100, 0), day(0, 1, 0, 100)];
    assert!(score(&cheap_good, 0) < 200_000 && score(&dear_good, 0) > 800_000);
    // In whichever token.
    let scaled: Vec<Day> =
        dear_good.iter().map(|d| Day { paid: d.paid * 1_000_000, ..*d }).collect();
    assert_eq!(score(&scaled, 0), score(&dear_good, 0));
}

#[test]
fn half_of_it_is_forgotten_in_thirty_days() {
    // Good long ago against bad today: 2 to 1 in intervals is 1 to 1 after a half-life.
    let inputs = [day(0, 1, 2_000_000, 0), day(30, 1, 0, 1_000_000)];
    let found = score(&inputs, 30);
    assert!((499_990..=500_010).contains(&found), "{found}");
}
