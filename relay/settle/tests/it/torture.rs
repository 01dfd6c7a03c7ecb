//! Seeded courses of events with a crash at every step; see `relay/settle/torture`.

use weir_torture::torture;

/// More are made by `cargo xtask settle-torture`.
const RUNS: u64 = 320;

#[test]
fn whatever_dies_the_exit_loses_no_more_than_the_window_and_bills_nothing_twice() {
    let summary = torture(1, RUNS, |_| ());
    assert_eq!(summary.runs, RUNS);
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert_eq!((summary.lost_beyond_window, summary.double_billed), (0, 0));
    assert_eq!(summary.never_crashed_at, Vec::<String>::new(), "of {:?}", summary.crash_points);
    assert!(summary.delivered > 50_000 * RUNS, "only {} units", summary.delivered);
    assert!(summary.received > u128::from(summary.delivered) * 3 / 4, "{}", summary.received);
}

#[test]
fn a_seed_is_all_that_a_run_depends_on() {
    let show = |seed| serde_json::to_string(&torture(seed, 2, |_| ())).unwrap();
    assert_eq!(show(1001), show(1001));
}
