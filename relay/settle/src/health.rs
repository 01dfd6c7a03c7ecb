//! What is wrong, in words: `status` shows it and exits with 1, and `/metrics` counts it by name.

use serde::Serialize;

use crate::chain::ChainView;
use crate::clerk::View;

/// Two clocks of one host, or of two that share a time server, are nearer than this.
const CLOCK_SKEW_MS_MAX: u64 = 60_000;
/// A challenge is answered within minutes, or when the gas for it is cheap; not later than this.
const CHALLENGE_S_MIN: u64 = 86_400;

/// Something that an operator must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// A name for metrics and alerts.
    pub name: &'static str,
    /// What is wrong and what to do.
    pub words: String,
}

/// Everything that is wrong.
pub fn troubles(view: &View, chain: &ChainView) -> Vec<Trouble> {
    let mut found = Vec::new();
    let mut add = |name, words: String| found.push(Trouble { name, words });
    if let Some(error) = &view.journal.error {
        add("journal", format!("the journal can't be written, so nothing is acked: {error}"));
    }
    if let Some(error) = &chain.error {
        add("chain", format!("the chain can't be used: {error}"));
    }
    for endpoint in chain.endpoints.iter().filter(|e| !e.up && e.error.is_some()) {
        let error = endpoint.error.as_deref().unwrap_or_default();
        add("rpc", format!("{} takes no part: {error}", endpoint.rpc));
    }
    if let Some(words) = &chain.quarrel {
        add("disagreement", format!("one of the RPC endpoints lies or is broken: {words}"));
    }
    if chain.wallet_low {
        let wei = chain.wallet_wei.unwrap_or(0);
        let days = chain.wallet_days_left.unwrap_or(0);
        add(
            "wallet",
            format!(
                "the gas wallet {} is low: {wei} wei, about {days} days. Without gas nothing is \
                 claimed: fill it up",
                chain.wallet
            ),
        );
    }
    for intent in &chain.open {
        if let Some(reason) = &intent.refused {
            let words = format!("the node refuses {} {}: {reason}", intent.kind, intent.id);
            add("refused", words);
        }
    }
    for leaving in &chain.leaving {
        let owed = view.lanes.iter().filter(|(key, _)| key.channel.to_string() == leaving.channel);
        let owed = owed.fold(0u128, |sum, (_, lane)| sum.saturating_add(lane.unclaimed));
        if owed > 0 {
            add(
                "leaving",
                format!(
                    "the payer of {} takes its deposit in {} s, and {owed} units are unclaimed",
                    leaving.channel, leaving.seconds_left
                ),
            );
        }
    }
    for challenge in &chain.challenges.open {
        let (hours, id, epoch) = (challenge.seconds_left / 3600, challenge.id, challenge.epoch);
        if let Some(lost) = &challenge.lost {
            let words = format!(
                "challenge {id} of epoch {epoch} can't be answered, {hours} hours are left: {lost}. \
                 Put the journal back that has it"
            );
            add("challenge", words);
        } else if challenge.seconds_left < CHALLENGE_S_MIN {
            let words = format!(
                "challenge {id} of epoch {epoch} isn't answered, {hours} hours are left: `status` \
                 says what waits, or answer with `weir-settle audit prove --challenge {id}`"
            );
            add("challenge", words);
        }
    }
    if chain.challenges.late > 0 {
        let late = chain.challenges.late;
        add(
            "challenge",
            format!(
                "{late} challenges went unanswered: their time is over, and as soon as somebody \
                 calls expireChallenge they are on the exit's record"
            ),
        );
    }
    if let Some(words) = &chain.challenges.trouble {
        add("challenge", format!("challenges can't be read, and have three days: {words}"));
    }
    for words in &chain.days_trouble {
        add("sample_day", words.clone());
    }
    if let Some(words) = &chain.vouch_trouble {
        add("statement", words.clone());
    }
    let now = crate::now_ms();
    if let Some(newest) = view.lanes.values().map(|lane| lane.last_record_ms).max()
        && newest > now.saturating_add(CLOCK_SKEW_MS_MAX)
    {
        let ahead = (newest - now) / 1000;
        add(
            "clock",
            format!(
                "the newest usage record is {ahead} s in the future: the relay's clock or this \
                 host's is wrong. Amounts don't depend on it, ages do"
            ),
        );
    }
    for (key, lane) in &view.lanes {
        if let Some((_, words)) = &lane.held_back {
            add(
                "held_back",
                format!(
                    "channel {} lane {}: nothing new is asked for, {words}",
                    key.channel, key.lane
                ),
            );
        }
    }
    found
}
