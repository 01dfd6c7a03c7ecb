//! Every metric, once: `/metrics` and `METRICS.md` are both made from this table.

/// Name, kind and help of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// gauge or counter.
    pub kind: &'static str,
    /// One sentence.
    pub help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: "gauge", help }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: "counter", help }
}

/// All of them, by what they are about.
pub const FAMILIES: &[Family] = &[
    gauge("weir_settle_exposure_units", "Token units used and not signed for."),
    gauge("weir_settle_unclaimed_units", "Token units signed for and not claimed."),
    gauge("weir_settle_earned_units", "Token units claimed and not yet pulled."),
    gauge("weir_settle_lane_exposure_units", "Token units used and not signed for, by lane."),
    gauge("weir_settle_lane_held_back", "1 if nothing new is asked for, by reason."),
    gauge("weir_settle_lane_funding", "1 for the present funding of a lane's channel."),
    gauge("weir_settle_lane_record_age_seconds", "Time since a lane's newest usage record."),
    gauge("weir_settle_lane_voucher_age_seconds", "Time since a lane's newest voucher."),
    gauge("weir_settle_lanes_not_shown", "Lanes left out of the metrics by lane: too many."),
    gauge(
        "weir_settle_oldest_voucher_age_seconds",
        "Age of the oldest best voucher among lanes that owe something.",
    ),
    gauge("weir_settle_record_lag_seconds", "Time since the newest usage record's counters."),
    gauge(
        "weir_settle_access_billed_bytes",
        "Payload billed by the connected relays' processes, by direction, where a kernel counts.",
    ),
    gauge(
        "weir_settle_access_seen_bytes",
        "UDP payload that their kernels saw on the side of clients (ledger C), by direction.",
    ),
    counter("weir_settle_records_total", "Usage records since the journal began, by fate."),
    counter("weir_settle_vouchers_accepted_total", "Vouchers taken since the start."),
    counter("weir_settle_vouchers_refused_total", "Vouchers refused since the start, by reason."),
    counter("weir_settle_samples_total", "Samples since the start: signed, or why not."),
    gauge("weir_settle_journal_bytes", "Durable bytes of the journal."),
    gauge("weir_settle_journal_failing", "1 while the journal can't be written."),
    gauge("weir_settle_tunnels", "Tunnels remembered."),
    gauge("weir_settle_relays", "Relays connected."),
    counter("weir_settle_relays_cut_total", "Connections closed for what the relay sent."),
    counter("weir_settle_frames_total", "Frames read from relays."),
    gauge("weir_settle_chain_reachable", "1 if the last look at the chain succeeded."),
    gauge("weir_settle_chain_block", "Newest block that most endpoints have."),
    gauge("weir_settle_chain_look_age_seconds", "Time since the last look that succeeded."),
    gauge("weir_settle_chain_lag_blocks", "Blocks from there to the newest that any has."),
    gauge("weir_settle_rpc_up", "1 while an RPC endpoint takes part."),
    gauge("weir_settle_rpc_behind_blocks", "Blocks that an endpoint is behind the furthest."),
    counter("weir_settle_rpc_failures_total", "How often an endpoint fell out."),
    counter("weir_settle_rpc_dissents_total", "Answers that differ from what was believed."),
    gauge("weir_settle_rpc_disagreement", "1 for a minute after endpoints disagreed."),
    gauge("weir_settle_gas_price_wei", "What a transaction would pay per gas now."),
    gauge("weir_settle_outbox_open", "Intents that are not final."),
    gauge("weir_settle_outbox_refused", "Intents whose transaction the node refuses."),
    gauge("weir_settle_waiting", "Intents that are due and wait, by kind and reason."),
    gauge(
        "weir_settle_withdrawal_seconds_left",
        "Time until a payer that withdraws can take its deposit.",
    ),
    gauge(
        "weir_settle_challenges",
        "Challenges of this exit, by state; `lost` and `late` are open ones.",
    ),
    gauge(
        "weir_settle_challenge_seconds_left",
        "Time until the open challenge that ends first can't be answered any more.",
    ),
    gauge("weir_settle_challenge_fees_wei", "Fees of answers that are to be fetched."),
    gauge("weir_settle_sample_days_pending", "Days of samples with a root that isn't anchored."),
    gauge("weir_settle_statement_epoch", "The newest epoch that the usage key signed for."),
    gauge("weir_settle_wallet_wei", "What the gas wallet has."),
    gauge("weir_settle_wallet_days_left", "Days of gas in it, by the dearer of past and policy."),
    gauge("weir_settle_wallet_low", "1 if it is below the configured floor, in wei or in days."),
    gauge("weir_settle_troubles", "1 for each thing that `weir-settle status` calls wrong."),
];

/// The page that documents them.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics of weir-settle\n\nFrom `/metrics` on `admin.listen`. Generated from \
         `src/metrics/families.rs` by a test: set `WEIR_BLESS=1` to write it anew. Amounts are token \
         units;\n`status --json` has them exactly. Alerts are in `deploy/prometheus`.\n\n\
         | metric | kind | meaning |\n|---|---|---|\n",
    );
    for family in FAMILIES {
        page += &format!("| `{}` | {} | {} |\n", family.name, family.kind, family.help);
    }
    page
}
