//! Statements about epochs: signed once the anchor is final, journaled, and given out as files.
//!
//! Two statements about one epoch with different contents cost a stake. So what is signed is what
//! is final on chain and nothing else, the journal has it before anybody sees it, and a file of an
//! epoch that says something else stops the duty. So does an anchor of the claim key that this
//! journal never planned.

use std::fs;
use std::path::PathBuf;

use tracing::{error, info};
use weir_usage::bond::{BondDomain, EpochStatement, Signed, Statement};

use super::Driver;
use crate::agreement;
use crate::config::Config;
use crate::error::Error;
use crate::evidence::Statements;
use crate::journal::entry::{Item, Vouched};
use crate::keys::Wallet;

/// Who signs statements, and where they go.
#[derive(Debug)]
pub(super) struct Voucher {
    wallet: Wallet,
    domain: BondDomain,
    directory: PathBuf,
    /// The epoch whose file is known to be there.
    written: Option<u64>,
    /// Whether the chain was searched for another sidecar since this one started.
    looked: bool,
    /// Why nothing is signed.
    pub(super) trouble: Option<String>,
}

impl Voucher {
    fn file(&self, epoch: u64) -> PathBuf {
        self.directory.join(format!("epoch-{epoch}.json"))
    }

    /// What a file of before says of this epoch, if it is something else.
    fn contradicted(&self, said: &EpochStatement) -> Result<Option<String>, Error> {
        let path = self.file(said.epoch);
        if !path.exists() {
            return Ok(None);
        }
        let held = Statements::read(&path)?;
        let other = held.epochs.iter().find(|one| {
            held.domain == self.domain
                && one.statement.epoch == said.epoch
                && one.statement != *said
        });
        Ok(other.map(|one| {
            format!(
                "epoch {} was signed with root {} before ({}), and root {} is anchored: nothing is \
                 signed any more. Was a journal lost? Make a new usage key and a new stake",
                said.epoch,
                one.statement.root,
                path.display(),
                said.root
            )
        }))
    }
}

/// Where statements of a configuration are.
pub fn directory(config: &Config) -> PathBuf {
    let mut name = config.journal.as_os_str().to_owned();
    name.push(".statements");
    PathBuf::from(name)
}

impl Driver {
    /// Has statements about epochs signed with this key for the configured bond.
    #[must_use]
    pub fn with_usage_key(mut self, config: &Config, wallet: Wallet) -> Self {
        let chain_id = self.config.domain.chain_id;
        self.voucher = config.duties.bond.map(|bond| Voucher {
            wallet,
            domain: BondDomain { chain_id, bond },
            directory: directory(config),
            written: None,
            looked: false,
            trouble: None,
        });
        self
    }

    /// Signs for the newest epoch whose anchor is final, and sees to its file.
    pub(super) async fn vouch(&mut self) -> Result<(), Error> {
        let Some(mut voucher) = self.voucher.take() else { return Ok(()) };
        let outcome = self.vouch_with(&mut voucher).await;
        if let Err(e @ (Error::Io { .. } | Error::File { .. })) = &outcome {
            let words = e.to_string();
            if voucher.trouble.as_ref() != Some(&words) {
                error!("statements: {words}");
            }
            voucher.trouble = Some(words);
            self.voucher = Some(voucher);
            return Ok(());
        }
        self.voucher = Some(voucher);
        outcome
    }

    async fn vouch_with(&mut self, voucher: &mut Voucher) -> Result<(), Error> {
        let vouched = self.past.vouched.as_ref().map(|one| one.said.statement.epoch);
        let due = self.past.anchored.filter(|said| Some(said.epoch) > vouched);
        if let Some(words) = due.map(|said| voucher.contradicted(&said)).transpose()?.flatten() {
            if voucher.trouble.as_ref() != Some(&words) {
                error!("{words}");
            }
            voucher.trouble = Some(words);
            return Ok(());
        }
        if due.is_some() || !voucher.looked {
            let view = self.clerk.view().await?;
            self.look_for_a_rival(&view, due).await?;
            voucher.looked = true;
        }
        if let (Some(said), None) = (due, &self.rival) {
            let signature = voucher.wallet.sign_digest(&said.digest(&voucher.domain))?;
            let said = Signed { statement: said, signature };
            let vouched = Vouched { domain: voucher.domain, said };
            self.clerk.journal(vec![Item::Vouched(vouched)]).await?;
            info!(epoch = said.statement.epoch, "signed for");
            self.past.vouched = Some(vouched);
        }
        self.write_statement(voucher)?;
        voucher.trouble = self.rival.clone();
        Ok(())
    }

    /// Has the file of the newest statement there, whatever died in between.
    fn write_statement(&self, voucher: &mut Voucher) -> Result<(), Error> {
        let Some(Vouched { domain, said }) = self.past.vouched else { return Ok(()) };
        let epoch = said.statement.epoch;
        if voucher.written != Some(epoch) {
            fs::create_dir_all(&voucher.directory)
                .map_err(Error::io("create", &voucher.directory))?;
            let file = Statements { domain, epochs: vec![said], records: Vec::new() };
            agreement::replace(&voucher.file(epoch), &file)?;
            voucher.written = Some(epoch);
        }
        Ok(())
    }
}
