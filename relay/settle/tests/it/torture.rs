//! Seeded courses of events with a crash at every step; see `relay/settle/torture`.

use weir_torture::{
    another_challenge_as_one_is_recorded, crowd, torture, unmined_beside_a_leaving_payer,
};

/// More are made by `cargo xtask settle-torture`.
const RUNS: u64 = 384;

#[test]
fn whatever_dies_the_exit_loses_no_more_than_the_window_and_bills_nothing_twice() {
    let summary = torture(1, RUNS, |_| ());
    assert_eq!(summary.runs, RUNS);
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert_eq!((summary.lost_beyond_window, summary.double_billed), (0, 0));
    assert_eq!(summary.never_crashed_at, Vec::<String>::new(), "of {:?}", summary.crash_points);
    assert!(summary.delivered > 50_000 * RUNS, "only {} units", summary.delivered);
    assert!(summary.received > u128::from(summary.delivered) * 3 / 4, "{}", summary.received);
    let duties = [summary.days, summary.answers, summary.statements];
    assert!(duties.iter().all(|done| *done > RUNS / 2), "too little to do: {duties:?}");
}

/// What can't wait goes first, but not before what was signed and has to be mined again.
#[test]
fn a_claim_whose_block_left_the_chain_holds_up_nobody() {
    assert_eq!(unmined_beside_a_leaving_payer(), Vec::<String>::new());
}

/// There are as many open ones as before, but it isn't the same one.
#[test]
fn a_challenge_that_comes_as_a_late_one_is_recorded_is_answered() {
    assert_eq!(another_challenge_as_one_is_recorded(), Vec::<String>::new());
}

/// However many there are, the node is asked little, one answer at a time is sent, and a claim that
/// can't wait doesn't.
#[test]
fn a_thousand_challenges_are_answered_and_a_claim_goes_first() {
    let crowd = crowd(1_000, true);
    assert_eq!(crowd.complaints, Vec::<String>::new());
    assert_eq!((crowd.answered, crowd.late, crowd.said_late), (1_000, 0, 0), "{crowd:?}");
    assert!(crowd.answers_before_claim.unwrap() <= 20, "{crowd:?}");
    assert!(crowd.calls_max <= 256, "{crowd:?}");
    assert!(crowd.open_max <= 24, "{crowd:?}");
    assert!(crowd.input_max <= 1_024, "{crowd:?}");
}

/// More than are remembered, and a time in which few can be answered.
#[test]
fn challenges_that_cannot_be_answered_in_time_are_counted_aloud() {
    let crowd = crowd(5_000, false);
    assert_eq!(crowd.complaints, Vec::<String>::new());
    assert!(crowd.answered >= 250 && crowd.late >= 4_000, "{crowd:?}");
    assert_eq!(crowd.answered + crowd.late, 5_000, "{crowd:?}");
    assert_eq!(crowd.said_late, crowd.late, "{crowd:?}");
    assert!(crowd.troubles.contains("challenge"), "{crowd:?}");
    assert!(crowd.watched_max <= 4_096, "{crowd:?}");
    assert!(crowd.calls_max <= 256, "{crowd:?}");
}

#[test]
fn a_seed_is_all_that_a_run_depends_on() {
    let show = |seed| serde_json::to_string(&torture(seed, 2, |_| ())).unwrap();
    assert_eq!(show(1001), show(1001));
}
