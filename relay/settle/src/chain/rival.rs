//! Another sidecar with the same keys, on another host: seen by what the claim key has anchored.
//!
//! Nobody but the holder of the claim key anchors under its address, so an epoch that is taken and
//! that the journal never planned is another sidecar's, or this journal is not the whole one. That
//! a voucher was claimed that the journal doesn't have is no such sign: whoever signed it can claim
//! it himself. Claims go on in any case, because they are cumulative and nobody is paid twice; only
//! nothing more is vouched for, until somebody has looked and started the sidecar again.
//!
//! A sidecar with the same usage key and another claim key isn't seen: nothing on chain says that
//! they belong together.

use alloy::primitives::B256;
use tracing::error;
use weir_usage::bond::EpochStatement;

use super::Driver;
use super::contracts::{self, IUsageAnchor};
use crate::clerk::View;
use crate::error::Error;

impl Driver {
    /// Looks at what is to be signed for, at the newest epoch that the journal has planned, and at
    /// the one after it. Epochs are taken one after the other, so whoever else takes some takes one
    /// of these.
    pub(super) async fn look_for_a_rival(
        &mut self,
        view: &View,
        due: Option<EpochStatement>,
    ) -> Result<(), Error> {
        let (Some(contract), None) = (self.config.anchor, &self.rival) else { return Ok(()) };
        let contract = contracts::address(contract);
        let planned = view.last_anchor.as_ref();
        let next = planned.map_or(1, |last| last.epoch.saturating_add(1));
        let own = planned.map(|last| (last.epoch, contracts::commitment(&last.root, last.total)));
        let due = due.map(|said| (said.epoch, contracts::commitment(&said.root, said.total)));
        for (epoch, own) in due.into_iter().chain(own).chain([(next, B256::ZERO)]) {
            let call = IUsageAnchor::commitmentsCall { exit: self.address(), epoch };
            let held = self.rpc.view(contract, call).await?;
            if held.is_zero() || held == own {
                continue;
            }
            let words = format!(
                "{} has anchored something for epoch {epoch} that this journal never planned: \
                 another weir-settle runs with the same claim key, or the journal was lost or put \
                 back from a backup. No statement is signed any more. Stop the other one; if there \
                 is none, wait until this journal has anchored an epoch of its own, and restart",
                self.address()
            );
            error!("{words}");
            self.rival = Some(words);
            return Ok(());
        }
        Ok(())
    }
}
