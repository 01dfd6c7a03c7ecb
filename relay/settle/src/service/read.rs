//! A service's record out of the journal; works beside a running sidecar.

use std::collections::BTreeMap;

use weir_sla::calendar::DAY_S;
use weir_sla::{Paid, Record};
use weir_usage::{ChannelId, SlaId};

use super::Loaded;
use crate::config::Config;
use crate::error::Error;
use crate::journal::entry::Item;
use crate::journal::scan;
use crate::storage::Storage;

/// What the journal knows of an agreement.
#[derive(Debug)]
pub struct Known {
    /// Its samples and statements.
    pub record: Record,
    /// What vouchers of its channel were accepted for, day by day.
    pub paid: Vec<Paid>,
    /// Samples in the journal that are not the agreement's or not signed by who should have.
    pub strange: u64,
}

/// The configured agreement with this name, or the only one.
///
/// # Errors
/// [`Error::File`], also if there is none or the name is needed.
pub fn find(config: &Config, sla: Option<SlaId>) -> Result<Loaded, Error> {
    let mut loaded = Vec::new();
    for service in &config.services {
        loaded.push(Loaded::of(config, service)?);
    }
    loaded.retain(|one| sla.is_none_or(|sla| one.agreement.id() == sla));
    let found = loaded.len();
    match (loaded.pop(), found) {
        (Some(one), 1) => Ok(one),
        (_, found) => Err(Error::File {
            path: "[[service]]".into(),
            reason: format!("{found} agreements match; name one with --sla"),
        }),
    }
}

/// Reads everything that the journal says of an agreement.
///
/// # Errors
/// Those of reading the journal, and [`Error::Sla`] for terms that make no sense.
pub fn read<S: Storage>(storage: &S, loaded: Loaded) -> Result<Known, Error> {
    let Loaded { agreement, maintenance, client } = loaded;
    let (sla, channel) = (agreement.id(), agreement.terms.channel);
    let mut record = Record::new(agreement, client, maintenance)?;
    let mut paid = PaidByDay::default();
    let mut strange = 0;
    scan(storage, |_, _, entry| {
        let fate = match entry.item {
            Item::Sample(sample) if sample.sample.sla == sla => record.add_used(*sample),
            Item::Statement(said) if said.sample.sla == sla => record.add_measured(*said),
            Item::Voucher(offer) => {
                let voucher = &offer.signed.voucher;
                paid.add(channel, voucher.channel, voucher.lane, voucher.amount, entry.at_ms);
                return Ok(());
            }
            _ => return Ok(()),
        };
        strange += u64::from(fate.is_err());
        Ok(())
    })?;
    Ok(Known { record, paid: paid.into_days(), strange })
}

/// Vouchers are cumulative by lane; what counts is by how much each raised its lane's amount.
#[derive(Debug, Default)]
struct PaidByDay {
    lanes: BTreeMap<u32, u128>,
    days: BTreeMap<u64, u128>,
}

impl PaidByDay {
    fn add(&mut self, wanted: ChannelId, channel: ChannelId, lane: u32, amount: u128, at_ms: u64) {
        if channel != wanted {
            return;
        }
        let before = self.lanes.entry(lane).or_default();
        let more = amount.saturating_sub(*before);
        *before = (*before).max(amount);
        let day = self.days.entry(at_ms / 1000 / DAY_S).or_default();
        *day = day.saturating_add(more);
    }

    fn into_days(self) -> Vec<Paid> {
        self.days.into_iter().map(|(day, amount)| Paid { day, amount }).collect()
    }
}
