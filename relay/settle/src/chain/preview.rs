//! A dry run: what would be sent now, on a copy of the journal in memory. Nothing is signed, sent
//! or journaled, so it may run beside the sidecar.

use serde::Serialize;
use tokio::sync::watch;

use super::outbox::Intent;
use super::quorum::Quorum;
use super::{Driver, IntentView, Waiting, contracts};
use crate::clerk::Clerk;
use crate::config::Config;
use crate::error::Error;
use crate::journal::entry::{Action, text};
use crate::keys::Wallet;
use crate::sidecar;
use crate::storage::Snapshot;

/// What would be done.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// Who would sign and pay.
    pub wallet: String,
    /// What that has, in wei.
    #[serde(with = "text")]
    pub wallet_wei: u128,
    /// Wei per gas now.
    #[serde(with = "text")]
    pub gas_price_wei: u128,
    /// Transactions that would be made, in order.
    pub sends: Vec<Send>,
    /// What is due and would wait, and why.
    pub waiting: Vec<Waiting>,
    /// What is under way already, and would be followed.
    pub under_way: Vec<IntentView>,
}

/// A transaction that would be made.
#[derive(Debug, Clone, Serialize)]
pub struct Send {
    /// claim, settle, anchor, day, answer or fees.
    pub kind: &'static str,
    /// The contract.
    pub to: String,
    /// What it does, in words.
    pub what: String,
    /// Gas by the node's estimate.
    pub gas: u64,
    /// Its price, in wei.
    #[serde(with = "text")]
    pub cost_wei: u128,
}

/// What `run` would send next, or with `all` what `settle-now` would.
///
/// # Errors
/// Those of the journal and of the chain.
pub async fn preview(
    config: &Config,
    journal: Snapshot,
    wallet: Wallet,
    all: bool,
) -> Result<Preview, Error> {
    let (journal, book, past) = sidecar::open(config, journal)?;
    let (stop, stopped) = watch::channel(false);
    let (clerk, handle) = Clerk::new(config, journal, book, stopped.clone());
    let clerk = tokio::spawn(clerk.run());
    let quorum = Quorum::of(&config.chain)?;
    let (mut driver, _) = Driver::new(config, quorum, wallet, handle, past, stopped);
    let outcome = driver.preview(all).await;
    stop.send_replace(true);
    drop(clerk.await);
    outcome
}

impl Driver {
    async fn preview(&mut self, all: bool) -> Result<Preview, Error> {
        let head = self.rpc.look().await?;
        self.refresh(head).await?;
        let before: Vec<Intent> = self.past.outbox.open().cloned().collect();
        // Planning journals, but this journal is a copy; sending is what `advance` would do.
        if all {
            let view = self.clerk.view().await?;
            self.plan_claims(&view).await?;
            self.plan_settles().await?;
            self.plan_anchor(&view).await?;
        } else {
            self.plan().await?;
        }
        let price = self.rpc.fees().await?.now();
        let is_new = |intent: &&Intent| before.iter().all(|old| old.id != intent.id);
        let new: Vec<Intent> = self.past.outbox.open().filter(is_new).cloned().collect();
        let mut sends = Vec::new();
        for intent in new {
            sends.push(self.send_of(&intent, price).await?);
        }
        Ok(Preview {
            wallet: self.address().to_string(),
            wallet_wei: self.chain.wallet_wei.unwrap_or(0),
            gas_price_wei: price,
            sends,
            waiting: self.waiting.clone(),
            under_way: before.iter().map(IntentView::of).collect(),
        })
    }

    async fn send_of(&self, intent: &Intent, price: u128) -> Result<Send, Error> {
        let (to, what) = match &intent.action {
            Action::Claim { rows } => {
                let of: Vec<String> = rows
                    .iter()
                    .map(|r| format!("{} lane {} up to {} units", r.channel, r.lane, r.amount))
                    .collect();
                (self.config.domain.escrow, of.join(", "))
            }
            Action::Settle { receiver, token } => {
                let units = self.chain.earned.get(&(*receiver, *token)).copied().unwrap_or(0);
                (self.config.domain.escrow, format!("{units} units of {token} to {receiver}"))
            }
            Action::Anchor { epoch, root, total } => {
                let to = self.config.anchor.unwrap_or(self.config.domain.escrow);
                (to, format!("epoch {epoch} root {root} total {total} units"))
            }
            Action::AnchorDay { sla, day, root, .. } => {
                let to = self.config.anchor.unwrap_or(self.config.domain.escrow);
                let date = weir_sla::calendar::date(day * weir_sla::calendar::DAY_S);
                (to, format!("samples of {sla} on {date} root {root}"))
            }
            Action::Answer { challenge, epoch, .. } => {
                let to = self.config.anchor.unwrap_or(self.config.domain.escrow);
                (to, format!("challenge {challenge} of epoch {epoch}"))
            }
            Action::Fees { account } => {
                let to = self.config.anchor.unwrap_or(self.config.domain.escrow);
                (to, format!("fees of challenges to {account}"))
            }
        };
        let input = contracts::input(&intent.action);
        let gas = self.rpc.estimate(self.address(), contracts::address(to), input).await?;
        Ok(Send {
            kind: intent.kind(),
            to: to.to_string(),
            what,
            gas,
            cost_wei: price.saturating_mul(gas.into()),
        })
    }
}
