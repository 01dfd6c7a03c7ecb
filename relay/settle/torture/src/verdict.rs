//! The sums at the end of a run: what payers signed, what was claimed, what was delivered.

mod duties;

use std::collections::BTreeMap;

use serde::Serialize;
use weir_settle::journal::entry::Item;
use weir_settle::journal::scan;

use crate::payer::{LANE, Payer};
use crate::relay::{PACKET_BYTES, WINDOW_BYTES};
use crate::run::Run;
use duties::Told;

/// What became of a run. Units are token units, and bytes: a byte costs one.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// Units that the exit lost beyond the window of each session that ended badly.
    pub lost_beyond_window: u64,
    /// Units that a payer was made to pay, or asked to sign, twice.
    pub double_billed: u64,
    /// Units that payers got.
    pub delivered: u64,
    /// Units that they signed for.
    pub signed: u128,
    /// Units that reached the receiver.
    pub received: u128,
    /// Days of samples that were anchored.
    pub days: u64,
    /// Challenges that were answered.
    pub answers: u64,
    /// Epochs that were signed for.
    pub statements: u64,
    /// Anything else that must not be.
    pub complaints: Vec<String>,
    /// Steps that were reached, by name.
    #[serde(skip)]
    pub seen: BTreeMap<String, u64>,
    /// Steps that were crashed at, by name.
    #[serde(skip)]
    pub crashed: BTreeMap<String, u64>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.lost_beyond_window == 0 && self.double_billed == 0 && self.complaints.is_empty()
    }
}

/// Whether everything that was signed for and is covered by a deposit has reached the receiver, and
/// no duty is left.
pub(crate) fn is_quiet(run: &Run) -> bool {
    has_all_money(run) && Told::of(run).unfinished(run).is_empty()
}

fn has_all_money(run: &Run) -> bool {
    let node = run.host.node.lock().expect("no holder of this lock panics");
    let world = node.world();
    let claimed = |p: &Payer| world.claimed(p.channel, LANE);
    let all: u128 = run.payers.iter().map(claimed).sum();
    run.payers.iter().all(|p| claimed(p) >= p.acked.min(p.deposit) && wants_no_more(run, p))
        && run.payers.first().is_none_or(|p| world.received(p.terms.receiver, p.terms.token) == all)
}

/// A payer that is there and has enough pays for everything that the exit knows of.
fn wants_no_more(run: &Run, payer: &Payer) -> bool {
    let used: u64 =
        journaled(run).iter().filter(|(_, r)| r.1 == payer.channel).map(|(_, r)| r.0).sum();
    payer.is_gone || u128::from(used) > payer.deposit || payer.acked >= u128::from(used)
}

/// By tunnel: the highest bytes in the journal, and the channel.
fn journaled(run: &Run) -> BTreeMap<u128, (u64, weir_usage::ChannelId)> {
    let mut tunnels: BTreeMap<u128, (u64, u64, weir_usage::ChannelId)> = BTreeMap::new();
    // What can't be read shows as units that are lost.
    let _ = scan(&run.host.disk, |_, _, entry| {
        if let Item::Record(record) = entry.item {
            let tunnel = tunnels.entry(record.tunnel).or_insert((0, 0, record.channel));
            tunnel.0 = tunnel.0.max(record.up.forwarded.bytes);
            tunnel.1 = tunnel.1.max(record.down.forwarded.bytes);
        }
        Ok(())
    });
    tunnels.into_iter().map(|(id, (up, down, channel))| (id, (up + down, channel))).collect()
}

/// Draws the sums.
pub(crate) fn draw(seed: u64, run: &Run) -> Verdict {
    let (seen, crashed) = run.host.points.counts();
    let mut verdict = Verdict { seed, seen, crashed, ..Verdict::default() };
    verdict.complaints.clone_from(&run.complaints);
    verdict.complaints.extend(run.client.complaints.iter().cloned());
    let told = Told::of(run);
    verdict.complaints.extend(told.unfinished(run));
    verdict.complaints.extend(told.contradictions(run));
    verdict.days = told.days.len() as u64;
    verdict.answers = told.answers.len() as u64;
    verdict.statements = told.statements.len() as u64;
    let journaled = journaled(run);
    let node = run.host.node.lock().expect("no holder of this lock panics");
    let world = node.world();
    let mut all_claimed = 0;
    for (index, payer) in run.payers.iter().enumerate() {
        verdict.complaints.extend(payer.complaints.iter().cloned());
        let claimed = world.claimed(payer.channel, LANE);
        all_claimed += claimed;
        let delivered = u128::from(payer.got_bytes);
        verdict.delivered += payer.got_bytes;
        verdict.signed += payer.signed;
        verdict.double_billed += over(claimed.max(payer.signed), delivered);
        verdict.double_billed += payer.over_asked;
        if claimed + world.balance(payer.channel) != payer.deposit {
            verdict.complaints.push("a channel's units don't add up".into());
        }
        // Acked is as good as paid, as far as the deposit goes.
        verdict.lost_beyond_window += over(payer.acked.min(payer.deposit), claimed);

        let (mut known, mut sessions) = (0, 0);
        for session in run.relay.sessions.values().filter(|s| s.payer == index) {
            sessions += 1;
            let (mut got, mut kept) = (0, 0);
            for (tunnel, bytes) in &session.tunnels {
                let in_journal = journaled.get(tunnel).map_or(0, |t| t.0);
                got += bytes;
                kept += in_journal;
                verdict.double_billed += in_journal.saturating_sub(*bytes);
            }
            known += kept;
            let window = if session.was_cut { WINDOW_BYTES + PACKET_BYTES } else { 0 };
            verdict.lost_beyond_window += got.saturating_sub(kept).saturating_sub(window);
        }
        // One who leaves, or whose deposit is used up, owes at most a window for each session.
        let ends_badly = payer.is_gone || u128::from(known) > payer.deposit;
        let window =
            if ends_badly { u128::from(sessions * (WINDOW_BYTES + PACKET_BYTES)) } else { 0 };
        verdict.lost_beyond_window += over(u128::from(known), claimed + window);
    }
    if let Some(payer) = run.payers.first() {
        verdict.received = world.received(payer.terms.receiver, payer.terms.token);
        verdict.double_billed += over(verdict.received, all_claimed);
        verdict.lost_beyond_window += over(all_claimed, verdict.received);
    }
    verdict
}

/// By how much `a` exceeds `b`.
fn over(a: u128, b: u128) -> u64 {
    u64::try_from(a.saturating_sub(b)).unwrap_or(u64::MAX)
}
