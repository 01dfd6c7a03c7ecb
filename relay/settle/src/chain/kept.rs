//! The past as rows, and from rows: what [`crate::state`] keeps. Intents are rows of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_usage::bond::EpochStatement;
use weir_usage::{ChannelId, SlaId};

use super::Past;
use super::days::Decided;
use super::outbox::{Intent, Outbox};
use super::wallet::Spending;
use crate::book::LaneKey;
use crate::journal::entry::Vouched;

/// All of the past but the intents.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    /// Oldest first.
    done: Vec<u64>,
    last_id: u64,
    next_nonce: Option<u64>,
    last_planned_ms: BTreeMap<String, u64>,
    refused: Vec<(ChannelId, u32, u64)>,
    spending: Spending,
    started_ms: Option<u64>,
    days: BTreeMap<SlaId, Decided>,
    anchored: Option<EpochStatement>,
    vouched: Option<Vouched>,
}

impl Past {
    /// Intents that are remembered.
    pub(crate) fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.outbox.open().chain(self.outbox.done())
    }

    pub(crate) fn intent_row(&self, id: u64) -> Option<Vec<u8>> {
        self.outbox.get(id).map(json)
    }

    pub(crate) fn rest_row(&self) -> Vec<u8> {
        let mut refused: Vec<_> =
            self.refused.iter().map(|(key, seq)| (key.channel, key.lane, *seq)).collect();
        refused.sort_unstable();
        json(&Rest {
            done: self.outbox.done().map(|intent| intent.id).collect(),
            last_id: self.outbox.next_id() - 1,
            next_nonce: self.outbox.next_nonce(),
            last_planned_ms: self
                .last_planned_ms
                .iter()
                .map(|(kind, at_ms)| ((*kind).to_owned(), *at_ms))
                .collect(),
            refused,
            spending: self.spending.clone(),
            started_ms: self.started_ms,
            days: self.days.clone(),
            anchored: self.anchored,
            vouched: self.vouched,
        })
    }

    /// `None` if the rows don't fit together.
    pub(crate) fn of_rows(rest: &[u8], intents: &[Vec<u8>]) -> Option<Self> {
        let rest: Rest = serde_json::from_slice(rest).ok()?;
        let mut open = BTreeMap::new();
        for row in intents {
            let intent: Intent = serde_json::from_slice(row).ok()?;
            open.insert(intent.id, intent);
        }
        let done: Option<Vec<Intent>> = rest.done.iter().map(|id| open.remove(id)).collect();
        let is_sound = open.values().all(Intent::is_open);
        let outbox = Outbox::of(open.into_values().collect(), done?, rest.last_id, rest.next_nonce);
        let kinds = ["claim", "settle", "anchor", "day", "answer", "fees"];
        let planned = rest.last_planned_ms.into_iter().map(|(kind, at_ms)| {
            kinds.into_iter().find(|known| *known == kind).map(|kind| (kind, at_ms))
        });
        let refused = rest.refused.into_iter();
        let past = Self {
            outbox,
            last_planned_ms: planned.collect::<Option<_>>()?,
            refused: refused.map(|(channel, lane, seq)| (LaneKey { channel, lane }, seq)).collect(),
            spending: rest.spending,
            started_ms: rest.started_ms,
            days: rest.days,
            anchored: rest.anchored,
            vouched: rest.vouched,
        };
        is_sound.then_some(past)
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Structs of numbers, strings and lists, with keys that are strings or numbers: always JSON.
    serde_json::to_vec(value).expect("what the outbox holds is representable in JSON")
}
